"""``python -m bench.gpu``: on a machine with an NVIDIA GPU, everything about the backend `cuda` that needs one.

One idea a file; read them in this order.

What is measured
    problems        layers and poolings, at batches that fill a GPU
    calls           what torch and fastconv are asked to do
    contestants     who takes part, and with which switches of torch
    truth           what is right: torch in float64, without cuDNN

How
    clock           events of the GPU; calls captured in a CUDA graph
    contest         verified first, then in turns
    limits          the card: its peak, its bandwidth, its name
    training        an epoch of LeNet-5
    small_cases     what compute-sanitizer watches

All together
    child           a process that may die
    steps           one after another, whatever becomes of those before
    targets         what was aimed at, and what was found
    summary         both as tables
"""
