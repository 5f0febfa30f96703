"""This folder has vectors of windows.

state.py merges pixels, lanes.py and rows.py fill windows, memory.py reads and writes images.
"""
