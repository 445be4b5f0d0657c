"""Read image and mask files into checked samples, and assemble training batches."""
