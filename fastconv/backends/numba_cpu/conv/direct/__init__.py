"""Direct convolution: forward.py reads vectors of pixels in place, weight_grad.py has them in the lanes."""
