"""The command line: entry points, flags, composing a config, help pages and sweeps."""
