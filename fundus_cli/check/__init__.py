"""Everything that is wrong with a data set, told file by file, and a repaired copy."""
