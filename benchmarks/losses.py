"""What the evidential loss over a vocabulary costs, each figure a ratio within this one run.

    python benchmarks/losses.py [K] [ROWS]

Forward and backward of float32 logits (ROWS, K), on the GPU if there is one, over the same of
`torch.nn.functional.cross_entropy` with class indices: the median of interleaved pairs. Then the
memory that forward and backward need beside logits and targets, as a multiple of the logits.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch

from raw2s.method import evidential
from raw2s.method.evidential import evidential_loss

PAIRS = 11


def seconds(loss: Callable[[torch.Tensor], torch.Tensor], logits: torch.Tensor) -> float:
    """Of one forward and backward."""
    leaf = logits.detach().requires_grad_(True)
    _wait(logits)
    started = time.perf_counter()
    loss(leaf).backward()
    _wait(logits)
    return time.perf_counter() - started


def peak(loss: Callable[[torch.Tensor], torch.Tensor], logits: torch.Tensor) -> float:
    """Most memory beside what was there, in sizes of the logits."""
    leaf = logits.detach().requires_grad_(True)
    size = logits.numel() * logits.element_size()
    if logits.is_cuda:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        loss(leaf).backward()
        return (torch.cuda.max_memory_allocated() - before) / size
    before, most, done = _resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, _resident())
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    loss(leaf).backward()
    most = max(most, _resident())
    done.set()
    thread.join()
    return (most - before) / size


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def _wait(logits: torch.Tensor) -> None:
    if logits.is_cuda:
        torch.cuda.synchronize()


def main() -> None:
    """Print the ratios."""
    classes = int(sys.argv[1]) if len(sys.argv) > 1 else 151_936
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else 16
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    logits = torch.randn(rows, classes, device=device) * 2
    soft = torch.softmax(torch.randn(rows, classes, device=device) * 2, -1)
    labels = torch.randint(classes, (rows,), device=device)

    def evidential_of(
        evidence: evidential.Evidence, targets: torch.Tensor
    ) -> Callable[..., object]:
        return lambda z: evidential_loss(z, targets, evidence=evidence, validate=False)

    def plain(z: torch.Tensor) -> torch.Tensor:
        with mock.patch.object(evidential, "FEWEST_CLASSES", classes + 1):
            return evidential_loss(z, soft, validate=False)

    cross_entropy = lambda z: torch.nn.functional.cross_entropy(z, labels)  # noqa: E731
    contenders = {
        "evidential, exp+1, dense soft targets": evidential_of("exp+1", soft),
        "evidential, exp, dense soft targets": evidential_of("exp", soft),
        "evidential, exp+1, class indices": evidential_of("exp+1", labels),
        "closed form in plain float64 torch, exp+1, dense": plain,
    }
    name = (
        torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    )
    print(f"{device} ({name}), {rows} x {classes} float32 logits; {PAIRS} pairs")
    for title, loss in contenders.items():
        seconds(loss, logits), seconds(cross_entropy, logits)
        ratios = [seconds(loss, logits) / seconds(cross_entropy, logits) for _ in range(PAIRS)]
        print(
            f"{title:<52} {statistics.median(ratios):6.1f} times cross-entropy "
            f"({min(ratios):.1f} to {max(ratios):.1f}), peak {peak(loss, logits):5.2f} x logits"
        )
    print(f"{'cross-entropy, class indices':<52} peak {peak(cross_entropy, logits):5.2f} x logits")


if __name__ == "__main__":
    main()
