"""Writers of recorded columns: D4RL's HDF5, and Minari through the `minari` package."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from evolab.core.trees import Tree, map_leaves, named_leaves

CUTS = "recording_ends"
"""Rows where the recording stopped within an episode; an attribute of "timeouts" in a file."""


def rows(tree: Tree, index: object) -> Tree:
    """The rows of every leaf that an index or a slice picks."""
    return map_leaves(lambda leaf: leaf[index], tree)


def write_hdf5(path: Path, columns: Mapping[str, Any]) -> None:
    """D4RL's layout; written beside the target, then renamed over it."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
    os.close(handle)
    try:
        with h5py.File(temporary, "w") as file:
            for key, tree in columns.items():
                if key == CUTS:
                    continue
                for name, leaf in named_leaves(_named(tree), key):
                    image = leaf.dtype == np.uint8 and leaf.ndim > 2
                    packing = {"compression": "gzip", "compression_opts": 1} if image else {}
                    file.create_dataset(name, data=leaf, **packing)
            if CUTS in columns:  # no column: D4RL's readers expect those that they know
                file["timeouts"].attrs[CUTS] = np.flatnonzero(columns[CUTS])
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp's own mode shuts everyone else out
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _named(tree: Tree) -> Tree:
    """Tuples as dicts with Minari's names, `_index_0`, ..., which HDF5 groups can have."""
    if isinstance(tree, tuple):
        return {f"_index_{i}": _named(part) for i, part in enumerate(tree)}
    return {key: _named(part) for key, part in tree.items()} if isinstance(tree, dict) else tree


def write_minari(
    where: tuple[Path, str],
    columns: dict[str, Any],
    env: str | None,
    policy: object,
    spaces: dict[str, object],
) -> Path:
    """Write with Minari itself, images without loss; gives the folder."""
    import minari
    from minari.data_collector import EpisodeBuffer

    place, name = where
    ends = np.flatnonzero(columns["terminals"] | columns["timeouts"])
    starts = np.append(0, ends[:-1] + 1)
    buffers = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        own = slice(start, end + 1)
        last = rows(columns["next_observations"], slice(end, end + 1))
        buffers.append(
            EpisodeBuffer(
                observations=_append(rows(columns["observations"], own), last),
                actions=rows(columns["actions"], own),
                rewards=columns["rewards"][own],
                terminations=columns["terminals"][own],
                truncations=columns["timeouts"][own],
            )
        )
    place.mkdir(parents=True, exist_ok=True)
    with _datasets_path(place), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for an author, a link to code, ...
        made = minari.create_dataset_from_buffers(
            name,
            buffers,
            env=env,
            algorithm_name=policy if isinstance(policy, str) else type(policy).__name__,
            jpeg_encoding=False,
            data_format="hdf5",
            **spaces,
        )
        cuts = np.flatnonzero(columns[CUTS][ends]).tolist() if CUTS in columns else []
        if cuts:  # Minari has a flag for a time limit alone
            made.storage.update_metadata({CUTS: cuts})
    return place / name


def _append(tree: Tree, last: Tree) -> Tree:
    if isinstance(tree, dict):
        return {key: _append(part, last[key]) for key, part in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_append(a, b) for a, b in zip(tree, last, strict=True))
    return np.concatenate([tree, last])


@contextmanager
def _datasets_path(place: Path) -> Iterator[None]:
    """Minari writes to where its environment variable points."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(place)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before
