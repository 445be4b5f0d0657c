"""Probabilities to counts to metrics to a table with its protocol written on it."""
