"""Whole networks of torchvision, of `fastconv.models` and of one's own: torch, its peers and fastconv, in turns.

vision.py       torchvision beside torch's CPU build
zoo.py          the networks, built
passes.py       what is run of a network: a forward pass or a step of training, and what it must give
contestants.py  who runs it, and how
peers.py        onnxruntime and OpenVINO
memory.py       how much memory a call takes
worker.py       a contestant's own process
contest.py      the turns
results.py      what a run found, as a file
table.py        the tables, for the terminal and the README
cli.py          ``fastconv bench networks``
"""
