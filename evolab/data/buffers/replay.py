"""Replay: the population's experience in tensors of a fixed size, oldest overwritten first.

Memory is asked for at once and taken as the tensors fill (see `core.memory`): on a CPU, addresses stay and
what is empty costs nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from evolab.core.experience import DRAWN, Batch, Episodes, Transition
from evolab.core.memory import announce, room
from evolab.core.trees import Tree, first_leaf, leaves, map_leaves
from evolab.data.buffers.base import AT_ONCE, Buffer, whole_number
from evolab.networks.batching import cuda_graphs as graphs


class ReplayBuffer(Buffer):
    """The newest transitions, which the whole population learns from; the oldest are overwritten first.

    Args:
        capacity: most transitions kept, of each agent where `shared` is False.
        device: where they are kept; None for the population's device, decided at the first use.
        shared: one pool for everyone; False gives every agent its own.

    Raises:
        ValueError: a capacity below 1.

    >>> ReplayBuffer(1000)
    ReplayBuffer(0 of 1000 transitions, shared)
    """

    def __init__(
        self, capacity: int = 100_000, device: str | torch.device | None = None, shared: bool = True
    ) -> None:
        self.capacity, self.shared = whole_number("ReplayBuffer: capacity", capacity), bool(shared)
        self.device = torch.device(device) if device is not None else None
        self.fields: dict[str, Tree] = {}  # [pools * capacity, ...] leaves
        self.pools = 1  # of one agent each where they don't share
        self.length = np.zeros(1, dtype=np.int64)
        self.cursor = np.zeros(1, dtype=np.int64)
        self.added = 0
        self.source: str | None = None  # name of the file that the data are in and stay in
        self.filled: Tensor | None = None  # [pools], the lengths as recorded draws read them
        self._told = np.zeros(0, dtype=np.int64)
        self._self = object()  # told from every other buffer, also from one that lay at the same addresses

    def __len__(self) -> int:
        """Transitions that an agent can draw from; the least of all agents where they don't share."""
        return int(self.length.min())

    def __repr__(self) -> str:
        kind = "shared" if self.shared else f"own to each of {self.pools} agents"
        return f"ReplayBuffer({len(self)} of {self.capacity} transitions, {kind})"

    @property
    def options(self) -> dict[str, Any]:
        """What it was made with, as plain values."""
        return {"capacity": self.capacity, "shared": self.shared}

    def ready(self, least: int) -> bool:
        """True when `least` transitions are there, or as many as there is room for."""
        return len(self) >= min(least, self.capacity)

    def clear(self) -> None:
        """Forget everything; the memory stays allocated."""
        self.length[:] = 0
        self.cursor[:] = 0

    def add(self, transition: Transition) -> int:
        """Store the valid rows of a transition with leading shape [P, E] or [B].

        Returns:
            the number of rows stored.

        Raises:
            ValueError: the fields' shapes differ from those stored before.
        """
        reward = np.asarray(transition.reward)
        leading = reward.ndim
        agents = reward.shape[0] if leading == 2 else 1
        valid = getattr(transition, "valid", None)
        valid = None if valid is None or np.all(valid) else np.asarray(valid)
        if not self.fields:
            self._allocate(transition, leading, agents)
        rows = {name: getattr(transition, name) for name in DRAWN}
        if self.pools == 1:
            stored = self._write(0, rows, leading, valid)
        elif leading != 2 or agents != self.pools:
            raise ValueError(
                f"this buffer keeps {self.pools} agents apart; transitions of shape [{self.pools}, E] "
                f"are expected, reward has shape {reward.shape}."
            )
        else:
            stored = 0
            for pool in range(self.pools):
                own = {name: map_leaves(lambda leaf, p=pool: leaf[p], value) for name, value in rows.items()}
                stored += self._write(pool, own, 1, None if valid is None else valid[pool])
        self.added += stored
        return stored

    def _allocate(self, transition: Transition, leading: int, agents: int) -> None:
        self.place_on(torch.device("cpu"))
        self.pools = 1 if self.shared else agents
        self.length = np.zeros(self.pools, dtype=np.int64)
        self.cursor = np.zeros(self.pools, dtype=np.int64)

        device = self.device or torch.device("cpu")

        def row(leaf: ArrayLike) -> Tensor:
            like = torch.as_tensor(leaf)
            dtype = torch.float32 if like.dtype == torch.float64 else like.dtype
            return torch.empty(like.shape[leading:], dtype=dtype, device="meta")

        rows = {name: map_leaves(row, getattr(transition, name)) for name in DRAWN}
        count = self.pools * self.capacity
        each = sum(leaf.numel() * leaf.element_size() for leaf in leaves(rows))
        announce(f"ReplayBuffer({self.capacity})", each * count, device)
        self.fields = {
            name: map_leaves(lambda leaf: room((count, *leaf.shape), leaf.dtype, device), value)
            for name, value in rows.items()
        }
        self.device = self.example.device

    def _write(self, pool: int, rows: dict[str, Any], leading: int, keep: np.ndarray | None) -> int:
        mask = None if keep is None else torch.as_tensor(keep.reshape(-1))
        count = int(mask.sum()) if mask is not None else int(np.prod(np.shape(rows["reward"])))
        if count == 0:
            return 0
        self.fields.pop("episode", None)  # a data set's; rows that are overwritten belong to no episode of it
        start = int(self.cursor[pool])
        skip = max(0, count - self.capacity)
        first = min(count - skip, self.capacity - start)
        base = pool * self.capacity
        pending: list[tuple[Tensor, Tensor]] = []  # written once every field is known to fit

        def write(store: Tensor, leaf: ArrayLike) -> None:
            piece = torch.as_tensor(leaf)
            if piece.shape[leading:] != store.shape[1:]:
                raise ValueError(
                    f"a transition's field has shape {tuple(piece.shape)}; this buffer holds rows of shape "
                    f"{tuple(store.shape[1:])}. Use a fresh ReplayBuffer for another environment."
                )
            piece = piece.reshape(-1, *store.shape[1:])
            if mask is not None:
                piece = piece[mask.to(piece.device)]
            pending.append((store, piece[skip:]))

        for name in DRAWN:
            map_leaves(write, self.fields[name], rows[name])
        for store, piece in pending:
            store[base + start : base + start + first] = piece[:first]
            if first < count - skip:
                store[base : base + count - skip - first] = piece[first:]
        self.cursor[pool] = (start + count - skip) % self.capacity
        self.length[pool] = min(self.length[pool] + count, self.capacity)
        return count

    def batches(
        self, rows: slice, size: int, updates: int, generator: torch.Generator
    ) -> Iterator[Batch | Episodes]:
        """Transitions drawn with replacement, for `AT_ONCE` updates together: [U, P, B, ...]."""
        for done in range(0, updates, AT_ONCE):
            yield self.samples(rows, size, min(AT_ONCE, updates - done), generator)

    def sample(self, rows: slice, size: int, generator: torch.Generator) -> Batch | Episodes:
        """`size` transitions for each agent of `rows`, drawn with replacement.

        Args:
            rows: of the population; only their number matters where the pool is shared.
            size: B, samples per agent.
            generator: of the draw.

        Raises:
            ValueError: the buffer is empty.
        """
        return next(self.samples(rows, size, 1, generator).apart())

    def samples(self, rows: slice, size: int, updates: int, generator: torch.Generator) -> Batch:
        """As `sample`, for several updates at once, [U, P, B, ...]: one gather per field serves them all."""
        count = rows.stop - rows.start
        if len(self) == 0:
            raise ValueError(
                "the replay buffer is empty. Call exp.fill(1_000), or buffer.add(transition) first."
            )
        if self.pools == 1:
            index = self._draw(0, updates * count * size, generator)
        else:
            parts = [
                self._draw(pool, updates * size, generator).view(updates, 1, size) + pool * self.capacity
                for pool in range(rows.start, rows.stop)
            ]
            index = torch.cat(parts, 1).flatten()

        def take(store: Tensor) -> Tensor:
            return store.index_select(0, index).unflatten(0, (updates, count, size))

        return Batch(**{name: map_leaves(take, self.fields[name]) for name in DRAWN})

    @property
    def recordable(self) -> bool:  # type: ignore[override]
        """True where `samples` may be recorded and replayed: transitions lie on a device that can."""
        usual = all(
            getattr(type(self), name) is getattr(ReplayBuffer, name)
            for name in ("batches", "samples", "_draw")
        )
        return usual and bool(self.fields) and graphs.possible(self.example.device)

    def recording_key(self) -> Hashable:
        """What a recorded draw is bound to: this buffer, where its fields lie, and their sizes."""
        where = graphs.addresses(self.fields), graphs.addresses([] if self.filled is None else [self.filled])
        return self._self, where, self.capacity, self.pools

    def tell_device(self) -> None:
        """Let the device know how much is stored: a recorded draw can't be told by a number."""
        if not np.array_equal(self._told, self.length):
            if self.filled is None or len(self.filled) != self.pools:
                self.filled = torch.zeros(self.pools, dtype=torch.int64, device=self.example.device)
            self._told = self.length.copy()
            self.filled.copy_(torch.from_numpy(self._told), non_blocking=True)

    def _draw(self, pool: int, count: int, generator: torch.Generator) -> Tensor:
        """[count] rows of a pool; drawn where the generator lives, which may be another device."""
        device = generator.device
        if self.recordable:
            self.tell_device()
        if self.filled is not None and device == self.filled.device:
            drawn = torch.randint(2**62, (count,), generator=generator, device=device)
            return drawn.remainder_(self.filled[pool])
        drawn = torch.randint(int(self.length[pool]), (count,), generator=generator, device=device)
        return drawn.to(self.device)

    def rows(self, index: Tensor) -> dict[str, Tree]:
        """The fields of given rows, [B, ...] each, counted from the storage's start."""
        index = index.to(self.device)
        return {
            name: map_leaves(lambda store: store.index_select(0, index), self.fields[name]) for name in DRAWN
        }

    def follow(self, parents: Sequence[int]) -> None:
        """Give every agent its parent's experience; nothing to do where all share one pool."""
        if self.pools == 1 or not self.fields:
            return
        rows = torch.as_tensor(list(parents), device=self.device)

        stored = int(self.length.max())  # what is behind them stays untouched: it takes no memory yet

        def moved(store: Tensor) -> Tensor:
            new = room(store.shape, store.dtype, store.device)
            old, its = (x.unflatten(0, (self.pools, self.capacity))[:, :stored] for x in (store, new))
            its.copy_(old[rows])
            return new

        self.fields = {name: map_leaves(moved, store) for name, store in self.fields.items()}
        self.length, self.cursor = self.length[list(parents)], self.cursor[list(parents)]

    @property
    def nbytes(self) -> int:
        """Memory that the fields take when it is full, in bytes."""
        return sum(leaf.numel() * leaf.element_size() for leaf in leaves(self.fields))

    def observations(self, count: int, generator: torch.Generator) -> Tree | None:
        """Up to `count` stored observations, [B, ...] leaves: what function changes are measured on."""
        if len(self) == 0:
            return None
        index = self._draw(0, min(count, int(self.length[0])), generator)
        return map_leaves(lambda store: store[index], self.fields["observation"])

    @property
    def example(self) -> Tensor:
        """The first stored leaf, for its dtype and device."""
        return first_leaf(self.fields)
