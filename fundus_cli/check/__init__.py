"""Find everything that is wrong with a data set, file by file, and write a repaired copy."""
