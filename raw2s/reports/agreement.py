"""How far the weak models agree (Fig. 3), for the pages of runs and studies."""

from __future__ import annotations

import pandas as pd

from raw2s.evaluation import agreement

_CAPTIONS = {
    "classification": "Share of items on which two weak models give the same answer.",
    "generation": "Mean over items of 1 − edit distance / longer length of two models' answers.",
}


def weak_agreements(results: pd.DataFrame, summary: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The weak models' agreement on the items they all answered, by experiment (Fig. 3).

    The mean over the seeds with which they have run. It is of those that answered the test; with
    fewer than two, of the files of labels.
    """
    tables = {}
    weak = results[results["role"] == "weak"]
    for experiment, rows in weak.groupby("experiment", sort=False):
        systems = summary[(summary["experiment"] == experiment) & (summary["role"] == "weak")]
        tested = systems["tested"]
        alike = systems.loc[tested if tested.sum() > 1 else ~tested, "system"]
        classes = rows["kind"].iloc[0] == "classification"
        matrices = []
        for _, of_seed in rows[rows["system"].isin(alike)].groupby("seed", sort=False):
            wide = of_seed.pivot(index="item", columns="system", values="prediction").dropna()
            names = [name for name in alike if name in wide]
            if len(wide) and len(names) > 1:
                answers = {name: wide[name].to_list() for name in names}
                matrices.append(agreement(answers, kind="classification" if classes else "text"))
        if matrices:
            tables[str(experiment)] = sum(matrices[1:], matrices[0]) / len(matrices)
    return tables


def agreement_caption(summary: pd.DataFrame, matrix: pd.DataFrame) -> str:
    """What the numbers of one experiment's matrix are, and which weak models it lacks."""
    caption = _CAPTIONS[str(summary["kind"].iloc[0])]
    if (summary.loc[summary["role"] == "weak", "seeds"] > 1).any():
        caption += " The mean over seeds."
    weak = summary.loc[summary["role"] == "weak", "system"]
    left_out = weak[~weak.isin(matrix.index)]
    if len(left_out):
        caption += f" Left out, with answers to other items: {', '.join(left_out)}."
    return caption
