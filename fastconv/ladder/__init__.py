"""This package is the CPU's ladder: complete small convolutions, one file and one idea each, up to the machine's peak.

Read them in order, beside docs/cpu.md. Each begins with its arithmetic, is plain Python that Numba compiles, and is a
backend by its number: ``fastconv.conv2d(x, w, backend="ladder:06")``. `fastconv ladder` measures them here.

rung01_definition   the formula as seven loops, in Python
rung02_compiled     the same text, compiled
rung03_padded       a border of zeros instead of a question for each product
rung04_loop_order   pixels innermost, so that the compiler makes vectors
rung05_reuse        four filters and three taps in one pass over a row
rung06_registers    a tile of sums that stays in registers
rung07_im2col       the other road: a matrix of windows, and a library's matrix product
rung08_own_gemm     that product made here: packing, and blocks for each cache
rung09_implicit     the same product without the matrix of windows
rung10_threads      the same work on all cores
rung11_depthwise    one channel a group, where memory sets the pace
rung12_winograd     fewer products than the definition has
rung13_gradients    the input gradient by the phases of its stride, the weight gradient along rows of pixels
rung14_fusing       bias, ReLU and pooling while the sums are still in the cache

`backend` makes backends of them; `command` measures, prints and draws.
"""
