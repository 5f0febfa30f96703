"""This folder makes transforms: matrices from points (form.py), their additions, and what vectors need besides."""
