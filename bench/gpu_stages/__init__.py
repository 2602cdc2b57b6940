"""The stages of `bench/gpu.py`, each a program of its own, with what they share."""
