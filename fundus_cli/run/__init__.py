"""The run folder: checkpoints, logs, environment."""
