"""This folder convolves by Winograd's minimal filtering, which needs fewer multiplications.

patches.py and kernels.py transform 4 x 4 pixels and 3 x 3 taps for forward.py; weight_grad.py computes the weight
gradient on such patches.
"""
