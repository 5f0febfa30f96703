"""``torch.compile(model, backend="fastconv")``: the graphs that torch captures of a model, rewritten and run.

backend.py      the function that torch.compile calls with each graph
calls.py        torch's functions by which a graph convolves and pools, and the arguments of their calls
activations.py  the activations that run together with a convolution
runs.py         finds the calls of a graph that run together
steps.py        runs them, in the way that the tensors of the moment allow
either.py       a single call that is fastconv's or torch's
norms.py        a batch normalisation that trains, with the residual and the activation behind it
counts.py       the batches that normalisations count, in one call
networks/       stretches of steps and other calls that run as one program in each pass
folding.py      a convolution's weight times the factors of the batch normalisation behind it, kept between calls

A graph is a list of calls of torch's functions, some of which change tensors in place. It is run as it is, one call
after another, so that autograd records what it records without torch.compile. Only what can be proved to give the same
is replaced: one function by another with the same arguments, and calls that directly follow one another, each the only
reader of the result before it, by one step. Which tensors arrive is seen when the graph runs, so a graph is right for
any batch size and for parameters that change.
"""

from fastconv.torch.graphs.backend import backend

__all__ = ["backend"]
