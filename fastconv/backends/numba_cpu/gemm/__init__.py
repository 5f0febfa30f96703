"""This folder computes matrix products in registers and caches, for the algorithms of conv/.

micro_kernel.py   computes one tile of the product in registers; tile_emitter.py emits its instructions
packing.py        rearranges the weight into panels for the micro-kernel, and pixels to rows of channels
tiling.py         chooses block sizes and predicts their cost; tile_search.py finds the cheapest tile
write_run.py      writes a row of a tile to target pixels, which may have a stride
reduce.py         adds up the partial results of a split reduction
elementwise.py    elementwise passes between the jobs of a program
arguments.py      the arguments of a job, as named integers
"""
