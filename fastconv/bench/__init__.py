"""The bench: every backend and every peer on one table of problems, beside the machine's own limits.

Each module knows only those above it:

problems      the layers, by network
operands      their numbers
contestants   who takes part on which device, and an adapter for each library
results       what was found, as a file
devices       the processor and an NVIDIA GPU: their operands, clocks and limits
entrant       a contestant at work on a device
truth         what is right
event         one operation of one problem: verified first, then timed in turns
apart         contestants in processes of their own (racers, worker, process), as on the processor
together      contestants in one process that may die (child), as on a GPU
contest       every event of a contest
report        what a contest's file of results says; choices, of a planner's
networks, training, gpu   whole networks, whole epochs, and all that a GPU is needed for
cli           ``fastconv bench``
"""
