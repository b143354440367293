"""Pools of transitions that know which of them follow which: what looks ahead, hindsight and priorities stand on.

How batches are drawn from them is `data.buffers.replay`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evolab.core.experience import DRAWN, Transition
from evolab.core.goals import Goals
from evolab.core.machine_memory import room, zeros
from evolab.core.trees import map_named_leaves, named_leaves
from evolab.data.buffers.hindsight import Futures
from evolab.data.buffers.n_step import ONWARD, Following, Places, Preceding
from evolab.data.buffers.priorities import Priorities
from evolab.data.buffers.ring_storage import Pools

MASK = "next_action_mask"
"""The field of what successors permit, where environments say so."""

REMEMBERED, OWNER = "remembered", "remembered_by"
"""Fields of what agents remembered before each step, and of whose that is; see `Transition`."""


Stored = TypeVar("Stored", bound="EpisodePools")


class EpisodePools(Pools):
    """Transitions in the order of their episodes.

    Attributes:
        goals: what the environment says that other goals earn; None where it has none.
        futures: where later transitions of an episode lie; None without goals.
        priorities: of what is stored; None until somebody draws by them.
    """

    def __init__(self, capacity: int, device: str | torch.device | None, shared: bool) -> None:
        super().__init__(capacity, device, shared)
        self._following = Following()
        self.goals: Goals | None = None
        self.futures: Futures | None = None
        self.priorities: Priorities | None = None
        self._preceding: Preceding | None = None  # until somebody looks back

    def add(self, transition: Transition) -> int:
        """Store the valid rows of a transition; see `Pools.add`."""
        transition = Transition.of(transition)
        self.hear_of(transition.goals)
        if self.goals is not None and self.fields:
            self.know_futures()
        stored = super().add(transition)
        if not stored:
            self._cut()
            return 0
        usual = self.goals is None and self.futures is None and self._preceding is None
        if usual and self._following.went_on(transition, self.onward, int(self.cursor[0])):
            return stored
        places = Places(self.cursor, self.length, self.capacity, self.allotted)
        step = self._following.met(transition, self.onward, places)
        if self.goals is not None and self.futures is None:
            self.futures = Futures(self.pools, self.capacity, self.example.device)
        if self.futures is not None:
            self.futures.met(step, places)
        if self._preceding is not None and len(self._preceding.back) == len(self.example):
            self._preceding.met(step, places)
        return stored

    def hear_of(self, goals: Goals | None) -> None:
        """Know what the environment says of goals; see `Buffer.hear_of`."""
        self.goals = goals or self.goals

    def know_futures(self) -> Futures:
        """Where later transitions lie; of what is stored all episodes are over where that was not known."""
        if self.futures is None:
            self.futures = Futures.of(self, self.onward)
        return self.futures

    def _write(self, pool: int, rows: dict[str, object], leading: int, keep: np.ndarray | None) -> int:
        start = int(self.cursor[pool])
        count = super()._write(pool, rows, leading, keep)
        if self.priorities is not None and count:
            owners = slice(None) if self.pools == 1 else slice(pool, pool + 1)
            skip = max(0, count - self.capacity)
            self.priorities.fresh(owners, start, count - skip)
        return count

    def _cut(self) -> None:
        """Nothing that is stored goes on."""
        self._following.cut()
        if self.futures is not None:
            self.futures.cut()

    def clear(self) -> None:
        """Forget everything; see `Pools.clear`."""
        super().clear()
        self.futures = self.priorities = self._preceding = None

    def fields_of(self, transition: Transition) -> dict[str, Any]:
        """What is stored of a transition: masks of successors from the first on that has some; all is permitted before."""
        rows, mask = super().fields_of(transition), transition.next_action_mask
        if mask is None and MASK in self.fields:
            size = self.fields[MASK].shape[1]  # type: ignore[union-attr]
            mask = np.ones((*np.shape(transition.reward), size), dtype=bool)
        elif mask is not None and self.fields:
            self.field(MASK, np.shape(mask)[-1:], torch.bool, True)
        rows |= self._remembered(transition)
        return rows if mask is None else {**rows, MASK: mask}

    def _remembered(self, transition: Transition) -> dict[str, Any]:
        """What agents remembered, as the store has it: as wide as the widest so far; nothing where nobody ever told."""
        memory, owner = transition.remembered, transition.remembered_by
        if memory is None and REMEMBERED not in self.fields:
            return {}
        lead = np.shape(transition.reward)
        if memory is None:
            shape = self.fields[REMEMBERED].shape[1:]  # type: ignore[union-attr]
            return {
                REMEMBERED: np.zeros((*lead, *shape), np.float32),
                OWNER: np.full((*lead, 2), -1, np.int64),
            }
        if self.fields:
            cells, units = np.shape(memory)[-2:]
            store = self.field(REMEMBERED, (cells, units), torch.float32, 0)
            self.field(OWNER, (2,), torch.int64, -1)
            missing = units - store.shape[-1]
            if missing > 0:
                wider = zeros((*store.shape[:-1], units), store.dtype, store.device)
                stored = int(self.length.max())
                old, its = (x.unflatten(0, (self.pools, -1))[:, :stored] for x in (store, wider))
                its[..., :-missing] = old
                self.fields[REMEMBERED] = wider
            elif missing < 0:
                memory = F.pad(torch.as_tensor(memory), (0, -missing))
                memory = memory.numpy() if memory.is_cpu else memory
        return {REMEMBERED: memory, OWNER: owner}

    def field(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, value: int) -> Tensor:
        """A field that may be missing: in rows that were stored without it, it has this value."""
        if name not in self.fields:
            store = room((len(self.example), *shape), dtype, self.example.device)
            store.unflatten(0, (self.pools, -1))[:, : int(self.length.max())] = value
            self.fields[name], self.frames[name] = store, None
        return self.fields[name]  # type: ignore[return-value]

    def link(self, rows: Tensor, distance: Tensor) -> None:
        """Tell rows how many rows on the next transitions of their episodes lie."""
        if len(rows):
            self._preceding = None
            self.onward[rows.to(self.device)] = distance.to(self.device, torch.int32)

    @property
    def onward(self) -> Tensor:
        """[pools * allotted], rows from each transition on to the next one of its episode; 0 for none."""
        # A folder that was written before this was kept has none.
        return self.field(ONWARD, (), torch.int32, 0)

    def next_of(self, index: Tensor) -> Tensor:
        """The rows that follow rows; the same row where none does."""
        onward = self.onward.index_select(0, index.flatten()).view(index.shape)
        base = 0 if self.pools == 1 else index - index % self.allotted
        return base + (index - base + onward) % self.allotted

    def previous_of(self, index: Tensor) -> Tensor:
        """The rows that rows go on with; the same row where there is none, or where it was overwritten."""
        if self._preceding is None or len(self._preceding.back) != len(self.example):
            self._preceding = Preceding.of(self.onward, self.allotted)
        back = self._preceding.back.index_select(0, index.flatten()).view(index.shape)
        base = 0 if self.pools == 1 else index - index % self.allotted
        found = base + (index - base - back) % self.allotted
        onward = self.onward.index_select(0, found.flatten()).view(index.shape)
        return torch.where((back > 0) & (onward == back), found, index)

    def newest(self, count: int) -> dict[str, Tensor]:
        """The newest transitions of a pool that all share, oldest first, by the paths of their leaves; for `take_in`."""
        count = min(count, len(self))
        if count == 0:
            return {}
        index = (int(self.cursor[0]) - count + torch.arange(count)) % self.capacity
        names = (*DRAWN, *self.masks, *((ONWARD,) if REMEMBERED in self.fields else ()))
        rows = self.taken(index.to(self.device), names, (count,))
        return {path: leaf.cpu() for name, tree in rows.items() for path, leaf in named_leaves(tree, name)}

    def take_in(self, rows: Mapping[str, Tensor]) -> None:
        """Store transitions of another buffer, as its `newest` gave them; nothing that is stored goes on with them.

        Raises:
            ValueError: they are of another form.
        """
        missing = [
            path
            for name in DRAWN
            for path, _ in named_leaves(self.fields.get(name, ()), name)
            if path not in rows
        ]
        if not self.fields or missing:
            raise ValueError(f"these transitions are of another environment: they lack {', '.join(missing)}.")
        given = {
            name: map_named_leaves(lambda path, _: rows[path], self.fields[name], name) for name in DRAWN
        }
        mask = {MASK: rows[MASK]} if MASK in rows else {}
        transitions: Any = SimpleNamespace(**given, **mask)
        count = super().add(transitions)
        count = min(count, self.capacity)
        if ONWARD in self.fields or ONWARD in rows:
            place = torch.arange(count)
            index = (int(self.cursor[0]) - count + place) % self.capacity
            # Sequences are of whole stretches; whose memory has been handed on is of use to nobody here.
            onward = rows.get(ONWARD, torch.zeros(count, dtype=torch.int32))[-count:]
            self.onward[index.to(self.device)] = torch.where(place + onward < count, onward, 0).to(
                self.device
            )
        self._following.cut()
        self.futures = self._preceding = None

    def begin_generation(self) -> None:
        """Environments are started anew: what comes next follows nothing that is stored."""
        self._cut()

    def follow(self, parents: Sequence[int]) -> None:
        """Give every agent its parent's experience; see `Pools.follow`."""
        self._cut()
        super().follow(parents)
        if self.pools > 1:
            self.futures = self._preceding = None
        if self.priorities is not None:
            self.priorities.be_of(max(parents) + 1, self.stored_places())
            self.priorities.follow(parents)

    def restore_priorities(self, tensors: Mapping[str, Tensor]) -> None:
        """Take those of a buffer that was saved.

        Raises:
            ValueError: they do not fit what is stored.
        """
        self.priorities = Priorities(self.capacity, self.example.device)
        self.priorities.restore(tensors, self.stored_places())

    def marked(self: Stored) -> Stored:
        """The transitions that are there now: nothing is copied, and what is added later is not among them."""
        buffer = copy.copy(self)
        buffer.length, buffer.cursor = self.length.copy(), self.cursor.copy()
        if self.priorities is not None:
            buffer.priorities = self.priorities.kept()
        return buffer

    def without_oldest(self: Stored, lost: np.ndarray) -> Stored:
        """The same without the oldest, [pools] so many, which were overwritten since."""
        buffer = copy.copy(self)
        buffer.length = self.length - lost
        return buffer

    def stored_places(self) -> list[Tensor]:
        """Where transitions lie in each pool, the oldest first."""
        return [
            torch.from_numpy((int(cursor) - length + np.arange(length)) % self.capacity)
            for length, cursor in zip(self.length, self.cursor, strict=True)
        ]

    @property
    def masks(self) -> tuple[str, ...]:
        """The fields of masks, where there are some."""
        return (MASK,) if MASK in self.fields else ()
