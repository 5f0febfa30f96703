"""Products of matrices that are read where they lie."""
