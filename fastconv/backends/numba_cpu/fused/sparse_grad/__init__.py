"""Gradients through 2 x 2 max pooling, from the pixels that it took and nothing else.

argmax.py          what these pixels are, and the kernels; tiling.py and plan.py: how they are cut and run
strips.py           all pixels under a kernel, side by side; channel_planes.py: the same with channels in the lanes
weight_grad.py      the weight's gradient from them
input_grad.py       the image's gradient from them
"""
