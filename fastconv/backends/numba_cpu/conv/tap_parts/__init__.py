"""This folder splits a job into parts; each part leaves out the taps that read only padding there.

That is useful with large dilations, such as 12 on 28 x 28 pixels. The parts of a convolution are rectangles of the
target; a part of a weight gradient is a group of taps, with the rectangle of the gradient that they meet. Each part is
a blocked matrix product with arguments of its own, but all parts are one job: so tasks may be large, and the step that
would cost most if each part did it alone is done once:

    convolution       pack the whole weight, all channels of a tap and then those of the next
                      for each part, multiply by the panels of its taps
    weight gradient   for each part, fill a contiguous array of channels x channels x its taps
                      copy them to the layout of the weight

If each part packed its own weight, the nine parts of 3 x 3 taps would pack 49 taps instead of 9: for 256 channels 1.5
ms, where the multiply-adds of an image take 2.

split.py finds the parts, tiling.py chooses their tilings, plan.py makes the plans, tasks.py contains the kernels.
"""
