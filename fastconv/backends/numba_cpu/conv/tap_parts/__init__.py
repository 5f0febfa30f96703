"""This folder splits a weight gradient into parts; each part leaves out the taps that read only padding there.

That is useful with large dilations, such as 12 on 28 x 28 pixels. A part is a group of taps, with the rectangle of the
gradient that they meet. Each part is a blocked matrix product with arguments of its own, but all parts are one job:

    for each part, fill a contiguous array of channels x channels x its taps
    copy them to the layout of the weight

split.py finds the parts, tiling.py chooses their tilings, plan.py makes the plan, tasks.py contains the kernels.
"""
