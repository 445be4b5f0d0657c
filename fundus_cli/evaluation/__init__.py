"""Evaluation: from probabilities to metrics, with the protocol beside every number."""
