"""Pooling, forwards: rows.py takes a vector of windows side by side, wide.py a vector of pixels of one window."""
