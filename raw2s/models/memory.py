"""Memory that is full: batches are halved and tried again, what is left over is given back."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

# Where torch has no error of its own: on a CPU, and in what CUDA and its libraries say themselves.
_SAID = (
    "can't allocate memory", "not enough memory", "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's or the host's memory is full."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _SAID)


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
        release()
        batch_size //= 2


def release() -> None:
    """Give back what nothing refers to any more, to whoever shares the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
