"""Convolution with images in the lanes: interleave.py moves images there, forward.py and weight_grad.py compute."""
