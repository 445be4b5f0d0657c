"""The programs, one module each: from a typed config to files in the output folder."""
