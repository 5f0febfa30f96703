"""This folder runs an expansion, a 1 x 1 convolution, and the depthwise convolution that reads it as one job.

The expanded images are the largest of a mobile network: 4.8 MB for the 96 channels of 112 x 112 pixels in MobileNetV2,
16 times the pixels that they are made from. Written by one job and read by the next they go through the L3 cache, which
takes longer than to compute them. Here a task makes some rows of a few channels in its core's L2 cache, and reads them
from there.

tasks.py       the task: expand some rows of some channels, and convolve them
tiling.py      how many rows, and how many channels
plan.py        the job, and the pairs of convolutions in an outline that it is for
"""
