"""A data set's rows as the columns that are written of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from evolab.core.trees import Tree
from evolab.data.datasets.columns import Columns
from evolab.data.datasets.writers import CUTS


def columns_of_rows(
    columns: Columns, rows: np.ndarray, gather: Callable[[Tree, np.ndarray], Tree]
) -> dict[str, Any]:
    """What `write_hdf5` takes.

    Args:
        columns: of the data set.
        rows: ascending; all of them, unless observations are `chained`: then those whose successor is stored.
        gather: the entries of a column at some places.
    """
    episodes, episode = columns.episodes, columns.episodes.of(rows)
    last = np.append(episode[1:] != episode[:-1], True)
    whole = rows == episodes.ends[episode]
    terminated = whole & episodes.terminated[episode]
    written: dict[str, Any] = {
        "observations": columns.observations,
        "actions": columns.actions,
        "rewards": columns.rewards,
        "terminals": terminated,
        "timeouts": last & (~terminated | episodes.truncated[episode]),
        CUTS: last & ~(whole & episodes.finished[episode]),
    }
    if columns.next_observations is not None:
        return written | {"next_observations": columns.next_observations}
    if not columns.chained:
        return written
    at = rows + episodes.before[episode]
    return written | {
        "observations": gather(columns.observations, at),
        "next_observations": gather(columns.observations, at + (~last | episodes.followed[episode])),
        "actions": gather(columns.actions, rows),
        "rewards": columns.rewards[rows],
    }
