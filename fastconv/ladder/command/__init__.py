"""`fastconv ladder`: the rungs measured on this machine, verified, listed and drawn.

layer.py     the layer, from a text such as "N=8 C=64 H=56 K=64 R=3 padding=1"
truth.py     the right results in float64, by NumPy
measuring.py the machine's limits, each rung verified and timed
assembly.py  the machine code of a rung: vector instructions by width, and its innermost loop
table.py     what is printed
pictures.py  bars, the roofline and the shapes of tiles, where matplotlib is installed
"""
