"""What a reader hands over: the columns of a data set, before anything is derived from them."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from gymnasium import Space

from evolab.core.trees import Tree
from evolab.data.datasets.episodes import EpisodeRows

DEPTH = 8  # nesting beyond this is no observation space, and could be a cycle of links


class DatasetError(ValueError):
    """Bad input of a data set: the message names the file, the key and the cure."""


@dataclass
class Columns:
    """The columns of a data set as they are stored, and which rows make which episode.

    Attributes:
        name: what messages call the source.
        format: the format found, in words.
        observations: tree of [M, ...]; M = N rows, or N + the episodes that are `followed`
            where each of those has its final observation in line (`chained`).
        actions: tree of [N, ...].
        rewards: [N].
        episodes: the rows' division into episodes, labels right.
        next_observations: tree of [N, ...] where successors are stored on their own, else None.
        chained: True where an episode of T rows has T + 1 observations.
        observation_space: the space the source states, or None.
        action_space: the space the source states, or None.
        environment: id of the environment, where the source names one.
        doubled: terminal flags that were one row early and were taken back.
        notes: other oddities found, in words.
        casts: key -> "float64 -> float32", filled by readers for flags.
        folder: holds temporary arrays; lives as long as the data set.
    """

    name: str
    format: str
    observations: Tree
    actions: Tree
    rewards: np.ndarray
    episodes: EpisodeRows
    next_observations: Tree | None = None
    chained: bool = False
    observation_space: Space | None = None
    action_space: Space | None = None
    environment: str | None = None
    doubled: int = 0
    notes: tuple[str, ...] = ()
    casts: dict[str, str] = field(default_factory=dict)
    folder: Scratch | None = None

    @property
    def returns(self) -> np.ndarray:
        """[E], undiscounted return of each episode over all its rows, float64."""
        return np.add.reduceat(self.rewards, self.episodes.starts, dtype=np.float64)

    @property
    def whole_returns(self) -> np.ndarray:
        """Finite returns of the episodes that the recording saw to their end; of all where it saw none."""
        returns, finished = self.returns, self.episodes.finished
        returns = returns[finished] if finished.any() else returns
        return returns[np.isfinite(returns)]


class Scratch:
    """A temporary folder that goes with its last owner, without a warning."""

    def __init__(self) -> None:
        self.name = tempfile.mkdtemp(prefix="evolab-")
        # TemporaryDirectory would warn that it was not closed; it does not have to be.
        weakref.finalize(self, shutil.rmtree, self.name, ignore_errors=True)


class Allocator:
    """Room for arrays of a known total size: memory within a limit, temporary files beyond it."""

    def __init__(self, total: int, limit: int) -> None:
        """`total` bytes will be asked for; above `limit` bytes they go to a temporary folder."""
        self.on_disk = total > limit
        self.folder: Scratch | None = None
        self._count = 0

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """A new array to be filled.

        Raises:
            DatasetError: the disk has no room for it.
        """
        if not self.on_disk:
            return np.empty(shape, dtype)
        self.folder = self.folder or Scratch()
        needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
        # Writing to a map on a full disk kills the process (SIGBUS); asking first does not.
        if needed > shutil.disk_usage(self.folder.name).free:
            raise DatasetError(
                f"unpacking needs {needed / 2**30:.1f} GiB in {Path(self.folder.name).parent}, which has "
                "less. Set TMPDIR to a larger disk, or raise max_memory."
            )
        self._count += 1
        path = f"{self.folder.name}/{self._count}.npy"
        return np.lib.format.open_memmap(path, "w+", dtype=dtype, shape=shape)


def flat(array: np.ndarray, name: str, key: str) -> np.ndarray:
    """A column of one number per row: [N] from [N] or [N, 1].

    Raises:
        DatasetError: the array has another shape, or does not hold numbers.
    """
    array = numeric(array, name, key)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DatasetError(
            f"{name}: {key!r} has shape {array.shape}; expected one number per row, (N,). "
            "Store it as a flat array."
        )
    return array


def numeric(array: np.ndarray, name: str, key: str) -> np.ndarray:
    """The array, if it holds plain numbers or booleans.

    Raises:
        DatasetError: it holds objects, strings, records or complex numbers.
    """
    if array.dtype.kind not in "biuf":
        raise DatasetError(
            f"{name}: {key!r} has dtype {array.dtype}; expected numbers or booleans. "
            "Store it as a plain numeric array."
        )
    return array


def flags(array: np.ndarray, name: str, key: str, casts: dict[str, str]) -> np.ndarray:
    """A column of labels as booleans, [N]; anything but 0 and 1 is refused.

    Raises:
        DatasetError: the column holds another value, NaN included.
    """
    array = flat(array, name, key)
    raw = np.asarray(array)
    wrong = (raw != 0) & (raw != 1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DatasetError(
            f"{name}: {key!r} is {raw[row]!s} in row {row}; expected 0 or 1. "
            "Store it as booleans: a flag, not a count or a probability."
        )
    if raw.dtype != np.bool_:
        casts[key] = f"{raw.dtype} -> bool"
    return raw != 0
