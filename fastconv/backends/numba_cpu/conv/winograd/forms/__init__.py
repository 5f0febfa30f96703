"""This folder makes transforms: matrices from polynomials (form.py), their additions, and what vectors need besides."""
