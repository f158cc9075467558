"""Batches are halved until they fit, and other errors are not taken for a full memory."""

from __future__ import annotations

import pytest
import torch

from raw2s.models.memory import with_smaller_batches


@pytest.mark.parametrize(
    "full",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_tried_again(full: Exception) -> None:
    tried: list[int] = []

    def work(batch_size: int) -> str:
        tried.append(batch_size)
        if batch_size > 10:
            raise full
        return "done"

    assert with_smaller_batches(work, 64) == ("done", 8)
    assert tried == [64, 32, 16, 8]


def test_what_never_fits_and_other_errors_are_raised() -> None:
    def full(batch_size: int) -> None:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        with_smaller_batches(full, 4)

    calls: list[int] = []

    def wrong(batch_size: int) -> None:
        calls.append(batch_size)
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        with_smaller_batches(wrong, 4)
    assert calls == [4]


def test_a_real_allocation_that_cannot_be_is_recognised() -> None:
    def work(batch_size: int) -> int:
        if batch_size > 1:
            torch.empty(2**46, dtype=torch.uint8)
        return batch_size

    assert with_smaller_batches(work, 2) == (1, 1)
