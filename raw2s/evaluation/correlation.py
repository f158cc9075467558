"""How closely two measurements of the same things go together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from raw2s.method.arrays import check_finite_array

# Values that differ in their last bits only, as sums of thirds do, have one rank.
_DECIMALS = 12


class Correlation(NamedTuple):
    """Coefficients in [-1, 1]; NaN where a side is constant or there are fewer than two values."""

    pearson: float
    spearman: float


def correlation(one: ArrayLike, other: ArrayLike) -> Correlation:
    """Pearson's and Spearman's coefficients of n pairs.

    Values that are equal to 12 decimals have one rank, the mean of theirs. Raises ValueError for
    lengths that differ, NaN or infinity.
    """
    x = np.round(check_finite_array("one", one, (np.size(one),)), _DECIMALS)
    y = np.round(check_finite_array("other", other, x.shape), _DECIMALS)
    if min(len(set(x)), len(set(y))) < 2:
        return Correlation(np.nan, np.nan)
    return Correlation(
        float(stats.pearsonr(x, y).statistic), float(stats.spearmanr(x, y).statistic)
    )
