"""Export and parity checks."""
