"""This folder runs a block, a convolution with its activation and pooling, as one program.

lowering.py          writes the jobs of a block into a program, some images at a time
chain.py             makes the programs of several blocks in a row: one forward pass, one backward pass
separate_blocks.py   runs a block operation by operation, where its numbers aren't finite
activations.py       tanh, and the gradients of ReLU and tanh
bias_grad.py         the bias gradient
finite_check.py      tells whether an array holds infinities or NaN
sparse_grad/         weight and input gradients through max pooling, from the argmax of each window alone
"""
