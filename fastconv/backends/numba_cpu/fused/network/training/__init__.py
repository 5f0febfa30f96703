"""This folder trains a network: a forward pass that saves what gradients read, and a backward pass, a program each.

gradients.py    writes the jobs of all gradients, from the last operation to the first
shares.py       the sum of what the readers of a value give to its gradient
plane_dots.py   the sum over each plane of products: the gradient of channels' factors
plan.py         makes the programs, and runs them
"""
