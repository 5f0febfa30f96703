"""This folder answers calls from Python in compiled code: a small convolution takes 0.3 us so, and 4.9 otherwise.

objects.py   the places of fields in the objects of arrays and tuples, and addresses of C functions
c_calls.py   an intrinsic that calls a C function
record.py    what a known call does: its key, its program and its result
entry.py     finds the record of a call and computes it, in compiled code
table.py     the records of all known calls
short.py     which operations have a program that is short enough
"""
