"""Snapshots of the backend `numba`: which plan each problem gets, the bits of its results, and what is compiled.

    plans.py    -> plans.txt      algorithm, route and tiling of every problem of the bench, on each instruction set
    results.py  -> results.txt    hashes of results on random numbers: a sum in another order has other bits
    kernels.py  -> kernels.txt    the functions that a small workload compiles

None of them depends on the machine: costs are counted, not measured, any instruction set can be forced, and compiled
code adds and multiplies in the order in which it is written. So a change that is meant to change nothing changes no
line. Where a change is meant to, ``python -m tests.backends.snapshots`` writes the files anew (some minutes, most of
which goes into compiling), and their difference shows what the change did: commit it together with the change.
"""
