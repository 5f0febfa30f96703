"""This folder computes input gradients by the column matrix: a product (plan.py), then a sum over taps (fold.py)."""
