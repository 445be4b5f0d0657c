"""A model and a photograph of any size to probabilities at native size."""
