"""Convolution, activation and pooling in one go.

lowering.py       such a block as jobs, some images at a time
chain.py          blocks one behind another, forwards and backwards, as a program each
activations.py    what may follow a convolution, and its gradient
bias_grad.py      the gradient of a bias
finite_check.py   a look at an array for infinite numbers and NaN
sparse_grad/      gradients through max pooling from its winners alone
"""
