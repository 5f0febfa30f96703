"""Direct convolution reads vectors of pixels from planes without packing: forward.py, weight_grad.py."""
