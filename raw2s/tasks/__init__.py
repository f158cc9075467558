"""The tasks: one file a data set, one class a task."""

from __future__ import annotations

from raw2s import config
from raw2s.tasks.base import Task
from raw2s.tasks.cosmosqa import CosmosQA
from raw2s.tasks.scenario import Scenario
from raw2s.tasks.sciq import SciQ
from raw2s.tasks.slurp import Slurp
from raw2s.tasks.toy import ToySlots, ToyTopics

TASKS: dict[str, type[Task]] = {
    "toy_topics": ToyTopics,
    "toy_slots": ToySlots,
    "scenario": Scenario,
    "slurp": Slurp,
    "sciq": SciQ,
    "cosmosqa": CosmosQA,
}


def make(settings: config.Task) -> Task:
    """The task that the configuration names; it has read nothing yet."""
    return TASKS[settings.name](settings)


__all__ = ["TASKS", "Task", "make"]
