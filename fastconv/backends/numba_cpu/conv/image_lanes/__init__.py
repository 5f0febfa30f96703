"""This folder convolves with images in the lanes.

interleave.py moves images into the lanes and back; forward.py and weight_grad.py compute.
"""
