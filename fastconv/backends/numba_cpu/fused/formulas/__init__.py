"""This folder holds formulas on single numbers, which vector instructions compute for many.

activations.py   the activations: formula, gradient, and what the gradient reads
lanes.py         formulas in Python's operators, emitted as vector instructions; the exponential and tanh
normal.py        the normal distribution, which GELU needs
"""
