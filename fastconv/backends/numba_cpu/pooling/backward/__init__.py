"""This folder has the input gradients of pooling: scatter*.py for maxima, spread_*.py for averages."""
