"""The student's own predictions with the weak labels' class balance (Burns et al. 2023, App. A).

Left alone, the auxiliary loss may pull a student to one class. For two classes Burns et al. choose
the threshold under which each class has the share among the student's predictions that it has among
the weak labels. For K classes this is an assignment: of all ways to predict the last n examples
with these class counts, the one of greatest total log-probability. By linear programming's duality
it is an argmax under one offset for each class.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from raw2s.method.arrays import check_at_least, check_distributions, check_shape
from raw2s.method.targets import check_finite


class BalancedPredictions:
    """Predictions of batch after batch, balanced over the last `window` examples (or the batch, if
    it is larger). `shares` (K,) are the weak labels' class shares.

    Raises ValueError for shares that are no distribution and a window below 1.
    """

    def __init__(self, shares: Sequence[float], window: int = 32) -> None:
        self.shares = torch.tensor(check_distributions("shares", shares, ("K",)))
        check_at_least("window", window, 1)
        self.window = window
        self.recent = torch.zeros(0, len(shares))
        """Log-probabilities (m, K), float32, of the last examples; the state to keep."""

    def predict(self, logits: Tensor) -> Tensor:
        """Class indices (B,) for logits (B, K); the batch enters the window."""
        check_shape("logits", logits.shape, ("B", len(self.shares)))
        check_finite("logits", logits)
        batch = logits.detach().float().log_softmax(-1).cpu()
        recent = torch.cat([self.recent, batch])[-max(self.window, len(batch)) :]
        self.recent = recent[-self.window :]
        counts = class_counts(self.shares.numpy(), len(recent))
        columns = np.repeat(np.arange(len(counts)), counts)
        rows, chosen = linear_sum_assignment(recent.numpy()[:, columns], maximize=True)
        classes = columns[chosen[np.argsort(rows)]]
        return torch.as_tensor(classes[-len(batch) :], device=logits.device)


def class_counts(shares: np.ndarray, n: int) -> np.ndarray:
    """n examples shared out to K classes (K,): largest remainders, ties to the first class."""
    exact = shares / shares.sum() * n
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: n - counts.sum()]] += 1
    return counts
