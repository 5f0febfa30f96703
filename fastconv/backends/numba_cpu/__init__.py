"""This package is the fast backend for CPUs. Its folders are levels; each folder's ``__init__`` names its files.

What makes machine code of its kernels, and keeps it, is in fastconv/backends/compiler.

simd/            vectors for Numba: instruction sets, types, loads, arithmetic
gemm/            a matrix product in registers and caches: micro-kernel, packing, tiling
conv/            convolutions and weight gradients built on it, one folder for each algorithm
pooling/         max and average pooling, and their gradients
tuning/          the cost model of a processor, and how work is split into tasks and parts
runtime/         threads, reused memory, calls into compiled code, programs of many jobs
fused/           convolution, activation and pooling as one program, in the forward and the backward pass; networks
calls/           calls that compiled code knows again, and planned convolutions
problem.py       what a job computes, by any algorithm
lowering.py      turns a convolution's geometry and a pass into jobs; routes.py chooses between several ways
algorithms.py    the table of algorithms; planner.py compares what they would cost
infinities.py    numbers that aren't finite, where a plan computes other terms than the definition has
explaining.py    a report of the planner's choice; warmup.py compiles common kernels ahead of time
backend.py       the backend itself, which implements `fastconv.backends.base`

The path of ``padding`` from `fastconv.conv2d` to a kernel:

1. `fastconv.functional.conv2d` has `arguments.conv_geometry` check it and make it four numbers of a `ConvGeometry`.
2. `NumbaCpu.conv2d` (backend.py) asks for the plans of that geometry, which are made once and kept.
3. `routes.chosen_jobs` and `lowering.jobs` turn it into taps: row r of a kernel lies r * dilation - top pixels below.
   A tap that meets only padding is left out there; one that meets only padding at most pixels may be left out at those
   pixels (conv/tap_parts).
4. `planner.plan` chooses an algorithm for the `Problem` of these taps, and makes its `Plan` (conv/plan.py).
5. The plan writes the taps into the arguments that kernels read: ``taps``, ``first_y`` (gemm/arguments.py).
6. The kernel compares each row and column with the image's size and takes 0 for what is outside: `gather` in
   conv/implicit_gemm/gather.py, `copy_planes` in conv/direct/forward.py, and so on. No padded image is ever written.
"""
