"""Flat HDF5 files: D4RL's columns, and d3rlpy v1's, which add `episode_terminals`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evolab.core.trees import map_leaves, named_leaves
from evolab.data.datasets import hdf5
from evolab.data.datasets.columns import Allocator, Columns
from evolab.data.datasets.layouts import Found, find, from_flat
from evolab.data.datasets.writers import CUTS

if TYPE_CHECKING:
    import h5py


def load(file: h5py.File, path: Path, name: str, max_memory: int) -> Columns:
    """The columns of a flat file; beyond `max_memory` bytes they stay on disk.

    Columns stored plainly are mapped from the file itself, which must then stay as it
    is; compressed ones are unpacked into temporary files, a block at a time.

    Raises:
        DatasetError: see `hdf5.inspect` and `layouts.from_flat`.
    """
    found = find(file, lambda key: hdf5.tree(file, key, name), name)
    total = sum(
        hdf5.size(leaf) for column in found.values() for _, leaf in named_leaves(column.data, column.key)
    )
    room = Allocator(total, max_memory)

    def read(role: str, column: Found) -> Found:
        # Labels and rewards are small and looked at as a whole: they are always read.
        def one(leaf: object) -> Any:
            large = role in ("observations", "next_observations", "actions")
            return hdf5.read(leaf, room) if large else hdf5.read(leaf, Allocator(0, 0))

        return Found(column.key, map_leaves(one, column.data))

    arrays = {role: read(role, column) for role, column in found.items()}
    if "timeouts" in arrays:
        cuts = file[arrays["timeouts"].key].attrs.get(CUTS)
        rows = np.asarray(() if cuts is None else cuts)
        if rows.dtype.kind in "iu" and rows.ndim == 1 and rows.size:  # as `ev.collect` writes it
            arrays["cuts"] = Found(CUTS, np.isin(np.arange(len(arrays["timeouts"].data)), rows))
    form = "d3rlpy v1 HDF5" if "ends" in found else "D4RL HDF5"
    return from_flat(arrays, name, form, folder=room.folder)
