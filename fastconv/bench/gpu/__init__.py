"""``fastconv bench gpu``: on a machine with an NVIDIA GPU, everything about the backend `cuda` that needs one.

The contest itself is that of all devices (`fastconv.bench.contest`), with the device `fastconv.bench.devices.cuda`.
Here is

problems        what is measured: layers and poolings, at batches that fill a GPU
training        an epoch of LeNet-5
small_cases     what compute-sanitizer watches
steps           one after another, whatever becomes of those before
targets         what was aimed at, and what was found
summary         both as tables
cli             the command
"""
