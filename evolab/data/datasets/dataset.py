"""Dataset: recorded experience of any common format, with labels one can learn from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box
from numpy.typing import ArrayLike

from evolab.core import checks
from evolab.core.composite_actions import ActionParts, joined, together
from evolab.core.experience import Transition
from evolab.core.trees import Tree, map_leaves, named_leaves
from evolab.data.datasets import spaces
from evolab.data.datasets.columns import DatasetError
from evolab.data.datasets.episodes import EpisodeRows
from evolab.data.datasets.mapped import MappedRows
from evolab.data.datasets.readers import columns_of
from evolab.data.datasets.report import DatasetReport, report_of
from evolab.data.datasets.saved import columns_of_rows
from evolab.data.datasets.scan import Scan, scan, target
from evolab.data.datasets.writers import write_hdf5

__all__ = ["Dataset", "DatasetError"]

MAX_MEMORY = 2 * 2**30


class Dataset:
    """Recorded transitions, flat, with the episodes they came from.

    Row i of N usable transitions has `observation`, `action`, `reward`,
    `next_observation`, `terminated` and `truncated`. The successor is always of the
    same episode. Rows whose successor was not stored are left out, except terminated ones:
    nothing follows them, so their `next_observation` repeats the observation.

    Beyond `max_memory` bytes observations and actions stay on disk: plainly stored HDF5
    is mapped where it lies (keep the file as it is), anything else is unpacked once into
    temporary files, which are deleted with the data set.

    Args:
        source: a path to HDF5 as D4RL or d3rlpy (v1 and v2) write it, to .npz or .parquet; a Minari
            folder or id; a dict of arrays; or a DataFrame. Columns: observations, actions, rewards,
            and terminals, timeouts or episode_terminals; next_observations and episode are
            optional. The singular is understood too, and `observation_0`, `observation_1`,
            ... in a DataFrame.
        name: what messages call it; the file's name by default.
        observation_space: the environment's space, where it is known; data that do not fit are refused.
        action_space: likewise.
        nan: "error" to refuse data with NaN or infinity, "drop" to leave out the transitions that have one.
        clip: True to clip continuous actions to the action space.
        max_memory: bytes of arrays that may be held in memory.

    Raises:
        DatasetError: bad input; the message names the file, the key and what to do.

    >>> data = {"observations": [[0.0], [1.0], [2.0]], "actions": [0, 1, 0], "rewards": [1.0, 1.0, 1.0],
    ...         "terminals": [0, 1, 0]}
    >>> Dataset(data)
    Dataset('arrays': 2 transitions of 3 rows, 2 episodes, mean return 2): .report(), .save('data.h5')
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Mapping[str, object] | object,
        name: str | None = None,
        *,
        observation_space: Space | None = None,
        action_space: Space | None = None,
        nan: str = "error",
        clip: bool = False,
        max_memory: int = MAX_MEMORY,
    ) -> None:
        if nan not in ("error", "drop"):
            raise ValueError(f"nan is {nan!r}; expected 'error' or 'drop'.")
        columns = columns_of(source, name, max_memory)
        self.name, self.format, self.environment = columns.name, columns.format, columns.environment
        self.episodes: EpisodeRows = columns.episodes
        self.max_memory, self.clip = max_memory, bool(clip)
        self._columns = columns
        self._scan: Scan = scan(columns, nan)
        self._skipped = self._scan.skipped  # rows left out, ascending
        successors = () if columns.next_observations is None else columns.next_observations
        self._from_disk = MappedRows((columns.observations, columns.actions, successors), columns.name)
        if len(self) == 0:
            raise DatasetError(
                f"{self.name}: none of {self.rows} rows has a stored successor; every episode is one step "
                "long. Store 'next_observations'."
            )
        for key, tree, space in (
            ("observations", columns.observations, columns.observation_space),
            ("actions", columns.actions, columns.action_space),
        ):
            if space is not None:
                whose = f"{key} in metadata.json are"
                spaces.require_fit(tree, space, self._scan.ranges, self.name, key, whose, False)
        self._observation_space = columns.observation_space
        self._action_space = None if columns.action_space is None else _joined(columns.action_space)
        self.check(observation_space, action_space)

    def __len__(self) -> int:
        return self.rows - len(self._skipped)

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}: {len(self)} transitions of {self.rows} rows, {len(self.episodes)} "
            f"episodes, mean return {self.mean_return:.4g}): .report(), .save('data.h5')"
        )

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.report()._repr_html_()}

    @property
    def rows(self) -> int:
        """Rows stored, usable or not."""
        return self.episodes.rows

    @property
    def on_disk(self) -> bool:
        """True where observations or actions are too large for memory and are read as they are needed."""
        kept = (self._columns.observations, self._columns.actions)
        return any(isinstance(leaf, np.memmap) for _, leaf in named_leaves(kept, ""))

    def episode_of(self, index: np.ndarray) -> np.ndarray:
        """The number of the episode of each transition, [B] int64 from [B]."""
        return self.episodes.of(self._stored(np.asarray(index)))

    @property
    def observation_space(self) -> Space:
        """The space that was given, else the one the source states, else the smallest that holds the data."""
        if self._observation_space is None:  # asked for late: it imports gymnasium
            tree, ranges = self._columns.observations, self._scan.ranges
            self._observation_space = spaces.infer(tree, ranges, "observations", False)
        return self._observation_space

    @property
    def action_space(self) -> Space:
        """Likewise; an action that never occurs is missing from a space that was inferred."""
        if self._action_space is None:
            found = spaces.infer(self._columns.actions, self._scan.ranges, "actions", True)
            self._action_space = _joined(found)
        return self._action_space

    @cached_property
    def returns(self) -> np.ndarray:
        """[E], undiscounted return of each episode over all its rows, float64."""
        return self._columns.returns

    @property
    def mean_return(self) -> float:
        """Mean of the finite returns of whole episodes: those that the recording's end cut off are left out."""
        whole = self._columns.whole_returns
        return float(whole.mean()) if len(whole) else float("nan")

    def transitions(self, rows: ArrayLike) -> Transition:
        """The transitions of given numbers, [B] each below `len(self)`; fields are fresh arrays.

        Raises:
            IndexError: a number is out of range.
        """
        index = np.asarray(rows)
        if index.dtype == bool and index.shape == (len(self),):
            index = np.flatnonzero(index)
        index = index.astype(np.int64, copy=False).reshape(-1)
        if len(index) and not (-len(self) <= index.min() and index.max() < len(self)):
            raise IndexError(f"transition {int(index.max())} of {len(self)}; count from 0.")
        return self._take(self._stored(np.where(index < 0, index + len(self), index)))

    def arrays(self) -> dict[str, Any]:
        """All usable transitions as arrays [N, ...], and `episode` [N], the episode of each.

        Raises:
            DatasetError: they would need more than `max_memory` bytes.
        """
        columns = self._columns
        kept = (columns.observations, columns.actions, columns.observations)  # and their successors
        size = sum(leaf.nbytes for _, leaf in named_leaves(kept, ""))
        if size > 2 * self.max_memory:
            raise DatasetError(
                f"{self.name}: all transitions need {size / 2**30:.1f} GiB, max_memory is "
                f"{self.max_memory / 2**30:.1f} GiB. Take some with transitions(rows), or raise max_memory."
            )
        stored = self._stored(np.arange(len(self)))
        part = self._take(stored)
        fields = ("observation", "action", "reward", "next_observation", "terminated", "truncated")
        return {**{field: getattr(part, field) for field in fields}, "episode": self.episodes.of(stored)}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the data as HDF5 in D4RL's layout, which `ev.Dataset(path)` reads; an existing file is replaced.

        Rows whose successor is not stored are written as well, where observations have a column of their own.

        Args:
            path: ending in .h5 or .hdf5; folders on the way to it are made.

        Raises:
            ValueError: another suffix.
        """
        target = checks.path("path", path)
        if target.suffix.lower() not in (".h5", ".hdf5"):
            raise ValueError(f"path is {str(path)!r}; data are written as HDF5: end it in .h5.")
        columns = self._columns
        rows = self._stored(np.arange(len(self))) if columns.chained else np.arange(self.rows)
        write_hdf5(target, columns_of_rows(columns, rows, self._gather))
        return target

    def report(self) -> DatasetReport:
        """What was found in the data."""
        return report_of(self._columns, self._scan, self.observation_space, self._stored_actions)

    def check(self, observation_space: Space | None = None, action_space: Space | None = None) -> None:
        """Pass an environment whose spaces the data fit; they become the data set's own.

        Raises:
            DatasetError: the data don't fit.
        """
        columns, found = self._columns, self._scan
        if observation_space is not None:
            whose = "the environment's observations are"
            for key in ("observations", "next_observations"):
                tree = getattr(columns, key)
                if tree is not None:
                    setattr(columns, key, spaces.fitted(tree, observation_space, key, found.casts))
            spaces.require_fit(
                columns.observations, observation_space, found.ranges, self.name, "observations", whose, False
            )
        if action_space is not None:
            self._action_space = _joined(action_space)
            action_space = self._stored_actions
            whose = "the environment's actions are"
            bounded = not (self.clip and isinstance(self._action_space, Box))
            columns.actions = spaces.fitted(columns.actions, action_space, "actions", found.casts)
            spaces.require_fit(
                columns.actions, action_space, found.ranges, self.name, "actions", whose, bounded
            )
        self._observation_space = self._observation_space if observation_space is None else observation_space

    @property
    def _stored_actions(self) -> Any:
        """The space of the actions as they are stored, in parts or joined."""
        space, tree = self.action_space, self._columns.actions
        return space.parts if isinstance(space, ActionParts) and isinstance(tree, (dict, tuple)) else space

    def _stored(self, index: np.ndarray) -> np.ndarray:
        """The stored row of each transition."""
        if not len(self._skipped):
            return index
        usable_before = self._skipped - np.arange(len(self._skipped))
        return index + np.searchsorted(usable_before, index, side="right")

    def _take(self, rows: np.ndarray) -> Transition:
        """The transitions of stored rows, [B]."""
        columns, episodes = self._columns, self.episodes
        episode = episodes.of(rows)
        last = rows == episodes.ends[episode]
        at = rows + episodes.before[episode] if columns.chained else rows
        observation = self._gather(columns.observations, at)
        if columns.next_observations is not None:
            successor = self._gather(columns.next_observations, rows)
        else:
            successor = self._gather(columns.observations, at + (~last | episodes.followed[episode]))
        action = together(self.action_space, self._gather(columns.actions, rows))
        if self.clip and isinstance(self.action_space, Box):
            assert isinstance(action, np.ndarray)
            action = np.clip(action, self.action_space.low, self.action_space.high)
        return Transition(
            observation=observation,
            action=action,
            reward=np.asarray(columns.rewards[rows], np.float32),
            next_observation=successor,
            terminated=last & episodes.terminated[episode],
            truncated=last & episodes.truncated[episode],
            reset_observation=successor,
            valid=np.ones(len(rows), bool),
        )

    def _gather(self, tree: Tree, rows: np.ndarray) -> Tree:
        def one(leaf: np.ndarray) -> np.ndarray:
            dtype = target(leaf.dtype)
            if not isinstance(leaf, np.memmap):
                return leaf[rows].astype(dtype, copy=False)
            return self._from_disk.take(leaf, rows).astype(dtype, copy=False)

        return map_leaves(one, tree)


def _joined(space: Space) -> Space:
    """Actions with parts as one space, where they can be joined: what cannot be learned from can still be looked at."""
    try:
        return joined(space)
    except TypeError:
        return space
