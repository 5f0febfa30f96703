"""Stretches of a graph that run as one network: one call into compiled code for each pass.

stretches.py    finds the stretches of a graph, and puts a network's call in the place of each
reading.py      the calls of a stretch as recipes
readers.py      reads calls, each kind by a function
trained_readers.py  reads calls of a graph that records gradients
recipes.py      recipes: each adds a call's operations to an outline, once the images' sizes are known
drawing.py      the outline that recipes add to
constants.py    the tensors that a network keeps: weights, folded weights, factors
call.py         runs a network, or its calls one by one where that is what the tensors of the moment ask for
training.py     the same where gradients are recorded: a forward pass and a backward pass
"""
