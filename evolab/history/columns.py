"""Columns of the history's tables: their names, their cells, and how they become a DataFrame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evolab.history.events import Birth, Evaluation

if TYPE_CHECKING:
    from pandas import DataFrame

MEASURED = (
    "generation", "agent", "parent", "fitness", "episodes", "length",
    "steps", "total_steps", "updates", "network_size", "is_elite",
)  # fmt: skip
"""Columns of `History.fitness`, before the measures that not every run has."""


def own_name(measure: str) -> str:
    """The column of another measure, where its name is not one of the history's own.

    >>> own_name("is_success"), own_name("length")
    ('is_success', 'info_length')
    """
    return f"info_{measure}" if measure in MEASURED else measure


def settings_of(evaluation: Evaluation) -> dict[str, Any]:
    """Hyperparameters and architecture of an agent, after its number and the generation's."""
    return {
        "generation": evaluation.generation,
        "agent": evaluation.agent,
        **evaluation.hyperparameters,
        "hidden": "x".join(str(width) for width in evaluation.hidden),
        "activation": ",".join(evaluation.activation),
    }


def change_of(birth: Birth | None, by_hand: Birth | None) -> tuple[str, str]:
    """What was changed in an agent before a generation: kind and detail."""
    kind, detail = (birth.kind, birth.detail) if birth else ("first", "")
    if by_hand is None:
        return kind, detail
    if kind in ("elite", "none", "revived", "migrated"):
        kind = by_hand.kind
    return kind, f"{detail}{'; ' if detail else ''}by hand: {by_hand.detail}"


def frame(rows: Sequence[Mapping[str, object]], names: tuple[str, ...]) -> DataFrame:
    """A table whose columns exist even when there is no row yet."""
    import pandas

    return pandas.DataFrame(rows) if rows else pandas.DataFrame(columns=list(names))


def whole_numbers(frame: DataFrame, column: str) -> DataFrame:
    """A column as whole numbers, some of which are missing."""
    # Int64 with <NA>: a plain column would turn ids into floats because the first agents have no parent.
    frame[column] = frame[column].astype("Int64")
    return frame
