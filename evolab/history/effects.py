"""Which mutations paid and which hyperparameters mattered, read from a history's tables.

Everything here is descriptive: rank correlations and medians with their
uncertainty. A run is an observational study of itself, so no figure proves a cause.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

    from evolab.history.events import Birth

COLUMNS = (
    "kind", "name", "count", "measured", "gain", "low", "high", "improved", "over_none", "ancestry",
    "paired", "paired_gain", "paired_low", "paired_high",
)  # fmt: skip

DRAWS = 500
"""Resamples behind an interval."""


def mutation_effects(mutations: DataFrame, lineage: DataFrame, hyperparameters: Collection[str]) -> DataFrame:
    """What each kind of mutation, and each mutated hyperparameter, brought to fitness.

    The gain is the child's fitness after its first generation minus the parent's before.
    The child was trained in between, so compare with kind "none", which was only trained:
    `over_none` is the difference of the two medians.

    Args:
        mutations: `History.mutations`.
        lineage: `History.lineage()`, the winner's.
        hyperparameters: names that a detail may begin with ("lr_actor 1e-3 -> 1.2e-3").

    Returns:
        One row per kind (name is empty) and one per mutated hyperparameter, most frequent
        first: count of births; measured, those with both fitnesses; gain, the median;
        low and high, its bootstrap interval at 95%; improved, the share with a gain above
        zero; over_none; ancestry, the share of the winner's births that were of this sort; paired,
        births whose parent lived on beside the child; paired_gain, the median of the child's fitness
        minus the parent's in that generation, on the same seeds; paired_low and paired_high, its interval.
    """
    import pandas

    born = lineage[lineage["kind"] != "first"]
    rows = []
    kinds = list(mutations["kind"].value_counts().index)
    for kind in kinds:
        chosen = mutations[mutations["kind"] == kind]
        rows.append(_row(kind, "", chosen, float((born["kind"] == kind).mean()) if len(born) else 0.0))
    changed = mutations[mutations["kind"] == "hyperparameters"]
    names = changed["detail"].map(lambda text: _name(text, hyperparameters))
    ancestors = born[born["kind"] == "hyperparameters"]["detail"].map(lambda t: _name(t, hyperparameters))
    for name in names[names != ""].value_counts().index:
        share = float((ancestors == name).sum() / len(born)) if len(born) else 0.0
        rows.append(_row("hyperparameters", name, changed[names == name], share))
    frame = pandas.DataFrame(rows, columns=list(COLUMNS))
    plain = frame.loc[(frame["kind"] == "none") & (frame["name"] == ""), "gain"]
    frame["over_none"] = frame["gain"] - (plain.iloc[0] if len(plain) else float("nan"))
    return frame


def importance(fitness: DataFrame, hyperparameters: DataFrame) -> DataFrame:
    """How strongly each hyperparameter goes with fitness among agents of the same generation.

    Spearman's rank correlation within generations: value and fitness are ranked inside each
    generation, so that progress over time, which moves both, does not pass for importance.

    Returns:
        Columns name, importance (|correlation|), correlation, agents (rows used) and
        values (distinct ones), strongest first. Names with a single value everywhere have
        correlation NaN and importance 0. "network_size" counts the parameters of its networks.
    """
    import pandas

    names = ["name", "importance", "correlation", "agents", "values"]
    if fitness.empty:
        return pandas.DataFrame(columns=names)
    table = hyperparameters.drop(columns=["hidden", "activation"], errors="ignore")
    keys = ["generation", "agent"]
    measured = fitness[[*keys, "fitness", "network_size"]].merge(table, on=keys, suffixes=("", "_set"))
    measured = measured.dropna(subset=["fitness"])
    rows = []
    for name in [c for c in measured.columns if c not in (*keys, "fitness")]:
        both = measured[["generation", "fitness", name]].dropna()
        both = both[pandas.to_numeric(both[name], errors="coerce").notna()]
        both = both.assign(value=both[name].astype(float))
        ranks = both.groupby("generation")[["fitness", "value"]].rank(pct=True)
        ranks = ranks - ranks.groupby(both["generation"]).transform("mean")
        spread = float(ranks["fitness"].std(ddof=0) * ranks["value"].std(ddof=0)) if len(ranks) else 0.0
        product = float((ranks["fitness"] * ranks["value"]).mean()) if len(ranks) else 0.0
        correlation = product / spread if spread > 0 else float("nan")
        strength = abs(correlation) if spread > 0 else 0.0
        rows.append((name, strength, correlation, len(both), both["value"].nunique()))
    frame = pandas.DataFrame(rows, columns=names)
    return frame.sort_values("importance", ascending=False, kind="stable").reset_index(drop=True)


def _row(kind: str, name: str, births: DataFrame, ancestry: float) -> tuple[object, ...]:
    nan = float("nan")
    gains = (births["fitness_after"] - births["fitness_before"]).dropna().to_numpy(dtype=float)
    improved = float((gains > 0).mean()) if len(gains) else nan
    born = births[births["parent"] != births["agent"]]
    paired = (born["fitness_after"] - born["parent_after"]).dropna().to_numpy(dtype=float)
    return (
        kind, name, len(births), len(gains), *_middle(gains), improved, nan, ancestry,
        len(paired), *_middle(paired),
    )  # fmt: skip


def _middle(gains: NDArray) -> tuple[float, float, float]:
    """The median and its interval; NaN where nothing was measured."""
    import numpy as np

    return (float(np.median(gains)), *median_interval(gains)) if len(gains) else (float("nan"),) * 3


def median_interval(values: NDArray) -> tuple[float, float]:
    """The 95% percentile bootstrap interval of the median; always the same for the same values.

    Args:
        values: [n], at least one, no NaN.
    """
    import numpy as np

    drawn = np.random.default_rng(0).integers(len(values), size=(DRAWS, len(values)))
    low, high = np.quantile(np.median(values[drawn], axis=1), [0.025, 0.975])
    return float(low), float(high)


def counted_as(birth: Birth, hyperparameters: Collection[str]) -> tuple[str, ...]:
    """The sorts that a birth counts for: its kind and, where one was changed, "hyperparameters/name"."""
    name = _name(birth.detail, hyperparameters) if birth.kind == "hyperparameters" else ""
    return (birth.kind, f"{birth.kind}/{name}") if name else (birth.kind,)


def _name(detail: str, known: Collection[str]) -> str:
    """The hyperparameter that a detail speaks of, or an empty string."""
    first = detail.split(" ", 1)[0].rstrip(":")
    return first if first in known else ""
