"""Input gradients by way of the column matrix: a product (plan.py), then a sum over taps (fold.py)."""
