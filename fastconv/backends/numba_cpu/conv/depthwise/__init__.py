"""This folder convolves single channels: rows.py reads the pixels under the taps for forward.py and weight_grad.py."""
