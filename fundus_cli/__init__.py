"""fundus-cli: train and score U-Nets on retinal photographs from the command line."""

__version__ = "0.1.0"
