"""Tensors to logits; no config, no files."""
