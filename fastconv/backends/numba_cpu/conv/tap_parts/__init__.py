"""Jobs in parts, each without the taps that meet nothing but padding there, as with dilation 12 on 28 x 28 pixels.

A convolution's parts are rectangles of the target; a weight gradient's are taps, and rectangles of the gradient that
they meet. Each is a blocked matrix product with arguments of its own, and all are done as one job, so that its tasks
may be large, and what would cost most if each part did it alone is done once:

    convolution       pack the whole weight, all channels of a tap and then the next's
                      for each part, multiply by the panels of its taps
    weight gradient   for each part, fill an array of channels x channels x its taps, which lies in one piece
                      put them into the order of the weight

With weights of their own, the nine parts of 3 x 3 taps would pack 49 taps instead of 9: for 256 channels 1.5 ms, where
the multiply-adds of an image take 2.

split.py says what the parts are, tiling.py how each is cut; plan.py makes them ready, tasks.py are the kernels.
"""
