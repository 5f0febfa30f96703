"""Writes all snapshots anew."""

from tests.backends.snapshots.lines import in_a_child, path_of, text_of

for snapshot in ("plans", "kernels", "results"):
    path_of(snapshot).write_text(text_of(in_a_child(snapshot)))
