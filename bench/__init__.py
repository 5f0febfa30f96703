"""The bench: every backend and every peer on one table of problems, beside the machine's own limits."""
