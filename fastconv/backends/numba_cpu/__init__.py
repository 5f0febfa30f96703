"""The fast backend for processors. Read it level by level; each folder's ``__init__`` names its files.

simd/            vectors for Numba: what instruction sets have, types, loads, arithmetic
gemm/            a matrix product in registers and caches: micro-kernel, packing, tiling
conv/            convolutions and weight gradients on top of it, one folder an algorithm
pooling/         max and average pooling, and their gradients
tuning/          what a processor is to the planner: costs, and how work is cut into parts
runtime/         threads, memory that is used again, calls into compiled code, programs of many jobs
fused/           convolution, activation and pooling as one program, forwards and backwards
problem.py       what a job computes, whatever the algorithm
lowering.py      from a convolution's geometry and a pass to jobs; routes.py chooses between several ways
algorithms.py    the table of algorithms; planner.py compares what they would cost
infinities.py    numbers that aren't finite, where a plan has other terms than the definition
explaining.py    what the planner has to say; warmup.py: what is compiled ahead of time
backend.py       all of it behind the contract of backends

The path of ``padding`` from `fastconv.conv2d` to a kernel:

1. `fastconv.functional.conv2d` has `arguments.conv_geometry` check it and make it four numbers of a `ConvGeometry`.
2. `NumbaCpu.conv2d` (backend.py) asks for the plans of that geometry, which are made once and kept.
3. `routes.chosen_jobs` and `lowering.jobs` turn it into taps: row r of a kernel lies r * dilation - top pixels below.
   A tap that meets nothing but padding is left out there, and one that does at most pixels may be (conv/tap_parts).
4. `planner.plan` chooses an algorithm for the `Problem` of these taps, and makes its `Plan` (conv/plan.py).
5. The plan writes the taps into the arguments that kernels read: ``taps``, ``first_y`` (gemm/arguments.py).
6. The kernel compares each row and column with the image's size and takes 0 for what is outside: `gather` in
   conv/implicit_gemm/gather.py, `copy_planes` in conv/direct/forward.py, and so on. No padded image is ever written.
"""
