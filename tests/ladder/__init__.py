"""The CPU's ladder: every rung on the table of all backends, and the command that measures them."""
