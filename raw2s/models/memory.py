"""Batches that do not fit into memory are halved and tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

# What torch says on a CPU, where it has no error of its own.
_ON_CPU = ("can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's or the host's memory is full."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _ON_CPU)


def with_smaller_batches(work: Callable[[int], T], batch_size: int) -> tuple[T, int]:
    """work(batch_size), with half as many rows after each time that memory was full.

    Returns its result and the batch size that fitted. Raises the error of a single row.
    """
    while True:
        try:
            return work(batch_size), batch_size
        except (MemoryError, RuntimeError) as error:
            if batch_size == 1 or not is_out_of_memory(error):
                raise
        # Outside: while the error is handled, its frames hold what did not fit.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        batch_size //= 2
