"""This folder runs a whole network, or a stretch of one, as one program.

lowering.py     writes the jobs of a network's operations into a program
homes.py        the places of values that are parts of a concatenation, or a result in another shape
planes.py       a pass over the planes of images: gathers channels, scales, shifts, adds a residual, activates
dense.py        a linear layer of few images
panels.py       weights that are packed or transformed once, for all runs
slabs.py        cuts a batch into slabs of images, where values are large
look.py         a look whether arrays have changed since the network was made
expanded/       a depthwise convolution that makes its source, a 1 x 1 convolution's result, as it needs it
training/       forward and backward passes of a network that is trained
plan.py         makes the programs of a network for its parameters, and runs them
"""
