"""fundus-cli: train and score U-Nets on retinal images from the command line."""

__version__ = "0.1.0"
