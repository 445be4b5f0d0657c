"""A model and an image of any size to probabilities at native size."""
