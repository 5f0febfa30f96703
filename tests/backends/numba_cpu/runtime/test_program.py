"""This test sees that buffers of a program share memory only if they are never in use at the same time."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv.backends.numba_cpu.runtime.program import _Buffer, _lay_out


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 12), st.integers(0, 5)), max_size=12))
def test_buffers_in_use_at_the_same_time_are_apart(drawn: list[tuple[int, int, int]]) -> None:
    buffers = [_Buffer(4096 * size, first, first + more) for size, first, more in drawn]
    total = _lay_out(buffers)
    assert all(buffer.offset >= 0 and buffer.offset + buffer.size <= total for buffer in buffers)
    for number, one in enumerate(buffers):
        for other in buffers[:number]:
            if one.first <= other.last and other.first <= one.last:
                assert one.offset + one.size <= other.offset or other.offset + other.size <= one.offset
    assert total <= sum(buffer.size for buffer in buffers)
