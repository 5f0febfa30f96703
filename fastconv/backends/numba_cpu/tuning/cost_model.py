"""A processor, as far as a planner must know it: cycles of the steps of each algorithm, and what its caches hold.

Costs are in cycles of one core, on a scale on which a vector of multiply-adds takes one. They are measured, not looked
up: each is the slope or the beginning of the time that a step takes as its size grows. One module of this folder has
the values of one processor; the planner goes by those that `fastconv.backends.numba_cpu.tuning` chooses.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IssueCosts:
    """How fast one core starts multiply-adds, a vector each."""

    accumulators: int
    """Sums that must be under way to keep the units busy: a multiply-add takes 4 cycles, and 2 start in each."""
    load: float
    """Cycles of a load or broadcast beside multiply-adds."""

    def step(self, rows: int, vectors: int) -> float:
        """Return the cycles of a step of the reduction in a tile of ``rows`` x ``vectors`` sums."""
        return max(rows * vectors + self.load * (rows + vectors), self.accumulators)

    def factor(self, rows: int, vectors: int) -> float:
        """Return the cycles of a multiply-add in such a tile, loads counted."""
        return 1 + self.load * ((rows + vectors) / (rows * vectors))

    def shortage(self, rows: int, vectors: int) -> float:
        """Return the factor by which such a tile is slower for having too few sums under way."""
        return max(1.0, self.accumulators / (rows * vectors))


@dataclass(frozen=True)
class GemmCosts:
    """A blocked matrix product, and what every algorithm's tiles and tasks cost."""

    tile: int
    """Cycles of a tile before its first multiply-add."""
    write: int
    """Cycles of a vector of the result, masks included."""
    transpose: int
    """Cycles of a vector that is transposed with its neighbours."""
    small: int
    """Cycles of a problem that a thread does alone, some 10 us: cut into more tasks, it would only copy more."""
    steps: int
    """Steps of the reduction in one go. A panel of 14 x 384 floats takes 21 KiB of an L1 cache of 32 or 48; going
    through the tile's result once in 384 steps costs 1% of the multiply-adds."""
    block_bytes: int
    """Size limit of a gathered block, in bytes. It and the weight's panels that pass through share an L2 cache of 1
    MiB."""
    pixels: int
    """Steps of a reduction over pixels in one go."""
    narrowest: int
    """Columns of the weight gradient that a task should have, so that transposing the output's gradient, which every
    block of columns does anew, stays below 5% of the work."""
    plane_bytes: int
    """Size limit of the planes that a task copies, in bytes: they stay in the L2 cache."""
    parts_bytes: int
    """Size limit of all the parts together into which a reduction may be split, in bytes."""


@dataclass(frozen=True)
class DirectCosts:
    """A direct convolution."""

    piece: int
    """Cycles of a vector of the result in a row of its own, written from the registers; more where it may be in
    several."""
    copy: int
    """Cycles of a vector that is copied into a plane."""
    row: int
    """Cycles of a row that is copied, to begin with."""


@dataclass(frozen=True)
class WinogradCosts:
    """Winograd's convolution, and its weight gradient."""

    steps: int
    """Channels in one go: 16 x 128 x 32 transformed floats take 256 KiB of the L2 cache, a sixteenth half of the L1."""
    sums_bytes: int
    """Size limit of the products' sums that a task keeps in the L2 cache beside the patches, in bytes."""
    read: int
    """Cycles of a vector of patches that is transformed."""
    transform: int
    """Cycles of a vector of the patches' sums that is transformed."""
    stream: int
    """Bytes a cycle of weights that the L2 cache doesn't hold and every block of patches reads anew."""
    kernel: int
    """Cycles of a vector of 3 x 3 kernels that is packed and transformed, whole or not."""
    patches: int
    """Patches in one go, of a weight gradient."""
    channels: int
    """Channels, and target channels, whose sums a task of a weight gradient keeps: 16 x 128 x 128 floats take 1 MiB,
    and go through the cache once in ``patches`` steps."""
    spread: int
    """Cycles of a vector of gradients that is transformed."""
    gather: int
    """Cycles of a 3 x 3 kernel's sums that are transformed."""


@dataclass(frozen=True)
class ImageLanesCosts:
    """A convolution with images in the lanes."""

    chain: int
    """Products, about, that are added up in one chain."""
    vector: int
    """Cycles of a vector that is interleaved or separated, in squares."""
    line: int
    """Cycles of a row that is interleaved or separated, to begin with."""
    tap: int
    """Cycles of a tap that the micro-kernel goes to, besides its channels."""
    miss: int
    """Cycles of a tap that a tile looks at and that meets no pixel: few, but for kernels about as large as the
    image."""
    near_bytes: int
    """Size limit of the gradient's rows, and the pixels that they are multiplied with, that the L1 cache holds, in
    bytes."""


@dataclass(frozen=True)
class MatmulCosts:
    """A product of matrices that are read where they lie."""

    steps: int
    """Steps of the reduction in one go: of two vectors each 24 KiB, in the L1 cache."""
    most_bytes: int
    """Size limit of b, in bytes: of 150 MB, rows of 16 KiB, every other one is on a page whose address has to be looked
    up, which takes twice the time."""
    sets: int
    """Sets of the L1 cache of 32 KiB: lines whose addresses differ by a multiple of 4 KiB share one."""
    ways: int
    """Lines in a set of the L1 cache."""
    line: int
    """Bytes of a line of the L1 cache."""


@dataclass(frozen=True)
class DepthwiseCosts:
    """A convolution from single channels."""

    task: int
    """Cycles that are worth a task, some microseconds."""
    load: float
    """Cycles of a vector that lies across two cache lines."""
    free_taps: int
    """Taps whose weights and pixels stay in registers; each further one is read again."""
    spill: float
    """Cycles of a tap that is read again."""
    line: int
    """Cycles of a vector in a plane's row before its first tap."""
    call: int
    """Cycles of a plane, or the part of one that is a vector wide."""


@dataclass(frozen=True)
class WinnersCosts:
    """Gradients through max pooling from its winners alone."""

    strip_vectors: int
    """Vectors of a patch that lies in a strip: a first layer's, 5 x 5 taps on one channel or 3 x 3 on three, has two
    with 512 bits and four with 256."""
    strips_bytes: int
    """Size limit of the strips of a block, an eighth of the L2 cache, in bytes; those of a 28 x 28 image take 15
    KiB."""
    plane_bytes: int
    """Size limit of a plane that is read, in the L1 cache, in bytes."""
    whole_bytes: int
    """Size limit of the planes that a task of an input gradient fills, in the L2 cache, in bytes."""
    sums_bytes: int
    """Size limit of a task's sums, in the L2 cache, through which they go once for each image, in bytes."""
    lists_bytes: int
    """Size limit of the lists of the channels that are taken together, in bytes."""
    list: int
    """Cycles of a winner that is listed."""
    call: int
    """Cycles of a list that a kernel goes through, besides its winners."""
    load: float
    """Cycles of a vector of a patch that is multiplied and added."""
    update: float
    """Cycles of a vector of a patch that is added to and written back."""
    square: int
    """Cycles of a vector that comes or goes in a square of lanes x lanes."""
    sums: int
    """Cycles of a vector of sums that comes and goes with a list."""
    weights: int
    """Cycles of a vector of weights that comes with a list."""
    spread: float
    """Cycles of a number of the gradient of all results, zero or not, which the dense way makes first."""
    live: float
    """Share of the winners that have a gradient behind a ReLU: of digits, 0.5 to 0.8 in the networks of models/."""


@dataclass(frozen=True)
class RouteCosts:
    """The ways that a convolution may go: whole, in parts, or by the column matrix."""

    pack: int
    """Cycles of an element of the weight that a lattice packs: its neighbours in the panel lie a whole kernel apart."""
    place: int
    """Cycles of a number of the weight's gradient that is put into its place."""
    job: int
    """Cycles of a job: a call into compiled code, helpers that come and go, 5 us."""
    fold: int
    """Cycles of a number of the column matrix that is written, read and added."""
    columns_bytes: int
    """Size limit of the columns of some images, in bytes: they stay in the L3 cache between the product and the sum."""
    most_bytes: int
    """Size limit of one image's columns, in bytes: a workspace that grows with the kernel must end somewhere."""


@dataclass(frozen=True)
class CostModel:
    """All that the planner knows of a processor."""

    name: str
    issue: IssueCosts
    gemm: GemmCosts
    direct: DirectCosts
    winograd: WinogradCosts
    image_lanes: ImageLanesCosts
    matmul: MatmulCosts
    depthwise: DepthwiseCosts
    winners: WinnersCosts
    routes: RouteCosts
