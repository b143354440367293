"""One pass over the data: ranges, NaN, casts, and which rows can't be used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evolab.core.trees import map_named_leaves, named_leaves
from evolab.data.datasets.columns import Columns, DatasetError
from evolab.data.datasets.mapped import release_pages

WIDEST = 2**31  # a whole number beyond this is no choice among actions
BLOCK = 8 * 2**20  # entries looked at once


@dataclass(frozen=True)
class Scan:
    """What the pass found.

    Attributes:
        ranges: smallest and largest finite value by leaf path.
        nan: entries that are NaN or infinite, by leaf path, where there are any.
        lost: rows without a stored successor.
        skipped: every row left out, ascending: those, and rows with NaN where they are dropped.
        casts: key -> "float64 -> float32".
    """

    ranges: dict[str, tuple[float, float]]
    nan: dict[str, int]
    lost: int
    skipped: np.ndarray
    casts: dict[str, str]


def scan(columns: Columns, nan: str) -> Scan:
    """Look at every entry once, a block at a time, and convert what is in memory.

    Args:
        columns: in-memory leaves are replaced by converted ones.
        nan: "error" or "drop".

    Raises:
        DatasetError: an entry is NaN or infinite and `nan` is "error", or a column is empty.
    """
    rows, episodes = columns.episodes.rows, columns.episodes
    ranges: dict[str, tuple[float, float]] = {}
    found: dict[str, int] = {}
    casts = dict(columns.casts)
    bad = np.zeros(rows, bool)
    stated = columns.observation_space is not None  # then the shapes are as the space has them

    def look(path: str, leaf: np.ndarray) -> np.ndarray:
        leaf = leaf if stated else _shaped(leaf, path)
        if not leaf.size:
            raise DatasetError(
                f"{columns.name}: {path!r} has shape {leaf.shape}, no entries; expected some per row."
            )
        wanted = target(leaf.dtype)
        if leaf.dtype != wanted:
            casts[path] = f"{leaf.dtype} -> {wanted}"
            if not isinstance(leaf, np.memmap):
                with np.errstate(over="ignore", invalid="ignore"):
                    leaf = leaf.astype(wanted)
        ranges[path], wrong, count = _look(leaf)
        if leaf.dtype.kind != "f" and max(map(abs, ranges[path])) > WIDEST:
            raise DatasetError(
                f"{columns.name}: {path!r} holds whole numbers from {ranges[path][0]:g} to "
                f"{ranges[path][1]:g}; "
                f"expected choices or counts below {WIDEST}. Store continuous values as floats."
            )
        if count:
            found[path] = count
            if nan == "error":
                several = "entries that are" if count > 1 else "entry that is"
                raise DatasetError(
                    f"{columns.name}: {path!r} has {count} {several} NaN or infinite as float32, the first in "
                    f"row {int(wrong[0])}. Repair them, or pass nan='drop' to leave those transitions out."
                )
            next_to = columns.next_observations is None and path.startswith("observations")
            bad[_touched(wrong, columns, next_to)] = True
        return leaf

    columns.observations = map_named_leaves(look, columns.observations, "observations")
    columns.actions = map_named_leaves(look, columns.actions, "actions")
    columns.rewards = look("rewards", columns.rewards)
    if columns.next_observations is not None:
        columns.next_observations = map_named_leaves(look, columns.next_observations, "next_observations")
        _same(columns)
    lost = episodes.lost
    bad[lost] = True
    return Scan(ranges, found, len(lost), np.flatnonzero(bad), casts)


def target(dtype: np.dtype) -> np.dtype:
    """What a column is learned in: floats as float32, bytes as they are, other whole numbers as int64."""
    if dtype.kind == "f":
        return np.dtype(np.float32)
    return np.dtype(np.uint8) if dtype == np.uint8 else np.dtype(np.int64)


def _shaped(leaf: np.ndarray, path: str) -> np.ndarray:
    """Discrete actions as [N], continuous ones and observations of one number as [N, 1]."""
    if leaf.ndim == 1 and leaf.dtype.kind == "f" and path.partition("/")[0] != "rewards":
        return leaf[:, None]
    if leaf.ndim == 2 and leaf.shape[1] == 1 and leaf.dtype.kind != "f" and path == "actions":
        return leaf[:, 0]
    return leaf


def _look(leaf: np.ndarray) -> tuple[tuple[float, float], np.ndarray, int]:
    """Range of the finite entries, the rows with others, and how many those are."""
    low, high, wrong, count = np.inf, -np.inf, [], 0
    step = max(1, BLOCK // max(1, int(np.prod(leaf.shape[1:]))))
    for start in range(0, len(leaf), step):
        block = np.asarray(leaf[start : start + step])
        if block.dtype.kind == "f":
            with np.errstate(over="ignore", invalid="ignore"):
                block = block.astype(np.float32, copy=False)
            least, most = block.min(), block.max()
            if not (np.isfinite(least) and np.isfinite(most)):  # NaN passes through min and max
                finite = np.isfinite(block)
                count += int(block.size - finite.sum())
                wrong.append(start + np.flatnonzero(~finite.reshape(len(block), -1).all(1)))
                block = block[finite]
                if not block.size:
                    continue
                least, most = block.min(), block.max()
        else:
            least, most = block.min(), block.max()
        low, high = min(low, float(least)), max(high, float(most))
        release_pages(leaf)
    return (low, high), np.concatenate(wrong) if wrong else np.empty(0, np.int64), count


def _touched(positions: np.ndarray, columns: Columns, next_to: bool) -> np.ndarray:
    """Rows whose transition uses the entry at each position."""
    if not next_to:
        return positions
    episodes, rows = columns.episodes, columns.episodes.rows
    if not columns.chained:
        before = positions[positions > 0] - 1
        crossing = np.isin(before, episodes.ends)
        return np.concatenate([positions, before[~crossing]])
    starts = episodes.starts + episodes.before
    episode = np.searchsorted(starts, positions, side="right") - 1
    step = positions - starts[episode]
    own = step < episodes.lengths[episode]
    row = episodes.starts[episode] + step
    return np.concatenate([row[own], (row - 1)[step > 0]]).clip(0, rows - 1)


def _same(columns: Columns) -> None:
    """Pass successors that have the observations' structure and shapes."""
    assert columns.next_observations is not None
    have, want = (
        [(path, leaf.shape[1:]) for path, leaf in named_leaves(tree, "")]
        for tree in (columns.next_observations, columns.observations)
    )
    if have != want:
        raise DatasetError(
            f"{columns.name}: 'next_observations' has entries {have}, 'observations' {want}; expected the "
            "same. Store both alike, or leave 'next_observations' out."
        )
