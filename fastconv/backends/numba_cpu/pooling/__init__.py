"""This folder computes max and average pooling.

primitives.py     the poolings of the backend, which max.py, average.py, adaptive.py and integer.py compute
plan.py           chooses the kernel for a pooling, and makes the tables that it needs
operation.py      a compiled task, its arguments (arguments.py), and the split of the work into tasks
windows/          vectors of windows: their state, and how they are read and written
forward/          pooling by rows of windows, and by wide windows
backward/         input gradients: scattered to the largest pixels, or gathered from averages
whole_planes.py   one window that covers the whole plane: forward pass and input gradient
"""
