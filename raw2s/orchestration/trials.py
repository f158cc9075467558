"""A sweep's trials by Ray Tune: each a driver that does its own plan on a share of the cluster.

Tune never stops a trial early: one that holds a Ray Train run would not give its workers back.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from raw2s import stages
from raw2s.config import Cluster, Run, Search, Simplex
from raw2s.nodes import Group, Node, total
from raw2s.search.log import INTERRUPTED, Outcome
from raw2s.search.space import Values, chosen_run, trial_run
from raw2s.store import Job, Store

if TYPE_CHECKING:
    from ray.tune.experiment import Trial
    from ray.tune.search import Searcher

# Optuna's stand-ins for weights lie strictly between 0 and 1.
_LEAST = 1e-9


@dataclass(frozen=True)
class Share:
    """How many trials run at once, and what each may take."""

    trials: int
    cluster: Cluster
    room: Mapping[str, float]


def share(jobs: Sequence[Job], trials: int, cluster: Cluster, nodes: Sequence[Node]) -> Share:
    """Share the cluster's nodes among trials that have these jobs to do.

    At most as many run at once as groups of training workers, or hosted models, fit on the nodes,
    so whoever holds a part of them never waits for another part; and as the configured limits on
    Ray Train runs and hosts allow.
    """
    workers: set[Group] = set()
    actors: set[Group] = set()
    for job in jobs:
        if job.stage in stages.TRAINED:
            workers.add(Group.of(job.runtime["workers"], job.runtime))
        elif job.stage in (*stages.ASKED, *stages.ASKED_AT_ONCE):
            actors.add(Group.of(1, job.runtime))
    fits = {group: group.places(nodes) // group.count for group in workers | actors}
    limits = [limit for limit in (cluster.train_runs, cluster.hosts) if limit is not None]
    trials = max(1, min([trials, *limits, *fits.values()]))
    runs = max(1, min((fits[group] for group in workers), default=1) // trials)
    own = cluster.model_copy(
        update={
            "train_runs": min(runs, (cluster.train_runs or runs * trials) // trials),
            "hosts": cluster.hosts // trials if cluster.hosts else None,
        }
    )
    room = {what: amount / trials for what, amount in total(nodes).items()}
    return Share(trials, own, room)


def run_trials(
    run: Run, search: Search, known: Sequence[Values], done: Callable[[Outcome], None], part: Share
) -> None:
    """Do the trials with these values; `done` gets each outcome as it comes, and one that says
    INTERRUPTED when a trial starts."""
    if known:
        from ray import tune

        _tune(run, search, {"values": tune.grid_search(list(known))}, done, part)


def search_trials(
    run: Run,
    search: Search,
    before: Sequence[Outcome],
    trials: int,
    done: Callable[[Outcome], None],
    part: Share,
) -> None:
    """Let Optuna choose so many more trials, knowing the outcomes `before`."""
    if trials > 0:
        _tune(run, search, {}, done, part, algorithm=_optuna(search, before), samples=trials)


def _tune(
    run: Run,
    search: Search,
    space: dict[str, Any],
    done: Callable[[Outcome], None],
    part: Share,
    *,
    algorithm: Searcher | None = None,
    samples: int = 1,
) -> None:
    # Results are kept by the store; Tune's own files are for the time of the search.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    # An interrupt ends the sweep, not only what is running.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    # The other one greets with a table even where it should be silent.
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    from ray import tune

    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    store = Store(run.storage)
    name = f"{run.name}-{os.getpid()}"

    class Told(tune.Callback):
        """Passes each trial's outcome on as it comes."""

        def __init__(self, search: Search, done: Callable[[Outcome], None]) -> None:
            self._search, self._done = search, done

        def __getstate__(self) -> dict[str, Any]:
            # Tune saves its callbacks; `done` belongs to this process.
            return {}

        def on_trial_start(
            self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
        ) -> None:
            self._done(Outcome(_values(self._search, trial.config), [], math.nan, INTERRUPTED))

        def on_trial_complete(
            self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
        ) -> None:
            told = {key: trial.last_result[key] for key in ("scores", "seconds", "error")}
            self._done(Outcome(_values(self._search, trial.config), **told))

        def on_trial_error(
            self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
        ) -> None:
            took = time.time() - (trial.run_metadata.start_time or time.time())
            values = _values(self._search, trial.config)
            self._done(Outcome(values, [], took, "its process died"))

    work = tune.with_parameters(_trial, run=run, search=search, part=part)
    try:
        tune.Tuner(
            # A byte: Tune wants something reserved, and a part of a CPU would be missing to groups
            # of workers that take all of them.
            tune.with_resources(work, {"memory": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                search_alg=algorithm,
                num_samples=samples,
                max_concurrent_trials=part.trials,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=store.ray("tune"),
                callbacks=[Told(search, done)],
                verbose=0,
            ),
        ).fit()
    finally:
        store.forget_ray("tune", name)


def _trial(config: dict[str, Any], run: Run, search: Search, part: Share) -> dict[str, Any]:
    """What the trial's actor does: have its plan done."""
    import ray

    started = time.time()
    scores, error = [], ""
    # Tune's placement group would catch all that the trial starts, and has no room for it.
    outside = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy="DEFAULT")(_do)
    try:
        scores = ray.get(outside.remote(run, search, _values(search, config), part))
    except ray.exceptions.RayError as failure:
        error = _one_line(failure)
    return {
        # Optuna learns nothing from a trial that failed.
        "score": float(np.mean(scores)) if scores else math.nan,
        "scores": scores,
        "seconds": time.time() - started,
        "error": error,
    }


def _do(run: Run, search: Search, values: Values, part: Share) -> list[float]:
    from rich.console import Console

    from raw2s.checks import check_cluster
    from raw2s.orchestration.execute import execute
    from raw2s.orchestration.progress import Display
    from raw2s.pipeline import trial
    from raw2s.trainers.process import quiet

    quiet()
    check_cluster(chosen_run(run, search, values))
    plan, judged = trial(trial_run(run, search, values))
    store = Store(run.storage)
    execute(plan, store, part.cluster, Display(Console(quiet=True)), part.room)
    return trial_scores(judged, run.seeds, store)


def trial_scores(judged: Job, seeds: Sequence[int], store: Store) -> list[float]:
    """Validation accuracy or SLU-F1 of each of the seeds, from a trial's results."""
    from raw2s.reports.table import score_by_seed
    from raw2s.storage.tables import read_table

    rows = read_table(store.path(judged) / "results.parquet")
    scores = score_by_seed(str(rows["kind"].iloc[0]), rows)
    return [scores[seed] for seed in seeds]


def _values(search: Search, config: Mapping[str, Any]) -> Values:
    """The parameters' values that Tune's configuration stands for."""
    if "values" in config:
        return dict(config["values"])
    found: Values = {}
    for key, parameter in search.parameters.items():
        if isinstance(parameter, list):
            found[key] = parameter[config[key]]
        elif isinstance(parameter, Simplex):
            # Exponential variables over their sum are even over the simplex.
            parts = -np.log([config[f"{key}[{n}]"] for n in range(parameter.models)])
            found[key] = [float(w) for w in parts / parts.sum()]
        else:
            found[key] = config[key]
    return found


def _optuna(search: Search, before: Sequence[Outcome]) -> Searcher:
    """Optuna's sampler, told the scores that are known."""
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space: dict[str, BaseDistribution] = {}
    for key, parameter in search.parameters.items():
        if isinstance(parameter, list):
            # By place: Optuna's categories are plain values, these may be lists or mappings.
            space[key] = CategoricalDistribution(range(len(parameter)))
        elif isinstance(parameter, Simplex):
            for n in range(parameter.models):
                space[f"{key}[{n}]"] = FloatDistribution(_LEAST, 1 - _LEAST)
        elif parameter.whole:
            low, high = map(int, parameter.between)
            space[key] = IntDistribution(low, high, log=parameter.log)
        else:
            space[key] = FloatDistribution(*parameter.between, log=parameter.log)
    known = [outcome for outcome in before if outcome.scores]
    return OptunaSearch(
        space,
        metric="score",
        mode="max",
        points_to_evaluate=[_point(search, outcome.values) for outcome in known],
        evaluated_rewards=[float(np.mean(outcome.scores)) for outcome in known],
        # Not the draws again that an interrupted search has made.
        seed=search.seed + len(before),
    )


def _point(search: Search, values: Values) -> dict[str, Any]:
    """The inverse of `_values`, for Optuna; of weights the point whose largest part is e^-w."""
    point: dict[str, Any] = {}
    for key, parameter in search.parameters.items():
        if isinstance(parameter, list):
            point[key] = parameter.index(values[key])
        elif isinstance(parameter, Simplex):
            for n, weight in enumerate(values[key]):
                point[f"{key}[{n}]"] = float(np.clip(np.exp(-weight), _LEAST, 1 - _LEAST))
        else:
            point[key] = values[key]
    return point


def _one_line(failure: BaseException) -> str:
    """What went wrong at the root, without the traces around it."""
    while isinstance(cause := getattr(failure, "cause", None), BaseException):
        failure = cause
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return f"{type(failure).__name__}: {' '.join(lines[:3])}"[:500]
