"""The backend `cuda`: NVIDIA GPUs, written in Python for Numba CUDA. One idea a file; read them in this order.

What is computed
    correlation     the one sum behind a convolution and its input gradient
    pixels          where a pixel is in it
    windows         a pooling's integers as kernels take them

The ladder, each rung complete for all parameters and gradients
    definition      1: one thread a sum
    shared_tiles    2: operands shared by a block
    implicit_gemm   3: sums in registers, operands on their way while others are multiplied
    weight_gemm        the same for the weights, its depth split among blocks
    direct          4: few channels
    direct_weight      the same for the weights
    depthwise       5: one channel a group
    products        6: rungs 3's product by the matrix units, in TF32

What they are made of
    cores           how a block shares a product of tiles
    intrinsics      operations that Numba lacks, as LLVM; `simulated` is their twin for Numba's simulator
    storage         element types
    packing, sums   weights put in order; partial sums added in order

The rest
    max_pooling, average_pooling, columns, copies
    ladder, planner, runs   the rungs by name, the choice among them, and how a plan is carried out
    kernels         compiling, keeping and launching
    target, places, memory, device_array, errors
    backend         the contract's primitives, of all that
"""
