"""Pools: transitions in rows of tensors that grow, the oldest overwritten first.

On a CPU memory is asked for at once and taken as the tensors fill (see `core.machine_memory`). Other devices give at
once what they are asked for: there the tensors double as they fill. Large observations are stored once
(`data.buffers.frames`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from evolab.core import checks
from evolab.core.device import device_named
from evolab.core.experience import DRAWN, Transition
from evolab.core.flags import all_of, as_flags
from evolab.core.machine_memory import announce, room, taken_as_filled
from evolab.core.trees import Tree, first_leaf, leaves, map_leaves
from evolab.data.buffers.base import Buffer, Settled, as_kept
from evolab.data.buffers.frames import Frames
from evolab.data.buffers.plain_rows import SharedArrays, write_plain
from evolab.data.buffers.stored_leaves import empty_store, flat, frames_of, placed, row_bytes

AT_FIRST = 64 * 2**20  # bytes that there is room for at first, on devices that give at once what is asked for


class Pools(Buffer):
    """One pool of transitions for the whole population, or one of each agent's own.

    Args:
        capacity: most transitions kept in a pool.
        device: where they are kept; None for the population's device, decided at the first use.
        shared: one pool for everyone; False gives every agent its own.

    Attributes:
        fields: [pools * allotted, ...] leaves, the transitions; of an observation that is stored once, the places
            of its parts. `rows` gives transitions as they were added.
        frames: of the same form; the parts of an observation that is stored once, None for every other leaf.
        pools: how many; one until the first transitions tell how many agents there are.
        length, cursor: [pools], transitions stored, and where the next one is written.
        added: transitions so far, those that were overwritten included.
        source: name of the file that the data are in and stay in.

    Raises:
        ValueError: a capacity below 1.
    """

    capacity = Settled()
    shared = Settled(checks.flag)  # type: ignore[assignment]
    _capacity: int

    def __init__(self, capacity: int, device: str | torch.device | None, shared: bool) -> None:
        self.capacity, self.shared = capacity, shared
        self.device = device_named(device) if device is not None else None
        self.fields: dict[str, Tree] = {}
        self.frames: dict[str, Any] = {}
        self.pools = 1
        self.length, self.cursor = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self.added = 0
        self.source: str | None = None
        self._arrays = SharedArrays()

    def __len__(self) -> int:
        """Transitions that an agent can draw from; the least of all agents where they don't share."""
        return int(self.length.min())

    def clear(self) -> None:
        """Forget everything; a boundary that is kept goes on with what there was."""
        self.fields, self.frames, self._arrays = {}, {}, SharedArrays()
        self.length, self.cursor = np.zeros_like(self.length), np.zeros_like(self.cursor)

    def be_of(
        self, capacity: int, shared: bool, pools: int, length: np.ndarray, cursor: np.ndarray, added: int
    ) -> None:
        """Take the sizes of a buffer that was saved; what is stored is put in place afterwards."""
        self._capacity, self._shared, self.pools = capacity, shared, pools
        self.length, self.cursor, self.added = length, cursor, added

    def add(self, transition: Transition) -> int:
        """Store the valid rows of a transition with leading shape [P, E] or [B].

        Returns:
            the number of rows stored.

        Raises:
            ValueError: the fields' shapes differ from those stored before.
        """
        transition = Transition.of(transition)
        shape = np.shape(transition.reward)
        leading, agents = len(shape), shape[0] if len(shape) == 2 else 1
        given = transition.valid
        valid = None if given is None or all_of(as_flags(given)) else as_flags(given)
        rows = self.fields_of(transition)
        if not self.fields:
            self.pools = 1 if self.shared else agents
            self.length, self.cursor = np.zeros(self.pools, np.int64), np.zeros(self.pools, np.int64)
            self.allot({k: map_leaves(lambda leaf: flat(leaf, leading, valid), x) for k, x in rows.items()})
        if self.pools == 1:
            stored = self._write(0, rows, leading, valid)
        elif leading != 2 or agents != self.pools:
            raise ValueError(
                f"this buffer keeps {self.pools} agents apart; transitions of shape [{self.pools}, E] "
                f"are expected, reward has shape {shape}."
            )
        else:
            stored = 0
            for pool in range(self.pools):
                own = {name: map_leaves(lambda leaf, p=pool: leaf[p], value) for name, value in rows.items()}
                stored += self._write(pool, own, 1, None if valid is None else valid[pool])
        self.added += stored
        return stored

    def fields_of(self, transition: Transition) -> dict[str, Any]:
        """What is stored of a transition."""
        return {name: getattr(transition, name) for name in DRAWN}

    def allot(self, like: dict[str, Tree]) -> None:
        """Make room for transitions like these, [B, ...] leaves."""
        self.place_on(torch.device("cpu"))
        device = self.device or torch.device("cpu")

        self.frames = frames_of(like, device)
        empty = functools.partial(empty_store, device)
        self.fields = {name: map_leaves(empty, value, self.frames[name]) for name, value in like.items()}
        announce(f"ReplayBuffer({self.capacity})", self.nbytes, device)
        self.make_room(0)
        self.device = self.example.device

    def make_room(self, least: int) -> None:
        """Have room for so many transitions of each pool at least."""
        if self.allotted >= max(1, least):
            return
        stored, wanted = min(int(self.length.max()), self.allotted), self.capacity
        if not taken_as_filled(self.example.device):
            row = sum(row_bytes(leaf) for leaf in leaves(self.fields))
            wanted = min(wanted, max(least, 2 * self.allotted, AT_FIRST // (row * self.pools), 1))

        def larger(store: Tensor) -> Tensor:
            new = room((self.pools * wanted, *store.shape[1:]), store.dtype, store.device)
            if stored:
                old, its = (x.unflatten(0, (self.pools, -1))[:, :stored] for x in (store, new))
                its.copy_(old)
            return new

        # One after the other, in the dict that a kept boundary has, too: nothing holds the old ones.
        for name, value in self.fields.items():
            self.fields[name] = map_leaves(larger, value)

    @property
    def allotted(self) -> int:
        """Transitions of each pool that there is room for: `capacity` on a CPU."""
        return len(self.example) // self.pools

    def _write(self, pool: int, rows: dict[str, Any], leading: int, keep: np.ndarray | None) -> int:
        mask = None if keep is None else torch.as_tensor(keep.reshape(-1))
        lead = np.shape(rows["reward"])
        count = int(mask.sum()) if mask is not None else prod(lead)
        if count == 0:
            return 0
        self.fields.pop("episode", None)  # a data set's; rows that are overwritten belong to no episode of it
        start, length = int(self.cursor[pool]), int(self.length[pool])
        at = slice(start, start + count)
        usual = mask is None and self.pools == 1 and at.stop <= self.capacity
        if usual and write_plain(self._arrays, self.fields, self.frames, rows, lead, at):
            self._go_on(pool, at.stop, length + count)
            return count
        skip = max(0, count - self.capacity)

        def fitting(store: Tensor, frames: Frames | None, leaf: ArrayLike) -> Tensor:
            piece = as_kept(leaf)
            shape = store.shape[1:] if frames is None else frames.shape
            if piece.shape[leading:] != shape:
                raise ValueError(
                    f"a transition's field has shape {tuple(piece.shape)}; this buffer holds rows of shape "
                    f"{tuple(shape)}. Use a fresh ReplayBuffer for another environment."
                )
            piece = piece.reshape(-1, *shape)
            if mask is not None:
                piece = piece[mask.to(piece.device)]
            return piece[skip:]

        # Nothing is written before every field is known to fit, and to have room.
        pieces = {k: map_leaves(fitting, self.fields[k], self.frames[k], own) for k, own in rows.items()}
        self.make_room(min(length + count, self.capacity))
        pieces = {name: map_leaves(placed, self.frames[name], piece) for name, piece in pieces.items()}
        first, base = min(count - skip, self.capacity - start), pool * self.allotted
        stretches = ((start, 0, first), (0, first, count - skip - first))

        def write(store: Tensor, frames: Frames | None, piece: Tensor) -> None:
            for at, taken, some in stretches:
                if some and frames is not None and at < length:
                    frames.drop(store[base + at : base + min(at + some, length)])
                if some:
                    store[base + at : base + at + some] = piece[taken : taken + some]

        for name, piece in pieces.items():
            map_leaves(write, self.fields[name], self.frames[name], piece)
        self._go_on(pool, start + count - skip, length + count)
        return count

    def _go_on(self, pool: int, cursor: int, length: int) -> None:
        self.cursor[pool], self.length[pool] = cursor % self.capacity, min(length, self.capacity)

    def restore(self, places: Tensor, rows: dict[str, Tree]) -> None:
        """Put transitions, [B, ...] leaves, at these places in `fields`, where there are none."""
        places = places.to(self.device)
        run = len(places) > 0 and int(places[-1]) - int(places[0]) == len(places) - 1

        def write(store: Tensor, frames: Frames | None, leaf: Tensor) -> None:
            piece = placed(frames, leaf).to(store.device)
            if run:  # a plain copy
                store[int(places[0]) : int(places[-1]) + 1] = piece
            else:
                store[places] = piece

        for name, value in rows.items():
            map_leaves(write, self.fields[name], self.frames[name], value)

    def rows(self, index: Tensor) -> dict[str, Tree]:
        """The fields of given rows, [B, ...] each, counted from the storage's start."""
        return self.taken(index.to(self.device), DRAWN, (len(index),))

    def taken(self, index: Tensor, names: Sequence[str], shape: tuple[int, ...]) -> dict[str, Any]:
        """Some fields of the rows `index`, whose leading axis becomes `shape`."""

        def take(store: Tensor, frames: Frames | None) -> Tensor:
            found = store.index_select(0, index).unflatten(0, shape)
            return found if frames is None else frames.take(found)

        return {name: map_leaves(take, self.fields[name], self.frames[name]) for name in names}

    def part(self, name: str, key: str, index: Tensor) -> Tensor:
        """[..., *shape], one entry of the Dict observations under this name, of the rows `index` [...]."""
        fields: Any = self.fields
        found = fields[name][key].index_select(0, index.flatten()).unflatten(0, index.shape)
        frames = self.frames[name][key]
        return found if frames is None else frames.take(found)

    def follow(self, parents: Sequence[int]) -> None:
        """Give every agent its parent's experience; nothing to do where all share one pool."""
        if self.pools == 1 or not self.fields:
            return
        rows = torch.as_tensor(list(parents), device=self.device)
        stored = int(self.length.max())  # what is behind them stays untouched: it takes no memory yet

        def moved(store: Tensor) -> Tensor:
            new = room(store.shape, store.dtype, store.device)
            old, its = (x.unflatten(0, (self.pools, -1))[:, :stored] for x in (store, new))
            its.copy_(old[rows])
            return new

        self.fields = {name: map_leaves(moved, store) for name, store in self.fields.items()}
        self.length, self.cursor = self.length[list(parents)], self.cursor[list(parents)]
        used: dict[Frames, list[Tensor]] = {}

        def note(store: Tensor, frames: Frames | None) -> None:
            if frames is not None:
                apart = zip(store.unflatten(0, (self.pools, -1)), self.length.tolist(), strict=True)
                used.setdefault(frames, []).extend(own[:length] for own, length in apart)

        for name in DRAWN:
            map_leaves(note, self.fields[name], self.frames[name])
        for frames, indices in used.items():
            frames.count_anew(indices)

    @property
    def row_bytes(self) -> int:
        """Of one transition as it was added."""
        sizes: list[int] = []

        def note(store: Tensor, frames: Frames | None) -> None:
            sizes.append(row_bytes(store) if frames is None else frames.row_bytes)

        for name, value in self.fields.items():
            map_leaves(note, value, self.frames.get(name) or map_leaves(lambda leaf: None, value))
        return sum(sizes)

    @property
    def nbytes(self) -> int:
        """Memory that it takes when it is full, in bytes, at as many frames a transition as there are now."""
        stored = int(self.length.sum())
        each = float(sum(map(row_bytes, leaves(self.fields))))
        for frames in {kept for kept in leaves(self.frames) if kept is not None}:
            each += frames.part_bytes * (len(frames) / stored if stored else 1)
        return int(each * self.pools * self.capacity)

    @property
    def example(self) -> Tensor:
        """The first stored leaf, for its dtype and device."""
        return first_leaf(self.fields)
