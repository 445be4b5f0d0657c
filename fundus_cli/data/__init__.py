"""Files to checked samples to batches."""
