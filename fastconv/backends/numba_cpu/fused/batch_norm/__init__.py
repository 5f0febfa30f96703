"""Batch normalisation with the batch's statistics, a residual and an activation: one pass over memory each way.

arguments.py   the arguments of its tasks
plan.py        the operations of the forward and the backward pass
sums.py        sums over a channel
forward.py     statistics, normalisation, residual and activation
backward.py    gradients of the images, the residual, gamma and beta
"""
