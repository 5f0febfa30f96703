"""The parameters of a pooling's job, as 64-bit integers in one array: what each place holds.

As in `fields`, compiled tasks get the array's address, their *frame*. Addresses are in bytes, all else counts elements.
Names are those of `fastconv.geometry`: windows of R x S pixels, window (p, q) beginning at pixel
(p * DOWN - TOP, q * RIGHT - LEFT), its pixels DY and DX apart.
"""

(
    INPUT,  # addresses: of x or its gradient, (planes, H, W),
    OUTPUT,  # of y or its gradient, (planes, P, Q),
    INDICES,  # of the indices, (planes, P, Q),
    STARTS,  # of tables: as places, the first column in the image of each window in a row;
    SPANS,  # the first column in the image of each window in a row, and the one after its last;
    REACH,  # the first row in the image, and how many, of each row of windows;
    DIVISORS,  # and the address of the divisors of each row of windows
    PLANES,
    H,
    W,
    P,
    Q,
    R,
    S,
    DOWN,
    RIGHT,
    TOP,
    LEFT,
    DY,
    DX,
    TASK_PLANES,  # planes in a task
    TASK_ROWS,  # rows in a task
    TASK_WINDOWS,  # or windows in a task
    ROW_BLOCKS,  # tasks that share their planes
    BLOCK_ROWS,  # rows that are worked on at a time
    AHEAD,  # bytes to be asked for ahead of the next block
    TASK,  # the address of the compiled task
    TASKS,  # how many there are
    COUNT,
) = range(29)
