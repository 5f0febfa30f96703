"""This folder multiplies matrices that are read in place; pixels are gathered once if they don't form a matrix."""
