"""The experiment as one frozen object: YAML in, unknown keys refused, a resolved copy saved.

Every field's docstring is its help. Ranges are checked here; what needs data or a cluster (a column
that is missing, more GPUs than there are) is checked by `raw2s.checks` before any training.
"""

from __future__ import annotations

from raw2s.config.data import GENERATION_TASKS, Data, Task
from raw2s.config.ensembles import Ensemble
from raw2s.config.models import Model, Noise, Precomputed, Pretraining, Scratch
from raw2s.config.reading import dump, load, parse
from raw2s.config.run import Cluster, Experiment, NodeType, Run
from raw2s.config.strategies import Auxiliary, Cdpo, Evidential, Strategy, Weights
from raw2s.config.study import Study, Variant
from raw2s.config.sweep import Between, Search, Simplex
from raw2s.config.training import Labelling, Training

__all__ = [
    "GENERATION_TASKS",
    "Auxiliary",
    "Between",
    "Cdpo",
    "Cluster",
    "Data",
    "Ensemble",
    "Evidential",
    "Experiment",
    "Labelling",
    "Model",
    "NodeType",
    "Noise",
    "Precomputed",
    "Pretraining",
    "Run",
    "Scratch",
    "Search",
    "Simplex",
    "Strategy",
    "Study",
    "Task",
    "Training",
    "Variant",
    "Weights",
    "dump",
    "load",
    "parse",
]
