"""From files to checked samples to batches."""
