"""Training: the recipe of the paper and everything a long run needs."""
