"""The short name that a checkout gives to `fastconv.models`, for ``python -m models``."""
