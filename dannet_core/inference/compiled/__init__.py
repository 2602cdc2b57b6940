"""Post-processing compiled by numba to the machine's own instructions; nothing here is imported where numba is not."""
