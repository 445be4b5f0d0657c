"""Reports: pages about runs and sweeps, figures, overlays and comparison tables."""
