"""Max and average pooling: max.py, average.py and integer.py are what the backend calls.

plan.py           which kernel does a pooling best, and the tables that it needs
launch.py         a compiled task, its parameters (fields.py), and the parts of the work
windows/          vectors of windows: their state, their memory
forward/          pooling by rows of windows, and by wide windows
backward/         gradients: scattered to the largest pixels, or gathered from averages
whole_planes.py   one window that covers the whole plane, both ways
"""
