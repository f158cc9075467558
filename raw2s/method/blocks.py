"""Rows and columns of (n, K) logits in blocks, so that no temporary is as large as the logits."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# Elements a block: its buffers stay in a core's cache on a CPU, and keep a GPU busy.
CPU_SIZE, GPU_SIZE = 1 << 18, 1 << 22

Block = tuple[slice, slice]
"""Some whole rows, or some columns of one row."""


def blocks(logits: Tensor) -> Iterator[Block]:
    """Blocks that cover logits (n, K), row by row."""
    size = GPU_SIZE if logits.is_cuda else CPU_SIZE
    n, classes = logits.shape
    height = max(1, size // classes)
    for first in range(0, n, height):
        for left in range(0, classes, size):
            yield slice(first, min(n, first + height)), slice(left, min(classes, left + size))


def put_at_labels(values: Tensor, block: Block, labels: Tensor, new: Tensor) -> Tensor:
    """`values` of a block, in place new (n, 1) where the block holds a row's label (n,)."""
    rows, columns = block
    place = labels[rows, None] - columns.start
    here = (place >= 0) & (place < values.shape[1])
    place = place.clamp(0, values.shape[1] - 1)
    # Without a mask's indices, for which a GPU would have to be waited for.
    kept = torch.where(here, new[rows].to(values.dtype), values.gather(1, place))
    return values.scatter_(1, place, kept)
