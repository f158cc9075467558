"""What machines have, and how many workers or actors they can hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

ROUNDING = 1e-9
"""Fractions such as 0.1 have no exact binary form."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: its CPUs, its GPUs, its labels."""

    cpus: float
    gpus: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)

    def has(self, labels: Mapping[str, str]) -> bool:
        """Whether it has all of these labels."""
        return labels.items() <= self.labels.items()

    def places(self, cpus: float, gpus: float) -> int:
        """How many workers or actors of so many CPUs and GPUs, not both 0, it can hold."""
        found = [int(self.cpus / cpus + ROUNDING)] if cpus else []
        if gpus >= 1:
            found.append(int(self.gpus / gpus))
        elif gpus:
            # A fraction is of one GPU.
            found.append(int(self.gpus) * int(1 / gpus + ROUNDING))
        return min(found)

    def __str__(self) -> str:
        # Ray gives every node some of its own.
        labels = ", ".join(
            f"{name}={value}"
            for name, value in self.labels.items()
            if not name.startswith("ray.io/")
        )
        return f"{self.cpus:g} CPUs and {self.gpus:g} GPUs" + (f" ({labels})" if labels else "")


@dataclass(frozen=True)
class Group:
    """Workers, actors or tasks of one kind: how many they are, the CPUs and GPUs of each, and the
    labels that their nodes must have."""

    count: int
    cpus: float
    gpus: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, count: int, runtime: Mapping[str, Any]) -> Group:
        """As a job's `runtime` tells each of them."""
        return cls(count, runtime["cpus"], runtime["gpus"], runtime["nodes"])

    def total(self, resource: str) -> float:
        """CPUs or GPUs of all of them."""
        return self.count * (self.cpus if resource == "CPU" else self.gpus)

    def places(self, nodes: Iterable[Node]) -> int:
        """How many such the nodes can hold."""
        return sum(node.places(self.cpus, self.gpus) for node in nodes if node.has(self.labels))


def total(nodes: Iterable[Node]) -> dict[str, float]:
    """CPUs and GPUs of all nodes."""
    every = list(nodes)
    return {"CPU": sum(node.cpus for node in every), "GPU": sum(node.gpus for node in every)}


def described(nodes: Iterable[Node]) -> str:
    """The nodes, those that read alike together, the largest first: Ray tells them in no order."""
    count = Counter(map(str, sorted(nodes, key=lambda node: (-node.gpus, -node.cpus, str(node)))))
    return "; ".join(f"{number} with {what}" for what, number in count.items())
