"""Convolution as a blocked matrix product: gather.py reads pixels under taps, for forward.py and weight_grad.py."""
