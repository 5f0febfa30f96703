"""Convolution with images in the lanes: interleave.py brings them there, forward.py and weight_grad.py compute."""
