"""This folder convolves by Winograd's minimal filtering, which needs fewer multiplications.

forms/ makes the transforms of a form from its polynomials. patches.py, kernels.py and results.py transform pixels, taps
and sums for forward.py, which explains the algorithm, and for few_patches.py; weight_grad.py computes the weight
gradient.
"""
