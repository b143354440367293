"""Which rows make which episode, and how each of them ended: labels put right, all at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class EpisodeRows:
    """The division of N rows into E episodes that follow one another.

    Attributes:
        starts: [E], first row of each.
        lengths: [E], rows of each, at least 1.
        terminated: [E], True where the task itself ended in the last row.
        truncated: [E], True where a limit, or the end of the recording, cut the episode.
            Both may be True in the same row; `terminated` then decides about bootstrapping.
        followed: [E], True where the last row's successor is stored.
        unfinished: [E], True where the recording itself stopped, so that the return is a part of one; None
            where nothing says so of any.
    """

    starts: np.ndarray
    lengths: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    followed: np.ndarray
    unfinished: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def __repr__(self) -> str:
        return f"Episodes({len(self)} of {self.rows} rows, {int(self.terminated.sum())} terminated)"

    @cached_property
    def rows(self) -> int:
        """Number of rows, N."""
        return int(self.lengths.sum())

    @cached_property
    def finished(self) -> np.ndarray:
        """[E], True where the return is that of a whole episode."""
        return np.ones(len(self), bool) if self.unfinished is None else ~self.unfinished

    @cached_property
    def ends(self) -> np.ndarray:
        """[E], last row of each episode."""
        return self.starts + self.lengths - 1

    @cached_property
    def before(self) -> np.ndarray:
        """[E], how many final observations are stored before each episode, where they are in line."""
        return np.cumsum(self.followed) - self.followed

    @cached_property
    def lost(self) -> np.ndarray:
        """Rows whose successor is neither stored nor unneeded: the ends of cut episodes."""
        return self.ends[~self.terminated & ~self.followed]

    def of(self, rows: np.ndarray) -> np.ndarray:
        """The episode of each row, [B] from [B]."""
        return np.searchsorted(self.starts, rows, side="right") - 1


def from_lengths(
    lengths: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    followed: np.ndarray,
    unfinished: np.ndarray | None = None,
) -> EpisodeRows:
    """Episodes of given lengths, [E], one after the other."""
    lengths = np.asarray(lengths, np.int64)
    return EpisodeRows(
        np.cumsum(lengths) - lengths,
        lengths,
        np.asarray(terminated, bool),
        np.asarray(truncated, bool),
        np.asarray(followed, bool),
        unfinished,
    )


def from_flags(
    terminals: np.ndarray,
    timeouts: np.ndarray,
    ends: np.ndarray,
    followed: bool,
    cuts: np.ndarray | None = None,
) -> EpisodeRows | None:
    """Episodes of a flat file; the recording's end cuts the last one.

    Args:
        terminals: [N], the task ended here (doubled flags taken back).
        timeouts: [N], a limit cut the episode here.
        ends: [N], the episode ended here for any reason, known otherwise.
        followed: True where every row's successor is stored on its own.
        cuts: [N], the recording stopped here, in the middle of an episode; None where nothing says so.

    Returns:
        None where no row ends an episode.
    """
    last = terminals | timeouts | ends
    if not last.any():
        return None
    stops = np.flatnonzero(last)
    if stops[-1] != len(last) - 1:
        stops = np.append(stops, len(last) - 1)
    terminated = terminals[stops]
    truncated = timeouts[stops] | ~terminated
    unfinished = np.zeros(len(stops), bool) if cuts is None else cuts[stops]
    unfinished[-1] |= not last[-1]
    return from_lengths(
        np.diff(stops, prepend=-1), terminated, truncated, np.full(len(stops), followed), unfinished
    )


def early_terminals(
    terminals: np.ndarray, ends: np.ndarray | None, observations: np.ndarray | None
) -> np.ndarray:
    """Rows whose terminal flag was raised one row (or more) too early, [K].

    Some recorders flag the last two rows of a failed episode. Where the file also
    says which rows end an episode, a flag is early if a run of flags leads from it
    to such a row. Where it does not, the pattern itself must prove it: flags come in
    pairs throughout, and the row after the first of a pair lies as near to it as
    rows within an episode do, not as far as a reset.

    Args:
        terminals: [N], as stored.
        ends: [N], rows that end an episode by a key of their own, or None.
        observations: [N, ...] numbers to measure nearness with, or None.
    """
    padded = np.concatenate([[False], terminals, [False]])
    first = np.flatnonzero(padded[1:-1] & ~padded[:-2])
    last = np.flatnonzero(padded[1:-1] & ~padded[2:])
    if ends is not None:
        # A run of flags belongs to the next row that ends an episode within it.
        unended = np.flatnonzero(terminals & ~ends)
        run_last = last[np.searchsorted(first, unended, side="right") - 1]
        reached = np.cumsum(ends)
        return unended[reached[run_last] > reached[unended]]
    if len(first) < 2 or not np.all(last - first == 1):
        return np.empty(0, np.int64)
    rest = np.flatnonzero(~terminals[:-1] & ~terminals[1:])
    resets = last[last < len(terminals) - 1]
    if observations is None or not len(rest) or not len(resets):
        return np.empty(0, np.int64)
    pair, within, reset = (_jump(observations, rows) for rows in (first, rest, resets))
    return first if abs(pair - within) < abs(pair - reset) else np.empty(0, np.int64)


def _jump(observations: np.ndarray, rows: np.ndarray) -> float:
    """Median distance from each row to the next one, over 200 of the rows at most."""
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), 200)).astype(np.int64)]
    here, there = (np.asarray(observations[r], np.float64).reshape(len(r), -1) for r in (rows, rows + 1))
    return float(np.median(np.linalg.norm(there - here, axis=1)))
