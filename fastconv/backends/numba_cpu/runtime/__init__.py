"""How kernels run: threads, memory, and calls into compiled code.

thread_pool.py     threads that share a job, or the host program's own team of them (host_team.py)
atomics.py         what threads need to agree
floating_mode.py   the caller's rounding, for all threads; cores.py: the cores that they run on
buffers.py         memory for results and workspaces that is used again
launch.py          arrays' addresses, a job's parameters and its tasks in a single call
program.py         jobs one after another in a single call
"""
