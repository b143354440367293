"""d3rlpy v2 HDF5: one small dataset per episode and column, `observations_0`, `actions_0`, ..."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evolab.core.trees import Tree
from evolab.data.datasets import hdf5
from evolab.data.datasets.chains import Episode, assemble
from evolab.data.datasets.columns import Columns, DatasetError
from evolab.data.datasets.episodes import from_lengths

if TYPE_CHECKING:
    import h5py


def load(file: h5py.File, path: Path, name: str, max_memory: int) -> Columns:
    """The columns of a d3rlpy v2 file: T observations per episode, so a cut one lacks its successor.

    Raises:
        DatasetError: an episode lacks a column, lengths differ, or `hdf5.inspect` refuses one.
    """
    count = _scalar(file, "num_episodes", name)
    if not 0 < count <= len(file):
        raise DatasetError(
            f"{name}: 'num_episodes' is {count:g}, but the file has {len(file)} keys. It is empty or "
            "damaged; dump the episodes again."
        )
    episodes, terminated = [], []
    for i in range(int(count)):
        episodes.append(
            Episode(
                _observations(file, i, name),
                _dataset(file, f"actions_{i}", name),
                _dataset(file, f"rewards_{i}", name),
                f"{{}}_{i}",
            )
        )
        flag = _scalar(file, f"terminated_{i}", name)
        if flag not in (0, 1):
            raise DatasetError(
                f"{name}: 'terminated_{i}' is {flag:g}; expected 0 or 1. Dump the episodes again."
            )
        terminated.append(bool(flag))
    table = assemble(episodes, name, max_memory, extra=0)
    ended = np.array(terminated)
    return Columns(
        name=name,
        format="d3rlpy v2 HDF5",
        observations=table.observations,
        actions=table.actions,
        rewards=table.rewards,
        episodes=from_lengths(table.lengths, ended, ~ended, np.zeros(len(ended), bool)),
        folder=table.folder,
    )


def _dataset(file: h5py.File, key: str, name: str) -> Any:
    found = hdf5.member(file, key, name)
    if found is None or not hasattr(found, "shape"):
        raise DatasetError(f"{name}: {key!r} is missing; 'num_episodes' counts it. Dump the episodes again.")
    return found


def _scalar(file: h5py.File, key: str, name: str) -> float:
    found = _dataset(file, key, name)
    if found.size != 1:
        raise DatasetError(f"{name}: {key!r} has shape {found.shape}; expected one value.")
    return float(np.asarray(found[()]).reshape(()))


def _observations(file: h5py.File, i: int, name: str) -> Tree:
    """One dataset, or a tuple of them where the observation is a tuple."""
    found = hdf5.member(file, f"observations_{i}", name)
    if found is not None:
        return _dataset(file, f"observations_{i}", name)
    parts: list[Any] = []
    while (part := hdf5.member(file, f"observations_{i}_{len(parts)}", name)) is not None:
        parts.append(part)
    return tuple(parts) if parts else _dataset(file, f"observations_{i}", name)
