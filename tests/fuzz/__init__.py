"""Random calls of every function, valid and not, against torch in float64."""
