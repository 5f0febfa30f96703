"""Profiles show where the time of a training step goes: :mod:`.parts` names the parts, :mod:`.measure` times,
:mod:`.table` shows."""
