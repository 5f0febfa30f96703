"""The memory of a program's rooms: shared by those that are never in use at the same time."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv.backends.numba_cpu.runtime.program import _lay_out, _Room


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 12), st.integers(0, 5)), max_size=12))
def test_rooms_in_use_at_the_same_time_are_apart(drawn: list[tuple[int, int, int]]) -> None:
    rooms = [_Room(4096 * size, first, first + more) for size, first, more in drawn]
    total = _lay_out(rooms)
    assert all(room.offset >= 0 and room.offset + room.size <= total for room in rooms)
    for number, one in enumerate(rooms):
        for other in rooms[:number]:
            if one.first <= other.last and other.first <= one.last:
                assert one.offset + one.size <= other.offset or other.offset + other.size <= one.offset
    assert total <= sum(room.size for room in rooms)
