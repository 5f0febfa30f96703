"""This folder runs a block, a convolution with what follows it, as one program.

formulas/            the activations and their gradients, as formulas on vectors
post_op.py           a pass over an array: adds a residual, applies an activation; its gradient
averaged_grad.py     the gradient through average pooling and the activation before it, in one pass
saved.py             what a block saves for its gradients
convolving.py        a convolution's plan, with as much of what follows as the plan does by itself
lowering.py          writes the jobs of a block into a program, some images at a time
chain.py             makes the programs of several blocks in a row: one forward pass, one backward pass
bias_grad.py         the bias gradient
network/             a whole network, without gradients
batch_norm/          batch normalisation in training, with a residual and an activation
finite_check.py      tells whether an array holds infinities or NaN
sparse_grad/         weight and input gradients through max pooling, from the argmax of each window alone
"""
