"""The fast backend for processors, one idea a file. Read them in this order:

instruction_set.py   what a processor's vectors are
simd.py              vectors for Numba
microkernel.py       a tile of a matrix product in registers
panels.py            the weight, rearranged for it
gather.py            the pixels under the kernel's taps, straight from the image
implicit_gemm.py     the convolution and its adjoint for the input as a blocked matrix product
direct.py            the same, reading pixels in place: for few channels and large images
weight_gemm.py       the adjoint for the weight as a blocked matrix product
direct_weight.py     the same with pixels in the lanes
patches.py           patches of 4 x 4 pixels, transformed
winograd.py          convolutions in fewer multiplications, on such patches
winograd_weight.py   their adjoint for the weight
interleave.py        images into the lanes of vectors, and back
batch.py             convolutions of as many images at once
batch_weight.py      their adjoint for the weight
matrix.py            1 x 1 kernels and dense layers: matrices that are read where they lie
plane_rows.py        the rows of a plane under a kernel's taps, read where they lie
depthwise.py         one channel to a group, at the speed of memory
depthwise_weight.py  the adjoint for the weight
tiles.py tile_search.py how each is cut into tiles and tasks, and what that should cost;
                     direct_tiles.py winograd_tiles.py batch_tiles.py matrix_tiles.py plane_tiles.py
problem.py           what a job computes, whatever the algorithm
planner.py           which algorithm for which problem
jobs.py plan.py      from a geometry to problems, from a problem to tasks with their parameters (fields.py),
                     for each algorithm: convolution_plans.py weight_plans.py plans.py
routes.py            whole or in parts, so that taps in the padding are left out: left_out.py tap_parts.py
max_pooling.py average_pooling.py, and the files that they name
activations.py       what may follow a convolution, and its gradient
program.py           jobs one after another, in a single call into compiled code
blocks.py            convolution, activation and pooling as such jobs, some images at a time (elementwise.py)
chain.py             blocks one behind another, forwards and backwards, as a program each
strips.py            all pixels under the kernel, side by side
channel_planes.py    or vector by vector, with channels in the lanes
winners.py           those pixels that max pooling took, and nothing else (winners_tiles.py winners_plan.py)
winners_weight.py    the adjoint for the weight from them
winners_input.py     and that for the image
pool.py atomics.py   threads that share a job, in the caller's floating-point mode (floating_mode.py)
buffers.py memory.py memory that is used again, and the call into compiled code
backend.py           all of it behind the contract
"""
