"""The fast backend for processors, one idea a file. Read them in this order:

simd/instruction_set.py   what a processor's vectors are
simd.py              vectors for Numba
gemm/micro_kernel.py       a tile of a matrix product in registers
gemm/packing.py            the weight, rearranged for it
conv/implicit_gemm/gather.py            the pixels under the kernel's taps, straight from the image
conv/implicit_gemm/forward.py     the convolution and its adjoint for the input as a blocked matrix product
conv/direct/forward.py            the same, reading pixels in place: for few channels and large images
conv/implicit_gemm/weight_grad.py       the adjoint for the weight as a blocked matrix product
conv/direct/weight_grad.py     the same with pixels in the lanes
conv/winograd/patches.py           patches of 4 x 4 pixels, transformed
conv/winograd/forward.py          convolutions in fewer multiplications, on such patches
conv/winograd/weight_grad.py   their adjoint for the weight
conv/image_lanes/interleave.py        images into the lanes of vectors, and back
conv/image_lanes/forward.py             convolutions of as many images at once
conv/image_lanes/weight_grad.py      their adjoint for the weight
conv/matmul/kernel.py            1 x 1 kernels and dense layers: matrices that are read where they lie
conv/depthwise/rows.py        the rows of a plane under a kernel's taps, read where they lie
conv/depthwise/forward.py         one channel to a group, at the speed of memory
conv/depthwise/weight_grad.py  the adjoint for the weight
gemm/tiling.py gemm/tile_search.py how each is cut into tiles and tasks, and what that should cost;
                     conv/direct/tiling.py conv/winograd/tiling.py conv/image_lanes/tiling.py conv/matmul/tiling.py conv/depthwise/tiling.py
problem.py           what a job computes, whatever the algorithm
planner.py           which algorithm for which problem
lowering.py conv/plan.py      from a geometry to problems, from a problem to tasks with their parameters (gemm/fields.py),
                     for each algorithm: conv/forward_plans.py conv/weight_grad_plans.py algorithms.py
pooling/max.py pooling/average.py, and the files that they name
fused/activations.py       what may follow a convolution, and its gradient
runtime/program.py           jobs one after another, in a single call into compiled code
fused/lowering.py            convolution, activation and pooling as such jobs, some images at a time (gemm/elementwise.py)
fused/chain.py             blocks one behind another, forwards and backwards, as a program each
fused/sparse_grad/strips.py            all pixels under the kernel, side by side
fused/sparse_grad/channel_planes.py    or vector by vector, with channels in the lanes
fused/sparse_grad/winners.py           those pixels that max pooling took, and nothing else (fused/sparse_grad/tiling.py fused/sparse_grad/plan.py)
fused/sparse_grad/weight_grad.py    the adjoint for the weight from them
fused/sparse_grad/input_grad.py     and that for the image
runtime/thread_pool.py runtime/atomics.py   threads that share a job, in the caller's floating-point mode (runtime/floating_mode.py)
runtime/buffers.py runtime/launch.py memory that is used again, and the call into compiled code
backend.py           all of it behind the contract
"""
