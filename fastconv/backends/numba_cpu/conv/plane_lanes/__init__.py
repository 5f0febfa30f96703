"""This folder convolves small planes of single channels, as many at a time as a vector has lanes: see forward.py."""
