"""This folder computes gradients through 2 x 2 max pooling from the argmax of each window, the pixel that was taken.

listing.py          lists the argmax pixels of a channel
argmax.py           has the two kernels that go through such a list
weight_grad.py      the weight gradient from the lists
input_grad.py       the input gradient from the lists
strips.py           copies all pixels under a kernel side by side
channel_planes.py   copies pixels with channels in the lanes of vectors
tiling.py           cuts the work into tasks, and predicts what it costs
plan.py             makes the two plans, where they should be faster than the dense gradients
arguments.py        the arguments of the tasks
"""
