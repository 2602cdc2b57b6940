"""CUDA kernels of a frame: their sources, their arguments, and how they are launched. Importing needs no CUDA."""
