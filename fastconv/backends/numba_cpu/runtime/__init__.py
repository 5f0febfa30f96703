"""This folder runs kernels: it has the threads, the memory, and the calls into compiled code.

thread_pool.py     shares a job's tasks between the caller and helper threads
host_team.py       gives a job to the OpenMP threads of the host program instead
pool_state.py      the words in memory through which the threads of a job agree
atomics.py         atomic integers, a pause, and locks, for compiled code
floating_mode.py   reads and sets a thread's rounding and its treatment of denormal numbers
cores.py           finds and sets the core that a thread runs on
buffers.py         keeps memory for results and workspaces, and uses it again
addresses.py       finds the addresses of arrays
program.py         runs the jobs of operations one after another in a single call
"""
