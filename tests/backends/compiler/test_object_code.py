"""These tests see what is left out when a kernel is compiled: parts of the seconds that a first call waits for."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from fastconv.backends.compiler import Kernel, inner, integers
from fastconv.backends.numba_cpu.simd import Simd, instruction_set, load_integer, store_integer

SIMD = Simd(instruction_set.PORTABLE, "float32")


@inner
def _twice(x):
    return x + x


def _kernel(place, x):
    store_integer(place, 0, _twice(x) // 3)


def _of_a_constant(simd, place):
    store_integer(place, 0, simd.lanes)


MARK = 0x5A17C3E9


def _loop(place, count):
    total = 0
    for _ in range(count):
        total = (total ^ MARK) * load_integer(place, total)
    store_integer(place, 0, total)


def _impossible(place):
    store_integer(place, 0, "a text")


def test_numba_loads_nothing_of_arrays() -> None:
    from fastconv.backends.compiler.object_code import object_code
    from fastconv.backends.compiler.object_code.target import kernels_target

    assert object_code(integers(_kernel), "kernel")
    loaded = {str(registry) for registry in kernels_target.target_context._registries}
    assert len(loaded) == 2, loaded


def test_a_loop_is_compiled_once() -> None:
    from fastconv.backends.compiler.object_code import object_code

    assert object_code(integers(_loop), "kernel").count(MARK.to_bytes(4, "little")) == 1


ALONE = """
import sys
from tests.backends.compiler.test_object_code import _kernel
from fastconv.backends.compiler import integers
from fastconv.backends.compiler.object_code import object_code
object_code(integers(_kernel), "kernel")
print([name for name in ("numba.np.linalg", "numba.cpython.unicode") if name in sys.modules])
"""


def test_numba_s_own_target_is_not_filled() -> None:
    """It would be by the rules for methods of texts and lists, and by Numba's runtime, which no kernel needs."""
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_a_function_takes_few_passes_and_is_optimised_with_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core.codegen import CPUCodeLibrary
    from numba.core.compiler_machinery import PassManager

    from fastconv.backends.compiler.object_code import object_code

    ran: list[str] = []
    run_pass = PassManager._runPass
    monkeypatch.setattr(PassManager, "_runPass", lambda *of: (ran.append(of[2].name()), run_pass(*of))[1])
    for step in ("_optimize_functions", "_optimize_final_module"):
        monkeypatch.setattr(CPUCodeLibrary, step, lambda *_, step=step: ran.append(step))
    # Functions of this test alone: another one's are compiled already.
    called = inner(lambda x: x * 5)

    def kernel(place, x):
        store_integer(place, 0, called(x))

    assert object_code(integers(kernel), "kernel")
    assert ran.count("native_lowering") == 2, "the kernel and what it calls, and nothing that only passes arguments on"
    assert len(ran) == 24, ran


def test_an_intrinsic_is_lowered_for_both_targets() -> None:
    """Kernels are compiled after Numba's own target has used the same functions, and before."""
    from fastconv.backends.compiler.object_code import object_code
    from fastconv.backends.compiler.object_code.inner import Inner

    def kernel(place):
        store_integer(place, 0, 1 + 2)

    for _ in range(2):
        assert object_code(integers(kernel), "kernel")
        Inner(lambda place: store_integer(place, 0, 3)).compile("(int64,)")


def test_a_constant_is_no_argument() -> None:
    from fastconv.backends.compiler.object_code import object_code

    assert object_code(Kernel(_of_a_constant, (SIMD, int)), "kernel")


def test_the_search_for_cycles_goes_on_after_an_error() -> None:
    from numba.core.errors import NumbaError

    from fastconv.backends.compiler.object_code import object_code

    assert gc.isenabled()
    with pytest.raises(NumbaError):
        object_code(integers(_impossible), "kernel")
    assert gc.isenabled()
