"""This folder has the forward pass of pooling.

rows.py has windows side by side in a vector's lanes, wide.py the pixels of one window.
"""
