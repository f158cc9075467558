"""Which node each actor of a pool goes to: spread out, and never where it does not fit."""

from __future__ import annotations

from collections.abc import Mapping

from raw2s.nodes import ROUNDING, Group, Node


class Placement:
    """What is free on each node, by its id, as actors are placed."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes
        self._cpus = {name: node.cpus for name, node in nodes.items()}
        # What is free of each GPU: a fraction is of one.
        self._gpus = {name: [1.0] * int(node.gpus) for name, node in nodes.items()}

    def place(self, group: Group) -> str | None:
        """Take a place for one of a group, on the node with the most left of what is asked; None
        where none fits."""
        cpus, gpus = group.cpus, group.gpus
        fitting = [
            name
            for name, node in self._nodes.items()
            if node.has(group.labels) and self._fits(name, cpus, gpus)
        ]
        if not fitting:
            return None
        # Of equal ones the first.
        left = [(sum(self._gpus[name]) if gpus else 0.0, self._cpus[name]) for name in fitting]
        name = fitting[left.index(max(left))]
        self.take(name, cpus, gpus)
        return name

    def take(self, name: str, cpus: float, gpus: float) -> None:
        """Hold so much on a node; one that is gone has nothing to hold."""
        if name not in self._cpus:
            return
        self._cpus[name] -= cpus
        free = self._gpus[name]
        if gpus >= 1:
            for _ in range(int(gpus)):
                free[free.index(max(free))] = 0.0
        elif gpus:
            # The fullest one that has room, so that others stay whole.
            tightest = min((left for left in free if left + ROUNDING >= gpus), default=None)
            if tightest is not None:
                free[free.index(tightest)] -= gpus

    def _fits(self, name: str, cpus: float, gpus: float) -> bool:
        if self._cpus[name] + ROUNDING < cpus:
            return False
        free = self._gpus[name]
        if gpus >= 1:
            return sum(left + ROUNDING >= 1 for left in free) >= int(gpus)
        return not gpus or any(left + ROUNDING >= gpus for left in free)
