"""The fast backend for processors, one idea a file. Read them in this order:

    instruction_set.py   what a processor's vectors are
    simd.py              vectors for Numba
    microkernel.py       a tile of a matrix product in registers
    gather.py panels.py  operands, rearranged for it straight from image and weight
    implicit_gemm.py     the convolution and its adjoint for the input
    weight_gemm.py       its adjoint for the weight
    tiles.py plans.py    from sizes to blocks, from a geometry to jobs
    max_pooling.py average_pooling.py
    pool.py atomics.py   threads that share a job
    buffers.py memory.py fields.py
    backend.py           all of it behind the contract
"""
