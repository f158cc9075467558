"""What the bridge takes for granted: the weak models' words as the ceiling reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from raw2s.evaluation.correlation import correlation
from raw2s.reports import cells
from raw2s.reports.elements import Row, sortable_table
from raw2s.reports.markdown import markdown_table
from raw2s.storage.tables import read_table

_RULES = {"confidence": "confidence", "uniform": "uniform", "plus_sign": "plus sign"}
"""The rules of Eq. 7 as the table of chunks names them, and in words."""
# Group and header of each column after the names.
_COUNTS = {
    "words": ("Words", "all"),
    "split_words": ("Words", "of several chunks"),
    "certain_words": ("Words", "left out"),
}
_TOKENS = {
    "weak_tokens": ("Tokens of a word", "weak"),
    "strong_tokens": ("Tokens of a word", "strong"),
}
_MEASURES = {
    "pearson": ("log P(W), weak and strong", "Pearson"),
    "spearman": ("log P(W), weak and strong", "Spearman"),
    **{f"{rule}_error": ("Share: mean error", name) for rule, name in _RULES.items()},
    **{f"{rule}_spearman": ("Share: Spearman", name) for rule, name in _RULES.items()},
}
BRIDGE_LEGEND = (
    "The ceiling has read each weak model's best sequence for every row of B. Words: what both "
    "tokenizers cut out whole between white space. log P(W): the weak model's and the ceiling's "
    "own, correlated over words. Of several chunks: words with a cut inside that both tokenizers "
    "have, so that the weak model's own share of log P(W) is known for each chunk; left out where "
    "log P(W) is above −10⁻⁶. Share: what a rule of Eq. 7 (T = 1) gives to a chunk, against that; "
    "mean absolute error, and correlation over chunks where neither side is constant. Mean ± "
    "standard deviation over seeds."
)


def read_bridge(folder: str | Path) -> pd.DataFrame:
    """`summarise_bridge` of the words and chunks in a run's folder."""
    words, chunks = (
        read_table(Path(folder) / f"bridge_{name}.parquet") for name in ("words", "chunks")
    )
    return summarise_bridge(words, chunks)


def no_bridge() -> pd.DataFrame:
    """The summary where nothing was measured: no rows."""
    return pd.DataFrame({"experiment": []})


def summarise_bridge(words: pd.DataFrame, chunks: pd.DataFrame) -> pd.DataFrame:
    """How far what the bridge takes for granted holds, for each experiment and weak model.

    Args:
        words, chunks: the tables of `raw2s.stages.bridge_check`, of any number of experiments.

    Returns:
        experiment, model and, as means over seeds: words, split_words (of two or more chunks, with
        shares), certain_words (likewise, but left out), weak_tokens and strong_tokens (of a word).
        With _mean and _std (n - 1; NaN for one seed): pearson and spearman of log P(W) over words
        and, for each rule R, R_error (mean absolute error of a chunk's share) and R_spearman (of
        the shares over chunks).
    """
    shares = dict(list(chunks.groupby(["experiment", "model", "seed"], sort=False)))
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for key, rows in words.groupby(["experiment", "model", "seed"], sort=False):
        of_seed = _values(rows, shares.get(key, chunks.iloc[:0]))
        found.setdefault((key[0], key[1]), []).append(of_seed)
    table = []
    for (experiment, model), of_seeds in found.items():
        values = pd.DataFrame(of_seeds)
        mean, std = values.mean(skipna=False), values.std(ddof=1, skipna=False)
        row = {"experiment": experiment, "model": model}
        row |= {name: mean[name] for name in (*_COUNTS, *_TOKENS)}
        for name in _MEASURES:
            row |= {f"{name}_mean": mean[name], f"{name}_std": std[name]}
        table.append(row)
    return pd.DataFrame(table) if table else no_bridge()


def bridge_markdown(bridge: pd.DataFrame, axis: str = "") -> str:
    """The table of rows of `summarise_bridge`; with an axis also of their column `variant`."""
    heads = [f"{group} {header}".strip() for group, header in _columns(axis)]
    return markdown_table(heads, [list(row.texts) for row in _rows(bridge, axis)])


def bridge_html(bridge: pd.DataFrame, axis: str = "") -> str:
    """The same for a page; `BRIDGE_LEGEND` says what it shows."""
    # In narrow columns a line may end before a ±, not after it.
    rows = [
        Row(row.kind, [text.replace("± ", "±\u00a0") for text in row.texts], row.sort_values)
        for row in _rows(bridge, axis)
    ]
    table = sortable_table(_columns(axis), rows, text_columns=range(2 if axis else 1))
    return f'<div class="narrow">{table}</div>'


def _values(words: pd.DataFrame, chunks: pd.DataFrame) -> dict[str, float]:
    """What one weak model's sequences say with one seed."""
    agreement = correlation(words["weak_logprob"], words["strong_logprob"])
    split = len(chunks[["id", "word"]].drop_duplicates())
    values = {
        "words": float(len(words)),
        "split_words": float(split),
        "certain_words": float((words["chunks"] > 1).sum() - split),
        "weak_tokens": float(words["weak_tokens"].mean()),
        "strong_tokens": float(words["strong_tokens"].mean()),
        "pearson": agreement.pearson,
        "spearman": agreement.spearman,
    }
    for rule in _RULES:
        values[f"{rule}_error"] = float((chunks[rule] - chunks["weak"]).abs().mean())
        values[f"{rule}_spearman"] = correlation(chunks[rule], chunks["weak"]).spearman
    return values


def _columns(axis: str) -> Sequence[tuple[str, str]]:
    names = [("", axis)] if axis else []
    measured = (*_COUNTS.values(), *_TOKENS.values(), *_MEASURES.values())
    return [*names, ("", "Weak model"), *measured]


def _rows(bridge: pd.DataFrame, axis: str) -> list[Row]:
    rows = []
    for row in bridge.to_dict("records"):
        names = [str(row[name]) for name in (["variant", "model"] if axis else ["model"])]
        # Means over seeds: mostly whole numbers.
        texts = [f"{row[name]:,.1f}".removesuffix(".0") for name in _COUNTS]
        texts += [cells.number(row[name]) for name in _TOKENS]
        texts += [cells.plus_minus(row[f"{name}_mean"], row[f"{name}_std"]) for name in _MEASURES]
        values = [row[name] for name in (*_COUNTS, *_TOKENS)]
        values += [row[f"{name}_mean"] for name in _MEASURES]
        rows.append(Row("weak", [*names, *texts], [*names, *values]))
    return rows
