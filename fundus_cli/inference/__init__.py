"""Inference: from an image of any size to probabilities and masks at native size."""
