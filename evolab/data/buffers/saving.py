"""A replay buffer on disk, in segments that never change: a later checkpoint writes only what is new.

A segment holds consecutive transitions, oldest first. The newest segments together hold at
least the buffer; what is older than the buffer is skipped on reading. Segments that an earlier
checkpoint has written are shared with it as hard links. A small buffer is written anew each
time, so that its checkpoints do not depend on one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolab.core.memory import room
from evolab.core.trees import Tree
from evolab.data.buffers.base import Buffer
from evolab.data.buffers.replay import ReplayBuffer
from evolab.storage.files import Damaged
from evolab.storage.folders import Draft, Saved

SMALL = 32 * 2**20
"""Bytes up to which a buffer is written whole each time."""

MOST = 64
"""Segments before they are written as one again."""

LARGEST = 2**40
"""Bytes of the largest buffer that is read."""


@dataclass
class Segment:
    """A file of consecutive transitions.

    Attributes:
        path: where it lies in the newest checkpoint.
        rows: how many transitions it has.
        entry: its size and SHA-256.
    """

    path: Path
    rows: int
    entry: Mapping[str, Any]


@dataclass
class Written:
    """What the newest checkpoint in a folder holds of which buffer."""

    buffer: ReplayBuffer | None = None
    added: int = 0
    length: int = 0
    segments: list[Segment] = field(default_factory=list)


def write_buffer(
    draft: Draft, folder: Path, buffer: Buffer, before: Written
) -> tuple[dict[str, Any], Written]:
    """Write a buffer into a draft.

    Args:
        draft: of the checkpoint.
        folder: where the draft will lie.
        buffer: what to write.
        before: what the checkpoint before holds; `Written()` for nothing.

    Returns:
        the description that `read_buffer` wants, and what is on disk then.
    """
    if not isinstance(buffer, ReplayBuffer):  # a rollout is empty between two generations
        return buffer.options, Written()
    about: dict[str, Any] = {
        "capacity": buffer.capacity,
        "shared": buffer.shared,
        "rings": buffer.pools,
        "length": buffer.length.tolist(),
        "cursor": buffer.cursor.tolist(),
        "added": int(buffer.added),
    }
    if buffer.source is not None:  # recorded data that stay in the user's own file
        return {**about, "data": buffer.source}, Written()
    about["fields"] = {name: _tree(value, name) for name, value in buffer.fields.items()}
    total = int(buffer.length.sum())
    fresh = _fresh_rows(buffer, before)
    kept = [] if fresh is None else before.segments
    if fresh is None:
        fresh = total
    while kept and sum(segment.rows for segment in kept[1:]) + fresh >= total:
        kept = kept[1:]
    segments = []
    for segment in kept:
        name = segment.path.name
        draft.share(name, segment.path, segment.entry)
        segments.append(Segment(folder / name, segment.rows, segment.entry))
    if fresh:
        taken = {segment.path.name for segment in segments}
        name = next(n for n in (f"buffer-{i:03d}.safetensors" for i in range(MOST + 2)) if n not in taken)
        draft.tensors(name, _newest(buffer, fresh))
        segments.append(Segment(folder / name, fresh, draft.entry(name)))
    about["segments"] = [[segment.path.name, segment.rows] for segment in segments]
    return about, Written(buffer, buffer.added, total, segments)


def read_buffer(saved: Saved, about: Mapping[str, Any], buffer: Buffer) -> Written:
    """Fill an empty buffer with what `write_buffer` wrote.

    Raises:
        Damaged: a segment is missing or does not fit the description.
        ValueError: an absurd size.
    """
    where = str(saved.path / "state.json")
    if not isinstance(buffer, ReplayBuffer):
        return Written()
    _read_sizes(where, about, buffer)
    if "data" in about:  # nothing is here until the user's file has been read again
        buffer.clear()
        return Written()
    stores = _rooms(where, about, buffer)
    segments = [Segment(saved.path / name, int(rows), saved.files[name]) for name, rows in about["segments"]]
    total = int(buffer.length.sum())
    _read_segments(saved, segments, stores, buffer)
    buffer.fields = {name: _planted(tree, stores) for name, tree in about["fields"].items()}
    return Written(buffer, buffer.added, total, segments)


def _read_sizes(where: str, about: Mapping[str, Any], buffer: ReplayBuffer) -> None:
    capacity, pools, added = int(about["capacity"]), int(about["rings"]), int(about["added"])
    length = np.asarray(about["length"], dtype=np.int64)
    cursor = np.asarray(about["cursor"], dtype=np.int64)
    sound = length.shape == cursor.shape == (pools,) and capacity > 0 and bool((cursor >= 0).all())
    if not sound or (length > capacity).any() or (length < 0).any() or (cursor >= capacity).any():
        raise Damaged(f"{where} describes no buffer: capacity {capacity}, lengths {about['length']}.")
    buffer.capacity, buffer.shared, buffer.pools = capacity, bool(about["shared"]), pools
    # What has room to spare lies at the beginning, also where the oldest were lost (see `Boundary.since`).
    buffer.length, buffer.cursor, buffer.added = length, np.where(length < capacity, length, cursor), added


def _rooms(where: str, about: Mapping[str, Any], buffer: ReplayBuffer) -> dict[str, Tensor]:
    """Empty tensors [pools * capacity, ...] for all leaves, by name."""
    leaves: list[tuple[str, str, tuple[int, ...]]] = []
    for tree in about["fields"].values():
        _leaves(tree, leaves)
    rows = buffer.pools * buffer.capacity
    size = sum(_dtype(dtype).itemsize * int(np.prod(shape, dtype=object)) for _, dtype, shape in leaves)
    if size * rows > LARGEST:
        raise ValueError(f"{where} describes a buffer of {size * rows >> 30} GiB, which is refused.")
    buffer.place_on(torch.device("cpu"))
    assert buffer.device is not None
    return {name: room((rows, *shape), _dtype(dtype), buffer.device) for name, dtype, shape in leaves}


def _read_segments(
    saved: Saved, segments: Sequence[Segment], stores: Mapping[str, Tensor], buffer: ReplayBuffer
) -> None:
    """Put the newest transitions of the segments where they lay."""
    total = int(buffer.length.sum())
    positions = _positions(buffer)
    offset = total - sum(segment.rows for segment in segments)  # below 0: rows older than the buffer
    for segment in segments:
        tensors = saved.tensors(segment.path.name)
        skip = max(0, -offset)
        for name, store in stores.items():
            part = tensors.get(name)
            expected = (segment.rows, *store.shape[1:])
            if part is None or tuple(part.shape) != expected or part.dtype != store.dtype:
                raise Damaged(f"{segment.path} does not hold {name} of shape {expected}.")
            if skip < segment.rows:
                first = max(0, offset)
                rows = positions[first : first + segment.rows - skip]
                _put(store, rows, part[skip:].to(store.device))
        offset += segment.rows
    if total and offset != total:
        raise Damaged(f"{saved.path / 'state.json'}: the segments hold {offset} of {total} transitions.")


def _fresh_rows(buffer: ReplayBuffer, before: Written) -> int | None:
    """Transitions that `before` lacks; None where all have to be written."""
    if (
        before.buffer is not buffer
        or buffer.pools > 1
        or buffer.nbytes * len(buffer) <= SMALL * buffer.capacity
    ):
        return None
    fresh = buffer.added - before.added
    if fresh < 0 or len(buffer) != min(before.length + fresh, buffer.capacity) or fresh >= len(buffer):
        return None
    if len(before.segments) >= MOST:
        return None
    for segment in before.segments:
        if not segment.path.is_file() or segment.path.stat().st_size != segment.entry["bytes"]:
            return None
    return fresh


def _newest(buffer: ReplayBuffer, count: int) -> dict[str, list[Tensor]]:
    """The newest rows of every leaf as slices of the buffer, oldest first; all rows of pools apart."""
    stretches: list[tuple[int, int]] = []
    for pool in range(buffer.pools):
        rows = count if buffer.pools == 1 else int(buffer.length[pool])
        stop = int(buffer.cursor[pool])
        base = pool * buffer.capacity
        if rows > stop:
            stretches.append((base + buffer.capacity - (rows - stop), base + buffer.capacity))
        stretches.append((base + max(0, stop - rows), base + stop))
    return {
        name: [store[a:b] for a, b in stretches if b > a] or [store[:0]]
        for field_name, value in buffer.fields.items()
        for name, store in _named(value, field_name)
    }


def _positions(buffer: ReplayBuffer) -> Tensor:
    """Where the rows lie in the store, oldest first, pool by pool."""
    capacity = buffer.capacity
    parts = [
        pool * capacity + (cursor - length + np.arange(length)) % capacity
        for pool, (length, cursor) in enumerate(zip(buffer.length, buffer.cursor, strict=True))
    ]
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))


def _put(store: Tensor, rows: Tensor, part: Tensor) -> None:
    if len(rows) and int(rows[-1]) - int(rows[0]) == len(rows) - 1:  # one stretch: a plain copy
        store[int(rows[0]) : int(rows[-1]) + 1] = part
    else:
        store[rows.to(store.device)] = part


# The form of nested fields --------------------------------------------------------------------


def _named(value: Tree, name: str) -> list[tuple[str, Tensor]]:
    """The tensors of a field with the names that `_tree` gives them."""
    if isinstance(value, Tensor):
        return [(name, value)]
    parts = value.values() if isinstance(value, dict) else value
    return [leaf for index, part in enumerate(parts) for leaf in _named(part, f"{name}.{index}")]


def _tree(value: Tree, name: str) -> dict[str, Any]:
    """The form of a field as JSON: a leaf is its tensor's name, dtype and shape of a row."""
    if isinstance(value, dict):
        return {"dict": [[key, _tree(part, f"{name}.{i}")] for i, (key, part) in enumerate(value.items())]}
    if isinstance(value, tuple):
        return {"tuple": [_tree(part, f"{name}.{i}") for i, part in enumerate(value)]}
    return {"leaf": name, "dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape[1:])}


def _leaves(tree: Mapping[str, Any], found: list[tuple[str, str, tuple[int, ...]]]) -> None:
    if "leaf" in tree:
        found.append((tree["leaf"], tree["dtype"], tuple(int(size) for size in tree["shape"])))
    else:
        for part in [part for _, part in tree["dict"]] if "dict" in tree else tree["tuple"]:
            _leaves(part, found)


def _planted(tree: Mapping[str, Any], stores: Mapping[str, Tensor]) -> Tree:
    if "leaf" in tree:
        return stores[tree["leaf"]]
    if "dict" in tree:
        return {key: _planted(part, stores) for key, part in tree["dict"]}
    return tuple(_planted(part, stores) for part in tree["tuple"])


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"{name!r} is no dtype.")
    return dtype
