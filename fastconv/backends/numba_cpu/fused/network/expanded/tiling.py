"""This file cuts an expanded depthwise convolution into strips of rows and blocks of channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.splitting import TASKS, ceil
from fastconv.geometry import ConvGeometry

COST = CPU.depthwise


@dataclass(frozen=True)
class StripTiling:
    """This is the tiling of an expanded depthwise convolution."""

    block_rows: int
    """Rows of results in a strip."""
    blocks: int
    source_rows: int
    """Rows of the expanded image under a strip, at most."""
    block_panels: int
    panel_blocks: int

    @property
    def fields(self) -> dict[str, int]:
        """Return the tiling as arguments of a job."""
        return {
            "block_rows": self.block_rows,
            "blocks": self.blocks,
            "block_panels": self.block_panels,
            "panel_blocks": self.panel_blocks,
        }


@lru_cache(maxsize=256)
def strip_tiling(simd: Simd, depthwise: ConvGeometry, depth: int, tile_rows: int) -> StripTiling:
    """Return the tiling for an expansion from ``depth`` channels in tiles of ``tile_rows`` rows.

    Strips are as high as the L2 cache allows: it holds the pixels of the images, and of a panel of expanded channels.
    """
    g = depthwise
    reach = (g.R - 1) * g.dilation[0] + 1
    row = max(depth, tile_rows) * g.W * simd.itemsize
    most = max(1, (COST.strip_bytes // row - reach) // g.stride[0] + 1)
    blocks = ceil(g.P, min(g.P, most))
    block_rows = ceil(g.P, blocks)
    blocks = ceil(g.P, block_rows)
    panels = ceil(g.C, tile_rows)
    block_panels = ceil(panels, min(panels, ceil(2 * TASKS, g.N * blocks)))
    source_rows = (block_rows - 1) * g.stride[0] + reach
    return StripTiling(block_rows, blocks, source_rows, block_panels, ceil(panels, block_panels))
