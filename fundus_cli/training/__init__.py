"""Training: losses, optimizers, learning-rate schedule and the epoch loop."""
