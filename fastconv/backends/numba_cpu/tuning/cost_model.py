"""A cost model describes a processor to the planner: the cycles of each algorithm's steps, and cache sizes.

Costs are in cycles of one core, on a scale on which a vector of multiply-adds takes one. They are measured, not taken
from a manual: each is the slope or the intercept of a step's time as a function of its size. Each processor's values
are in a module of their own in this folder; the planner uses those that `fastconv.backends.numba_cpu.tuning` chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastconv.backends.numba_cpu.tuning.plane_costs import DepthwiseCosts, PlaneLanesCosts


@dataclass(frozen=True)
class IssueCosts:
    """These costs say how fast one core starts multiply-adds of one vector each."""

    accumulators: int
    """Number of independent sums that keep the units busy: a multiply-add takes 4 cycles, and 2 start in each."""
    load: float
    """Cycles that a load or broadcast adds to the multiply-adds."""
    read: float
    """Cycles of each load and broadcast of a step whose operands come from the L2 cache, if these take longer than its
    multiply-adds. Tiles of 14 x 1 vectors reach 71 to 81% of the peak on layers where those of 14 x 2 reach 88%."""

    def step(self, rows: int, vectors: int) -> float:
        """Return the cycles of a step of the reduction in a tile of ``rows`` x ``vectors`` sums."""
        return max(rows * vectors + self.load * (rows + vectors), self.accumulators)

    def far_step(self, rows: int, vectors: int) -> float:
        """Return the cycles of a step, as `step`, whose operands come from the L2 cache."""
        return max(self.step(rows, vectors), self.read * (rows + vectors))

    def factor(self, rows: int, vectors: int) -> float:
        """Return the cycles of a multiply-add in a tile of ``rows`` x ``vectors`` sums, loads included."""
        loads = (rows + vectors) / (rows * vectors)
        return max(1 + self.load * loads, self.read * loads)

    def shortage(self, rows: int, vectors: int) -> float:
        """Return the factor by which a tile of ``rows`` x ``vectors`` sums is slower because it has too few sums."""
        return max(1.0, self.accumulators / (rows * vectors))


@dataclass(frozen=True)
class GemmCosts:
    """These are the costs of a blocked matrix product; several of them are used for all algorithms."""

    tile: int
    """Cycles that a tile takes before its first multiply-add."""
    write: int
    """Cycles to write a vector of the result, masks included."""
    pack: float
    """Cycles to pack an element of the weight, and to write it to a cache and read it back."""
    pixel: int
    """Cycles to gather a pixel, if lattice points are three pixels apart or more."""
    transpose: int
    """Cycles to transpose a vector, as one row of a square of lanes x lanes."""
    small: int
    """Cycles up to which a problem is a single task, some 10 us: with more tasks it would only copy more."""
    steps: int
    """Steps of the reduction at a time (KC). A panel of 14 x 384 floats takes 21 KiB of an L1 cache of 32 or 48; to
    update the tile's result once in 384 steps costs 1% of the multiply-adds."""
    block_bytes: int
    """Size limit of a gathered block, in bytes. The block shares an L2 cache of 1 MiB with the weight's panels, which
    are read through it."""
    pixels: int
    """Steps of a reduction over pixels at a time."""
    narrowest: int
    """Least number of columns of the weight gradient in a task. Every block of columns transposes the output gradient
    again; with this width that stays below 5% of the work."""
    plane_bytes: int
    """Size limit of the planes that a task copies, in bytes, so that they stay in the L2 cache."""
    parts_bytes: int
    """Size limit of the partial results of a split reduction, all together, in bytes."""


@dataclass(frozen=True)
class DirectCosts:
    """These are the costs of a direct convolution."""

    piece: int
    """Cycles to write a vector of the result from the registers, if it lies in a single row; it costs more if it may
    lie in several."""
    copy: int
    """Cycles to copy a vector into a plane."""
    row: int
    """Cycles to start the copy of a row."""


@dataclass(frozen=True)
class FormCosts:
    """These are the costs of one form of minimal filtering, such as F(2 x 2, 3 x 3)."""

    steps: int
    """Channels at a time: 16 x 128 x 32 transformed floats take 256 KiB of the L2 cache, a sixteenth half of the L1."""
    sums_bytes: int
    """Size limit of the sums of products that a task keeps, in bytes. They are read and written once in ``steps``
    channels; to transform the patches again for other target channels takes longer."""
    read: int
    """Cycles to transform a vector of patches."""
    span: int
    """Cycles to load the patches of a vector that lie in another row of an image."""
    transform: int
    """Cycles to transform a vector of the patches' sums."""
    kernel: int
    """Cycles to pack and transform a vector of kernels, even if not all lanes are used."""
    channels: int
    """Source channels and target channels whose sums a task of a weight gradient keeps: 16 x 128 x 128 floats take 1
    MiB, and are read and written once in ``patches`` steps."""
    patches: int
    """Patches of a weight gradient at a time."""
    tasks: int
    """Number of tasks that a weight gradient should have at least, if its patches have to be cut into parts for that.
    The sums of each part are transformed, and the results added up."""
    spread: int
    """Cycles to transform a vector of gradients."""
    gather: int
    """Cycles to transform the sums of one kernel, of a piece if it has several, and to write its taps."""


@dataclass(frozen=True)
class WinogradCosts:
    """These are the costs of Winograd's convolution and of its weight gradient."""

    forms: Mapping[str, FormCosts]
    """The costs of each form, by its name."""
    kernels_bytes: int
    """Size limit of transformed kernels that stay in the L2 cache, in bytes."""
    pack: int
    """Cycles to pack a vector of kernels, for each of their taps."""
    patch_bytes: int
    """Size limit of all transformed patches, if these are transformed first, in bytes: they stay in the L3 cache."""
    stream: int
    """Bandwidth for weights larger than the L2 cache, which every block of patches reads again, in bytes a cycle."""
    memory: int
    """Bandwidth for weights that no cache holds, in bytes a cycle."""
    grad_bytes: int
    """Size limit of the sums that a task of a weight gradient keeps, in bytes."""


@dataclass(frozen=True)
class ImageLanesCosts:
    """These are the costs of a convolution with images in the lanes."""

    chain: int
    """Approximate number of products that are added up in one chain."""
    vector: int
    """Cycles to interleave or separate a vector, in squares of lanes x lanes."""
    line: int
    """Cycles to start a row that is interleaved or separated."""
    tap: int
    """Cycles that the micro-kernel takes for a tap, besides those for its channels."""
    miss: int
    """Cycles of a tap that a tile checks and that meets no pixel. Such taps are few, except for kernels about as large
    as the image."""
    near_bytes: int
    """Size limit of the gradient's rows and the pixels that they are multiplied with, in bytes, so that they stay in
    the L1 cache."""


@dataclass(frozen=True)
class MatmulCosts:
    """These are the costs of a product of matrices that are read without packing."""

    steps: int
    """Steps of the reduction at a time, at most."""
    near_bytes: int
    """Size limit of a tile's columns, in bytes, for as many steps as are done at a time: they stay in the L1 cache."""
    block_bytes: int
    """Size limit of a block's columns, in bytes, for as many steps, which each row of tiles reads from the L2 cache."""
    fewest: int
    """Steps of the reduction at a time, at least."""
    order: float
    """Cycles in which a number of a weight gradient by taps is put into the weight's order."""
    fewest_rows: int
    """Rows of a weight gradient for which a task transposes the source, at least."""
    task: int
    """Cycles that a task with target channels in the lanes takes besides its products and what it transposes."""
    fewest_channels: int
    """Source channels that a convolution transposes at a time, at least, if it has more."""
    in_place: int
    """Gathered pixels up to which an input gradient reads the weight in place."""
    scattered: float
    """Share of tiles written by way of the workspace from which all are, after more steps of the reduction."""
    column: float
    """Cycles in which a task copies a step of the last column."""
    dot: int
    """Cycles to add up the lanes of a dot product and to write it."""
    product: float
    """Cycles of a vector of a dot product."""
    most_bytes: int
    """Size limit of b, in bytes. In a b of 150 MB with rows of 16 KiB, every other row is on a page whose address has
    to be looked up, which takes twice the time."""
    sets: int
    """Number of sets of the L1 cache of 32 KiB: lines whose addresses differ by a multiple of 4 KiB share a set."""
    ways: int
    """Number of lines in a set of the L1 cache."""
    line: int
    """Size of a line of the L1 cache, in bytes."""


@dataclass(frozen=True)
class SparseGradCosts:
    """These are the costs of gradients through max pooling computed from the winners only, the pixels of the argmax."""

    strip_vectors: int
    """Largest number of vectors of a patch in a strip: a patch of a first layer, 5 x 5 taps on one channel or 3 x 3 on
    three, has two with 512 bits and four with 256."""
    strips_bytes: int
    """Size limit of the strips of a block, in bytes: an eighth of the L2 cache. The strips of a 28 x 28 image take 15
    KiB."""
    plane_bytes: int
    """Size limit of a plane that is read, in bytes, so that it stays in the L1 cache."""
    whole_bytes: int
    """Size limit of the planes that a task of an input gradient fills, in bytes, so that they stay in the L2 cache."""
    sums_bytes: int
    """Size limit of a task's sums, in bytes, so that they stay in the L2 cache; each image updates all of them once."""
    lists_bytes: int
    """Size limit of the lists of winners of all channels that are processed together, in bytes."""
    list: int
    """Cycles to add a winner to a list."""
    list_vector: int
    """Cycles to add a vector of winners to a list, where the instruction set can."""
    call: int
    """Cycles that a kernel takes for a list, besides those for its winners."""
    load: float
    """Cycles to load, multiply and add a vector of a patch."""
    update: float
    """Cycles to read, update and write back a vector of a patch."""
    update_far: float
    """The same where a plane takes more than ``near_bytes``."""
    near_bytes: int
    """Size limit of a plane that is updated at the speed of the L1 cache, in bytes. A list goes through it row by row,
    so it may be somewhat larger than that cache."""
    square: int
    """Cycles to load or store a vector by way of a transposed square of lanes x lanes."""
    sums: int
    """Cycles to load and store a vector of sums, once for each list."""
    weights: int
    """Cycles to load a vector of weights, once for each list."""
    spread: float
    """Cycles to write a number of the gradient of all convolution results, zeros included, which the dense route
    computes first."""
    live: float
    """Fraction of the winners with a gradient that is not 0 after a ReLU: 0.5 to 0.8 in the networks of models/ that
    classify digits, 0.94 with random weights."""


@dataclass(frozen=True)
class RouteCosts:
    """These costs choose the route of a convolution: as a whole, in parts, or by the column matrix."""

    pack: int
    """Further cycles to pack an element of the weight for a lattice: neighbours in the panel lie a kernel apart."""
    place: int
    """Cycles to copy a number of the weight gradient to its place in the weight's layout."""
    job: int
    """Cycles to start and end a job: a call into compiled code, and worker threads that start and finish, 5 us."""
    fold: int
    """Cycles to write, read and add a number of the column matrix."""
    columns_bytes: int
    """Size limit of the columns of the images in one product, in bytes, so that they stay in the L3 cache until the
    sum."""
    most_bytes: int
    """Size limit of one image's columns, in bytes. The workspace grows with the kernel, so it needs a limit."""
    phase: int
    """Cycles to copy a vector to its phase or back, and as many again for each of the vectors, as many as the dilation,
    that its numbers lie in."""


@dataclass(frozen=True)
class CostModel:
    """A `CostModel` holds everything that the planner knows about a processor."""

    name: str
    issue: IssueCosts
    gemm: GemmCosts
    direct: DirectCosts
    winograd: WinogradCosts
    image_lanes: ImageLanesCosts
    matmul: MatmulCosts
    depthwise: DepthwiseCosts
    plane_lanes: PlaneLanesCosts
    sparse_grad: SparseGradCosts
    routes: RouteCosts
