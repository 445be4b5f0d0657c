"""Curves and overlays."""
