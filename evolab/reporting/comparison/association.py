"""How strongly each setting went with the result over runs, with the uncertainty that few runs leave."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEWEST = 5
"""Runs below which nothing is said."""
DRAWS = 200


def association(values: Sequence[object], scores: Sequence[float]) -> tuple[float, float, float] | None:
    """Strength of the association between a setting and the result, from 0 to 1, and its bootstrap interval at 95%.

    Numbers: |Spearman's rank correlation|. Words: the correlation ratio of the ranks, the share of
    their spread that lies between the values. Runs are an observational study: no cause is proved.

    Args:
        values: of the setting, one a run.
        scores: results, one a run.

    Returns:
        strength, low, high; None where there are fewer than `FEWEST` runs or all values are the same.
    """
    known = [(v, s) for v, s in zip(values, scores) if v is not None and s is not None and math.isfinite(s)]
    if len(known) < FEWEST or len({repr(v) for v, _ in known}) < 2:
        return None
    column, result = [v for v, _ in known], _ranks(np.array([s for _, s in known], dtype=float))
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in column)
    codes = np.unique([repr(v) for v in column], return_inverse=True)[1]
    own = _ranks(np.array(column, dtype=float)) if numeric else codes.astype(float)
    draws = np.random.default_rng(0).integers(len(known), size=(DRAWS, len(known)))
    measure = _correlation if numeric else _ratio
    strength = float(measure(own[None], result[None])[0])
    resampled = measure(own[draws], result[draws])
    low, high = np.nanquantile(resampled, [0.025, 0.975]) if np.isfinite(resampled).any() else (0.0, 1.0)
    return strength, float(low), float(high)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0; equal values share the middle of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    return (first + (counts - 1) / 2)[inverse]


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """|Pearson's correlation| along the last axis; NaN where one side does not vary."""
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    spread = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    return np.abs(np.divide((x * y).sum(-1), spread, out=np.full(spread.shape, np.nan), where=spread > 0))


def _ratio(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square root of the share of y's spread that lies between the groups of x, along the last axis."""
    total = ((y - y.mean(-1, keepdims=True)) ** 2).sum(-1)
    between = np.zeros(total.shape)
    for group in np.unique(x):
        inside = x == group
        count = inside.sum(-1)
        mean = np.divide((y * inside).sum(-1), count, out=np.zeros(total.shape), where=count > 0)
        between += count * (mean - y.mean(-1)) ** 2
    return np.sqrt(np.divide(between, total, out=np.full(total.shape, np.nan), where=total > 0))
