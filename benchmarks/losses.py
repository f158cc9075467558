"""What the evidential loss over a vocabulary costs, each figure a ratio within this one run.

    python benchmarks/losses.py [K] [ROWS]

Forward and backward of float32 logits (ROWS, K), on the GPU if there is one, over the same of
`torch.nn.functional.cross_entropy` with class indices: the median of interleaved pairs. Then the
memory that forward and backward need beside logits and targets, as a multiple of the logits.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch

from raw2s.method import evidential
from raw2s.method.binary_kl import binary_kl
from raw2s.method.bridge import full_target
from raw2s.method.evidence import Evidence
from raw2s.method.evidential import evidential_loss, soft_label_evidential_loss

PAIRS = 11
Loss = Callable[[torch.Tensor], torch.Tensor]


def seconds(loss: Loss, logits: torch.Tensor) -> float:
    """Of one forward and backward."""
    leaf = logits.detach().requires_grad_(True)
    _wait(logits)
    started = time.perf_counter()
    loss(leaf).backward()
    _wait(logits)
    return time.perf_counter() - started


def peak(loss: Loss, logits: torch.Tensor) -> float:
    """Most memory beside what was there, in sizes of the logits."""
    leaf = logits.detach().requires_grad_(True)
    size = logits.numel() * logits.element_size()
    if logits.is_cuda:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        loss(leaf).backward()
        return (torch.cuda.max_memory_allocated() - before) / size
    before = _memory("VmRSS")
    # Linux then starts the process's high-water mark anew.
    Path("/proc/self/clear_refs").write_text("5")
    loss(leaf).backward()
    return (_memory("VmHWM") - before) / size


def _memory(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))


def _wait(logits: torch.Tensor) -> None:
    if logits.is_cuda:
        torch.cuda.synchronize()


def contenders(rows: int, classes: int, device: str) -> tuple[torch.Tensor, dict[str, Loss]]:
    """Logits, and the losses of them; cross-entropy is the last."""
    torch.manual_seed(0)
    logits = torch.randn(rows, classes, device=device) * 2
    soft = torch.softmax(torch.randn(rows, classes, device=device) * 2, -1)
    labels = torch.randint(classes, (rows,), device=device)
    log_t = -3 * torch.rand(rows, device=device)

    def evidential_of(evidence: Evidence, targets: torch.Tensor) -> Loss:
        return lambda z: evidential_loss(z, targets, evidence=evidence, validate=False)

    def plain(z: torch.Tensor) -> torch.Tensor:
        with mock.patch.object(evidential, "FEWEST_CLASSES", classes + 1):
            return evidential_loss(z, soft, validate=False)

    def through_dense(z: torch.Tensor) -> torch.Tensor:
        return evidential_loss(z, full_target(z, labels, log_t), validate=False)

    def soft_label(z: torch.Tensor) -> torch.Tensor:
        return soft_label_evidential_loss(z, labels, log_t, validate=False)

    return logits, {
        "evidential, exp+1, dense soft targets": evidential_of("exp+1", soft),
        "evidential, exp, dense soft targets": evidential_of("exp", soft),
        "evidential, exp+1, class indices": evidential_of("exp+1", labels),
        "evidential, exp+1, soft label of t and logits": soft_label,
        "the same through a dense target": through_dense,
        "binary KL of t": lambda z: binary_kl(z, labels, log_t).mean(),
        "closed form in plain float64 torch, exp+1, dense": plain,
        "cross-entropy, class indices": lambda z: torch.nn.functional.cross_entropy(z, labels),
    }


def main() -> None:
    """Print the ratios."""
    classes, rows, *only = [int(word) for word in sys.argv[1:]] + [151_936, 16][len(sys.argv) - 1 :]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    logits, losses = contenders(rows, classes, device)
    if only:
        # A process of its own, in which no freed memory waits to be used again.
        print(peak(list(losses.values())[only[0]], logits))
        return
    name = (
        torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    )
    print(f"{device} ({name}), {rows} x {classes} float32 logits, {PAIRS} interleaved pairs")
    *_, cross_entropy = losses.values()
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    for number, (title, loss) in enumerate(losses.items()):
        ratios = [seconds(loss, logits) / seconds(cross_entropy, logits) for _ in range(PAIRS + 1)][
            1:
        ]
        words = [sys.executable, __file__, str(classes), str(rows), str(number)]
        memory = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        print(
            f"{title:<50} {statistics.median(ratios):6.1f} times cross-entropy "
            f"({min(ratios):.1f} to {max(ratios):.1f}), memory {float(memory.stdout):5.2f} x logits"
        )


if __name__ == "__main__":
    main()
