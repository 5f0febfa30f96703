"""Pooling's gradients: scatter.py adds at the indices of the largest, spread_rows.py gathers averages."""
