"""This folder is Winograd's minimal filtering, a 3 x 3 convolution with fewer multiplications.

patches.py and kernels.py transform 4 x 4 pixels and 3 x 3 taps for forward.py; weight_grad.py computes the weight
gradient on such patches.
"""
