"""A matrix product in registers and caches, for the algorithms of conv/.

micro_kernel.py   a tile of the product in registers; tile_emitter.py writes its instructions
packing.py        the weight, rearranged for it
tiling.py         how the loops are cut, and what that should cost; tile_search.py finds the cheapest tile
reduce.py         parts of a long sum, added up
elementwise.py    passes over numbers between the jobs of a program
fields.py         the parameters of a job, as integers in one array
"""
