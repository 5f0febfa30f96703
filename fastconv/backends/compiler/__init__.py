"""This package turns kernels into machine code, which is kept on disk as plain object code and loaded without Numba.

A kernel is a Python function of integers, most of them addresses, that Numba compiles. To import Numba takes longer
than all that a first convolution does, so it is imported only when a kernel has to be compiled. Modules with kernels
import from here what they would import from Numba.

deferred.py      functions that Numba may compile later
kernels.py       kernels: each has a key, and an address once its code is loaded
store.py         object code on disk, and hashes of the sources that it is made from
processor.py     the processor that code is for, and object code in this process
ahead/           processes that compile at the same time
object_code/     what Numba makes of a kernel; the one folder here that imports it
entry.py         kernels that Python calls with integers
builtin.py       makes a function that Python calls directly out of machine code
arrays.py        functions of arrays that Python calls
locks.py         the lock of all compiling, which no signal and no fork leaves taken
"""

from fastconv.backends.compiler.deferred import Kernel, cgutils, inner, intrinsic, types
from fastconv.backends.compiler.kernels import compiled, integers, named

__all__ = ["Kernel", "cgutils", "compiled", "inner", "integers", "intrinsic", "named", "types"]
