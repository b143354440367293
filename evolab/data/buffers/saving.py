"""A replay buffer on disk, in segments that never change: a later checkpoint writes only what is new.

A segment holds consecutive transitions, oldest first. The newest segments together hold at
least the buffer; what is older than the buffer is skipped on reading. Segments that an earlier
checkpoint has written are shared with it as hard links. A small buffer is written anew each
time, so that its checkpoints do not depend on one another. Transitions are written as they were added,
also where a part of them is stored once in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolab.data.buffers.base import Buffer
from evolab.data.buffers.frames import Frames
from evolab.data.buffers.nested_fields import form_of, leaves_of, named_leaves, planted
from evolab.data.buffers.replay import ReplayBuffer
from evolab.storage.files import Damaged, Later, Part
from evolab.storage.folders import Draft, Saved

SMALL = 32 * 2**20
"""Bytes up to which a buffer is written whole each time."""

PRIORITIES = "priorities.safetensors"
"""The file of what each agent would see again; all of it changes, and it is written each time."""

MOST = 64
"""Segments before they are written as one again."""

PIECE = 32 * 2**20
"""Bytes of observations that are made or read at a time."""

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
    forms: list[str] = field(default_factory=list)


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
    about["fields"] = {
        name: form_of(value, buffer.frames.get(name), name) for name, value in buffer.fields.items()
    }
    if buffer.priorities is not None:
        draft.tensors(PRIORITIES, buffer.priorities.tensors(buffer.stored_places()))
        about["priorities"] = len(buffer.priorities)
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
    return about, Written(buffer, buffer.added, total, segments, _forms(buffer))


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
    _check_size(where, about, buffer)
    segments = [Segment(saved.path / name, int(rows), saved.files[name]) for name, rows in about["segments"]]
    total = int(buffer.length.sum())
    _read_segments(saved, segments, about["fields"], buffer)
    if "priorities" in about:
        _read_priorities(saved, int(about["priorities"]), buffer)
    return Written(buffer, buffer.added, total, segments, _forms(buffer))


def _read_priorities(saved: Saved, agents: int, buffer: ReplayBuffer) -> None:
    tensors = saved.tensors(PRIORITIES)
    try:
        if len(tensors.get("largest", ())) != agents:
            raise ValueError(f"they are not those of {agents} agents")
        buffer.restore_priorities(tensors)
    except ValueError as error:
        raise Damaged(f"{saved.path / PRIORITIES} does not fit the buffer: {error}.") from None


def _read_sizes(where: str, about: Mapping[str, Any], buffer: ReplayBuffer) -> None:
    capacity, pools, added = int(about["capacity"]), int(about["rings"]), int(about["added"])
    length = np.asarray(about["length"], dtype=np.int64)
    cursor = np.asarray(about["cursor"], dtype=np.int64)
    sound = length.shape == cursor.shape == (pools,) and capacity > 0 and bool((cursor >= 0).all())
    if not sound or (length > capacity).any() or (length < 0).any() or (cursor >= capacity).any():
        raise Damaged(
            f"{where}: buffer of capacity {capacity} cannot have length {about['length']} and cursor "
            f"{about['cursor']} in {pools} rings."
        )
    # What has room to spare lies at the beginning, also where the oldest were lost (see `Boundary.since`).
    cursor = np.where(length < capacity, length, cursor)
    buffer.be_of(capacity, bool(about["shared"]), pools, length, cursor, added)


def _check_size(where: str, about: Mapping[str, Any], buffer: ReplayBuffer) -> None:
    rows = buffer.pools * buffer.capacity
    size = sum(
        dtype.itemsize * int(np.prod(shape, dtype=object)) for _, dtype, shape in leaves_of(about["fields"])
    )
    if size * rows > LARGEST:
        raise ValueError(
            f"{where}: buffer.fields describe a buffer of {size * rows >> 30} GiB, which is refused."
        )


def _read_segments(
    saved: Saved, segments: Sequence[Segment], fields: Mapping[str, Any], buffer: ReplayBuffer
) -> None:
    """Put the newest transitions of the segments where they lay."""
    total = int(buffer.length.sum())
    positions: Tensor | None = None
    where = f"{saved.path / 'state.json'}: buffer"
    offset = total - sum(segment.rows for segment in segments)  # below 0: rows older than the buffer
    if offset > 0:
        raise Damaged(f"{where}.segments hold {total - offset} of {total} transitions.")
    for segment in segments:
        slices, size = saved.slices(segment.path.name), 1
        leaves = leaves_of(fields)
        if others := sorted(set(slices) - {name for name, _, _ in leaves}):
            raise Damaged(f"{where}.fields do not name {', '.join(others)}, which {segment.path.name} holds.")
        for name, dtype, shape in leaves:
            part = slices.get(name)
            expected = (segment.rows, *shape)
            if part is None or tuple(part.get_shape()) != expected or part[:1].dtype != dtype:
                raise Damaged(
                    f"{segment.path} does not hold {name} of shape {expected} and {dtype}, as {where}.fields say."
                )
            size += dtype.itemsize * int(np.prod(shape))
        at, step = max(0, -offset), max(1, PIECE // size)
        while at < segment.rows:
            end = min(at + step, segment.rows)
            parts = {name: part[at:end] for name, part in slices.items()}
            rows = {name: planted(tree, parts) for name, tree in fields.items()}
            if positions is None:
                buffer.allot(rows)
                buffer.make_room(int(buffer.length.max()))
                positions = _positions(buffer)
            buffer.restore(positions[offset + at : offset + end], rows)
            at = end
        offset += segment.rows


def _forms(buffer: ReplayBuffer) -> list[str]:
    """What its rows are like: those of another form are in another segment."""
    fields = buffer.fields.items()
    return sorted(str(form_of(value, buffer.frames.get(name), name)) for name, value in fields)


def _fresh_rows(buffer: ReplayBuffer, before: Written) -> int | None:
    """Transitions that `before` lacks; None where all have to be written."""
    if before.buffer is not buffer or before.forms != _forms(buffer):
        return None
    if buffer.pools > 1 or buffer.row_bytes * len(buffer) <= SMALL:
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


def _newest(buffer: ReplayBuffer, count: int) -> dict[str, list[Part]]:
    """The newest rows of every leaf as slices of the buffer, oldest first; all rows of pools apart."""
    stretches: list[tuple[int, int]] = []
    for pool in range(buffer.pools):
        rows = count if buffer.pools == 1 else int(buffer.length[pool])
        stop = int(buffer.cursor[pool])
        base = pool * buffer.allotted
        if rows > stop:
            stretches.append((base + buffer.capacity - (rows - stop), base + buffer.capacity))
        stretches.append((base + max(0, stop - rows), base + stop))
    return {
        name: [part for a, b in stretches if b > a for part in _parts(store, frames, a, b)] or [store[:0]]
        for field_name, value in buffer.fields.items()
        for name, store, frames in named_leaves(value, buffer.frames.get(field_name), field_name)
    }


def _parts(store: Tensor, frames: Frames | None, start: int, stop: int) -> list[Part]:
    """Rows of a leaf as they were added: where they are stored once, they are made when they are written."""
    if frames is None:
        return [store[start:stop]]
    step = max(1, PIECE // frames.row_bytes)

    def some(a: int, b: int) -> Later:
        return Later((b - a, *frames.shape), frames.stored.dtype, lambda: frames.take(store[a:b]))

    return [some(a, min(a + step, stop)) for a in range(start, stop, step)]


def _positions(buffer: ReplayBuffer) -> Tensor:
    """Where the rows lie in the store, oldest first, pool by pool."""
    parts = [
        pool * buffer.allotted + (cursor - length + np.arange(length)) % buffer.capacity
        for pool, (length, cursor) in enumerate(zip(buffer.length, buffer.cursor, strict=True))
    ]
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))
