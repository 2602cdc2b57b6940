"""Data: the toy city, and later the data sets."""
