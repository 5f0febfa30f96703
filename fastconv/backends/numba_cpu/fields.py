"""The parameters of a job, as 64-bit integers in one array: what each place holds.

Compiled tasks get the address of that array, their *frame*, and read from it what they need. Addresses are in bytes,
all else counts elements. Terms: a *source* image is read and a *target* is written, both (N, channels, height, width)
and contiguous. The *lattice* is the set of target pixels that a job computes, I x J in each of N images, and u numbers
them: u = (n * I + i) * J + j. Lattice point (i, j) is the target pixel (Y0 + i * YI, X0 + j * XJ), and tap t of the
kernel reads the source pixel (i * DI + dy[t], j * DJ + dx[t]) for it, zero if there is none.
"""

(
    SOURCE,  # addresses: of the source image,
    WEIGHT,  # of the weight, or of the gradient that a weight's gradient is made from,
    BIAS,  # of the bias, or 0,
    TARGET,  # of the target,
    PANELS,  # of the packed weight,
    WORKSPACE,  # of slot 0's workspace,
    TAPS,  # of dy, dx and the place in the weight's kernel, for one tap after another,
    LIMITS,  # and of two numbers: minus infinity, and the floor of the epilogue
    SLOT_BYTES,  # bytes of a slot's workspace
    KERNEL,  # address of the micro-kernel, or of a table of them
    N,
    GROUPS,
    DEPTH,  # source channels in a group
    ROWS,  # target channels in a group
    H,  # source height and width
    W,
    TARGET_H,
    TARGET_W,
    I,
    J,
    DI,
    DJ,
    Y0,
    YI,
    X0,
    XJ,
    TAP_COUNT,
    IN_ORDER,  # whether tap t is element t of the kernel, and there are no others
    TILE_ROWS,  # MR
    TILE_VECTORS,  # NR in vectors
    STEPS,  # of the reduction in one go: KC
    BLOCK_TILES,  # tiles side by side in a block of pixels or columns, or planes, in a task
    BLOCK_PANELS,  # panels, one below the other, in a task
    BLOCKS,  # blocks of pixels or columns
    PANEL_BLOCKS,  # tasks one below the other
    WEIGHT_ROW,  # elements in the weight between target channels,
    WEIGHT_DEPTH,  # and between source channels
    WEIGHT_GROUP,  # and between groups
    SPLITS,  # parts of a reduction that are added up at the end
    SPLIT_STEPS,  # pixels in each
    PARTIAL,  # address of the parts' results
    OFFSETS,  # address of where row k of the reduction is in the padded planes
    PHASES,  # address of the phases, each a row and a column below the source's steps
    PHASE_COUNT,
    PLANE_ROWS,  # rows of a padded plane,
    PLANE_W,  # and columns
    FIRST_Y,  # the source row, in steps, of a plane's first row for lattice row 0,
    FIRST_X,  # and column
    TOP,  # the least dy of all taps,
    LEFT,  # and the least dx,
    REACH,  # and by how much the largest dy exceeds the least
    CHANNEL,  # elements of all planes of a source channel, or of a plane of some of them
    STRIP,  # elements of a strip
    POINTS,  # columns of a product of matrices
    BLOCK_ROWS,  # lattice rows in a block
    PIECES,  # of rows of the target that a vector may touch; rows of a winner's patch
    TAP_ROWS,  # of the taps, where they are a grid,
    TAP_COLUMNS,  # and columns
    PLACES,  # address of where each pixel's patch begins, counted from the first one's
    SUMS,  # address of where each number of the weight's gradient is among a channel's sums
    INFINITE,  # set by whoever meets an infinite number, or NaN, in what it packs or computes
    BY_TAPS,  # taps of a packed weight that holds a tap's channels together; 0 if it holds a channel's taps together
    COUNT,
) = range(63)
