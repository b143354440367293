"""Replay: the population's experience in preallocated tensors, oldest overwritten first."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolab.core.experience import Batch
from evolab.core.trees import first_leaf, map_leaves
from evolab.networks.batching import cuda_graphs as graphs

FIELDS = ("observation", "action", "reward", "next_observation", "terminated")


class ReplayBuffer:
    """A ring of transitions that the whole population learns from.

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
        if isinstance(capacity, bool) or int(capacity) != capacity or capacity < 1:
            raise ValueError(
                f"ReplayBuffer: capacity is {capacity!r}; a whole number of at least 1 is expected."
            )
        self.capacity, self.shared = int(capacity), bool(shared)
        self.device = torch.device(device) if device is not None else None
        self.fields: dict[str, Any] = {}
        self.rings = 1
        self.length = np.zeros(1, dtype=np.int64)
        self.cursor = np.zeros(1, dtype=np.int64)
        self.added = 0
        self.filled: Tensor | None = None  # [rings], the lengths as recorded draws read them
        self._told = np.zeros(0, dtype=np.int64)
        self._self = object()  # told from every other buffer, also from one that lay at the same addresses

    def __len__(self) -> int:
        """Transitions that an agent can draw from; the least of all agents where they don't share."""
        return int(self.length.min())

    def __repr__(self) -> str:
        kind = "shared" if self.shared else f"own to each of {self.rings} agents"
        return f"ReplayBuffer({len(self)} of {self.capacity} transitions, {kind})"

    @property
    def options(self) -> dict[str, Any]:
        """What it was made with, as plain values."""
        return {"capacity": self.capacity, "shared": self.shared}

    def clear(self) -> None:
        """Forget everything; the memory stays allocated."""
        self.length[:] = 0
        self.cursor[:] = 0

    def add(self, transition: Any) -> int:
        """Store the valid rows of a transition with leading shape [P, E] or [B].

        Returns:
            the number of rows stored.

        Raises:
            ValueError: the fields' shapes differ from those stored before.
        """
        reward = np.asarray(transition.reward)
        valid = np.asarray(transition.valid) if getattr(transition, "valid", None) is not None else None
        leading = reward.ndim
        if valid is not None and valid.all():
            valid = None
        agents = reward.shape[0] if leading == 2 else 1
        if not self.fields:
            self._allocate(transition, leading, agents)
        stored = 0
        for ring in range(self.rings):
            rows = {name: getattr(transition, name) for name in FIELDS}
            keep = valid
            if self.rings > 1:
                if leading != 2 or agents != self.rings:
                    raise ValueError(
                        f"this buffer keeps {self.rings} agents apart; transitions of shape [{self.rings}, E] "
                        f"are expected, reward has shape {reward.shape}."
                    )
                rows = {name: map_leaves(lambda part, r=ring: part[r], value) for name, value in rows.items()}
                keep = valid[ring] if valid is not None else None
            stored += self._write(ring, rows, 1 if self.rings > 1 else leading, keep)
        self.added += stored
        return stored

    def _allocate(self, transition: Any, leading: int, agents: int) -> None:
        self.device = self.device or torch.device("cpu")
        self.rings = 1 if self.shared else agents
        self.length = np.zeros(self.rings, dtype=np.int64)
        self.cursor = np.zeros(self.rings, dtype=np.int64)

        def room(part: Any) -> Tensor:
            like = torch.as_tensor(part)
            dtype = torch.float32 if like.dtype == torch.float64 else like.dtype
            return torch.zeros(
                self.rings * self.capacity, *like.shape[leading:], dtype=dtype, device=self.device
            )

        self.fields = {name: map_leaves(room, getattr(transition, name)) for name in FIELDS}
        self.device = self.example.device

    def _write(self, ring: int, rows: dict[str, Any], leading: int, keep: np.ndarray | None) -> int:
        mask = None if keep is None else torch.as_tensor(keep.reshape(-1))
        count = int(mask.sum()) if mask is not None else int(np.prod(np.shape(rows["reward"])))
        if count == 0:
            return 0
        self.fields.pop("episode", None)  # a data set's; rows that are overwritten belong to no episode of it
        start = int(self.cursor[ring])
        skip = max(0, count - self.capacity)
        first = min(count - skip, self.capacity - start)
        base = ring * self.capacity
        pending: list[tuple[Tensor, Tensor]] = []  # written once every field is known to fit

        def write(store: Any, value: Any) -> None:
            if isinstance(store, dict):
                for key in store:
                    write(store[key], value[key])
            elif isinstance(store, tuple):
                for part, piece in zip(store, value, strict=True):
                    write(part, piece)
            else:
                piece = torch.as_tensor(value)
                if piece.shape[leading:] != store.shape[1:]:
                    raise ValueError(
                        f"a transition's field has shape {tuple(piece.shape)}; this buffer holds rows of shape "
                        f"{tuple(store.shape[1:])}. Use a fresh ReplayBuffer for another environment."
                    )
                piece = piece.reshape(-1, *store.shape[1:])
                if mask is not None:
                    piece = piece[mask.to(piece.device)]
                pending.append((store, piece[skip:]))

        for name in FIELDS:
            write(self.fields[name], rows[name])
        for store, piece in pending:
            store[base + start : base + start + first] = piece[:first]
            if first < count - skip:
                store[base : base + count - skip - first] = piece[first:]
        self.cursor[ring] = (start + count - skip) % self.capacity
        self.length[ring] = min(self.length[ring] + count, self.capacity)
        return count

    def sample(self, agents: slice, size: int, generator: torch.Generator) -> Batch:
        """`size` transitions for each agent of `agents`, drawn with replacement in one gather per field.

        Args:
            agents: rows of the population; only their number matters where the pool is shared.
            size: B, samples per agent.
            generator: of the draw.

        Raises:
            ValueError: the buffer is empty.
        """
        whole = self.samples(agents, size, 1, generator)
        return Batch(**{name: map_leaves(lambda x: x[0], getattr(whole, name)) for name in FIELDS})

    def samples(self, agents: slice, size: int, updates: int, generator: torch.Generator) -> Batch:
        """As `sample`, for several updates at once, [U, P, B, ...]: one gather per field serves them all."""
        count = agents.stop - agents.start
        if len(self) == 0:
            raise ValueError(
                "the replay buffer is empty. Call exp.fill(1_000), or buffer.add(transition) first."
            )
        if self.rings == 1:
            index = self._draw(0, updates * count * size, generator)
        else:
            parts = [
                self._draw(ring, updates * size, generator).view(updates, 1, size) + ring * self.capacity
                for ring in range(agents.start, agents.stop)
            ]
            index = torch.cat(parts, 1).flatten()

        def take(store: Tensor) -> Tensor:
            return store.index_select(0, index).unflatten(0, (updates, count, size))

        return Batch(**{name: map_leaves(take, self.fields[name]) for name in FIELDS})

    @property
    def recordable(self) -> bool:
        """True where `samples` may be recorded and replayed: transitions lie on a device that can."""
        usual = type(self).samples is ReplayBuffer.samples and type(self)._draw is ReplayBuffer._draw
        return usual and bool(self.fields) and graphs.possible(self.example.device)

    @property
    def place(self) -> Hashable:
        """What a recorded draw is bound to: this buffer, where its fields lie, and their sizes."""
        where = graphs.addresses(self.fields), graphs.addresses([] if self.filled is None else [self.filled])
        return self._self, where, self.capacity, self.rings

    def tell(self) -> None:
        """Let the device know how much is stored: a recorded draw can't be told by a number."""
        if not np.array_equal(self._told, self.length):
            if self.filled is None or len(self.filled) != self.rings:
                self.filled = torch.zeros(self.rings, dtype=torch.int64, device=self.example.device)
            self._told = self.length.copy()
            self.filled.copy_(torch.from_numpy(self._told), non_blocking=True)

    def _draw(self, ring: int, count: int, generator: torch.Generator) -> Tensor:
        """[count] places within a ring; drawn where the generator lives, which may be another device."""
        device = generator.device
        if self.recordable:
            self.tell()
        if self.filled is not None and device == self.filled.device:
            return torch.randint(2**62, (count,), generator=generator, device=device).remainder_(
                self.filled[ring]
            )
        drawn = torch.randint(int(self.length[ring]), (count,), generator=generator, device=device)
        return drawn.to(self.device)

    def rows(self, index: Tensor) -> dict[str, Any]:
        """The fields of given rows, [B, ...] each, counted from the storage's start."""
        index = index.to(self.device)
        return {
            name: map_leaves(lambda store: store.index_select(0, index), self.fields[name]) for name in FIELDS
        }

    def gather(self, parents: Sequence[int]) -> None:
        """Give every agent its parent's experience; nothing to do where all share one pool."""
        if self.rings == 1 or not self.fields:
            return
        rows = torch.as_tensor(list(parents), device=self.device)

        def follow(store: Tensor) -> Tensor:
            return store.unflatten(0, (self.rings, self.capacity))[rows].flatten(0, 1)

        self.fields = {name: map_leaves(follow, store) for name, store in self.fields.items()}
        self.length, self.cursor = self.length[list(parents)], self.cursor[list(parents)]

    @property
    def nbytes(self) -> int:
        """Memory of the stored fields, in bytes."""
        total = 0

        def count(store: Tensor) -> None:
            nonlocal total
            total += store.numel() * store.element_size()

        for store in self.fields.values():
            map_leaves(count, store)
        return total

    def observations(self, count: int, generator: torch.Generator) -> Any:
        """Up to `count` stored observations, [B, ...] leaves: what function changes are measured on."""
        size = min(count, int(self.length[0]))
        index = self._draw(0, size, generator)
        return map_leaves(lambda store: store[index], self.fields["observation"])

    @property
    def example(self) -> Any:
        """The first stored leaf, for its dtype and device."""
        return first_leaf(self.fields["observation"])
