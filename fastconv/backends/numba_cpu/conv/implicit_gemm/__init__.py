"""Convolution is a blocked matrix product here: gather.py reads pixels under taps for forward.py and weight_grad.py."""
