"""This folder makes the transforms of minimal filtering: matrices from points (form.py), and additions from matrices."""
