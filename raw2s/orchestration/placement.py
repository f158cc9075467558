"""Which node each actor of a pool goes to: spread out, and never where it does not fit."""

from __future__ import annotations

from collections.abc import Mapping

_ROUNDING = 1e-9


class Placement:
    """What is free on each node (CPUs, GPUs), by the node's id, as actors are placed."""

    def __init__(self, nodes: Mapping[str, Mapping[str, float]]) -> None:
        self._cpus = {node: have["CPU"] for node, have in nodes.items()}
        # What is free of each GPU: a fraction is of one.
        self._gpus = {node: [1.0] * int(have["GPU"]) for node, have in nodes.items()}

    def place(self, cpus: float, gpus: float) -> str | None:
        """Take a place on the node with the most left of what is asked; None where none fits."""
        fitting = [node for node in self._cpus if self._fits(node, cpus, gpus)]
        if not fitting:
            return None
        # Of equal ones the first.
        node = max(fitting, key=lambda node: (gpus > 0) * sum(self._gpus[node]) or self._cpus[node])
        self.take(node, cpus, gpus)
        return node

    def take(self, node: str, cpus: float, gpus: float) -> None:
        """Hold so much on a node; one that is gone has nothing to hold."""
        if node not in self._cpus:
            return
        self._cpus[node] -= cpus
        free = self._gpus[node]
        if gpus >= 1:
            for _ in range(int(gpus)):
                free[free.index(max(free))] = 0.0
        elif gpus:
            # The fullest one that has room, so that others stay whole.
            tightest = min((left for left in free if left + _ROUNDING >= gpus), default=None)
            if tightest is not None:
                free[free.index(tightest)] -= gpus

    def _fits(self, node: str, cpus: float, gpus: float) -> bool:
        if self._cpus[node] + _ROUNDING < cpus:
            return False
        free = self._gpus[node]
        if gpus >= 1:
            return sum(left + _ROUNDING >= 1 for left in free) >= int(gpus)
        return not gpus or any(left + _ROUNDING >= gpus for left in free)
