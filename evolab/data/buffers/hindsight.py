"""Hindsight: transitions that are drawn with a goal which their episode reached later, in place of the one it was given.

What earns nothing for one goal earns something for another one. Samples are given other goals when they are drawn, so
that nothing is stored twice, and each agent has a share of its own.

Source: Andrychowicz et al. 2017, Hindsight Experience Replay (arXiv:1707.01495), with goals of the strategy "future".
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolab.core.experience import Batch
from evolab.core.goals import ACHIEVED, DESIRED, Goals
from evolab.core.machine_memory import zeros
from evolab.data.buffers.n_step import Met, Places
from evolab.data.buffers.ring_storage import Pools


class Futures:
    """Where the later transitions of each stored one's episode lie, once the episode is over.

    The rows of an episode stand side by side in `order`, in the order of time, whatever lies between them in the buffer.
    It has twice the buffer's room: of the episodes that ended after that of a stored transition no more rows can have been
    stored before it than there is room for, and no more after it.

    Args:
        pools: of the buffer.
        capacity: transitions of each.
        device: where they lie.

    Attributes:
        left: [pools * capacity], how many transitions of its episode there are from each on; 0 as long as the episode
            goes on.
        place: [pools * capacity], where in its pool's part of `order` each stands.
        order: [pools * 2 * capacity], rows of a pool.
    """

    def __init__(self, pools: int, capacity: int, device: torch.device) -> None:
        self.capacity = capacity
        self.left = zeros((pools * capacity,), torch.int32, device)
        self.place = zeros((pools * capacity,), torch.int32, device)
        self.order = zeros((2 * pools * capacity,), torch.int32, device)
        self._next = [0] * pools  # where the next episode is put
        self._written = np.full(pools, capacity, np.int64)  # rows so far, and some, so that none is below 0
        self._open: list[list[list[int]]] = [[] for _ in range(pools)]  # by pool and environment

    @classmethod
    def of(cls, buffer: Pools, onward: Tensor) -> Futures:
        """Those of what a buffer holds, whose episodes are all over.

        Args:
            buffer: with transitions.
            onward: [pools * allotted], rows from each transition on to the next one of its episode; 0 for none.
        """
        found = cls(buffer.pools, buffer.capacity, buffer.example.device)
        for pool, (length, cursor) in enumerate(zip(buffer.length, buffer.cursor, strict=True)):
            found._written[pool] += cursor
            rows = (int(cursor) - length + np.arange(length)) % buffer.capacity  # the oldest first
            step = onward[pool * buffer.allotted :][: buffer.allotted].cpu().numpy()[rows].astype(np.int64)
            last = np.arange(length) + step
            left = (step > 0).astype(np.int64)
            while (left[last] > 0).any():  # in a few rounds: each looks twice as far as the one before
                left, last = left + left[last], last[last]
            order = np.lexsort((-left, last))  # by episode, and in it by time
            found._put(pool, rows[order], left[order] + 1)
        return found

    def met(self, step: Met, places: Places) -> None:
        """Note a step that has just been written."""
        self._written += step.taken.sum(1)
        parts = zip(step.follows, step.taken, step.ended, strict=True)
        for pool, (follows, taken, ended) in enumerate(parts):
            environments, count = self._open[pool], int(taken.sum())
            if len(environments) != len(taken):
                self._end(pool)
                environments[:] = [[] for _ in taken]
            first = int(self._written[pool]) - count
            fresh = torch.arange(max(0, count - self.capacity), count) + first
            self.left[pool * self.capacity + (fresh % self.capacity).to(self.left.device)] = 0
            for number, at in enumerate(np.flatnonzero(taken).tolist(), start=first):
                if not follows[at]:
                    self._close(pool, environments[at])
                environments[at].append(number)
                if ended[at]:
                    self._close(pool, environments[at])

    def cut(self) -> None:
        """Nothing goes on."""
        for pool in range(len(self._open)):
            self._end(pool)

    def _end(self, pool: int) -> None:
        for numbers in self._open[pool]:
            self._close(pool, numbers)

    def _close(self, pool: int, numbers: list[int]) -> None:
        """An episode is over; its numbers are forgotten."""
        kept = np.array(numbers, np.int64)
        kept = kept[kept >= self._written[pool] - self.capacity]  # others were overwritten
        numbers.clear()
        self._put(pool, kept % self.capacity, np.arange(len(kept), 0, -1))

    def _put(self, pool: int, rows: np.ndarray, left: np.ndarray) -> None:
        at = (self._next[pool] + np.arange(len(rows))) % (2 * self.capacity)
        self._next[pool] = (self._next[pool] + len(rows)) % (2 * self.capacity)
        device, base = self.left.device, pool * self.capacity
        told = torch.from_numpy(base + rows).to(device)
        self.left[told] = torch.from_numpy(left.astype(np.int32)).to(device)
        self.place[told] = torch.from_numpy(at.astype(np.int32)).to(device)
        self.order[torch.from_numpy(2 * base + at).to(device)] = torch.from_numpy(rows.astype(np.int32)).to(
            device
        )

    def draw(self, index: Tensor, allotted: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Transitions of the same episodes, each one that comes later, or the same one, as likely as the others.

        Args:
            index: [...], rows of the buffer's storage.
            allotted: rows of it from one pool to the next.
            generator: of the draw.

        Returns:
            [...], such rows; and False where the episode goes on, so that there is none yet.
        """
        pool, row = index // allotted, index % allotted
        slot = pool * self.capacity + row
        left = self.left[slot].long()
        chance = torch.rand(index.shape, generator=generator, device=generator.device).to(index.device)
        ahead = torch.minimum((chance * left).long(), (left - 1).clamp(min=0))
        at = (self.place[slot] + ahead) % (2 * self.capacity)
        found = self.order[2 * pool * self.capacity + at].long() + pool * allotted
        return torch.where(left > 0, found, index), left > 0


class Relabelled:
    """Samples of which some have other goals than they were stored with.

    Args:
        buffer: that they are drawn from.
        goals: says what they earn.
        index: [U, P, B], their rows.
        aims: [U, P, B], rows whose outcomes become the goals.
        changed: [U, P, B], True where they do.
    """

    def __init__(self, buffer: Pools, goals: Goals, index: Tensor, aims: Tensor, changed: Tensor) -> None:
        self._buffer, self._goals, self._changed = buffer, goals, changed
        self._desired = buffer.part("next_observation", ACHIEVED, aims[changed])
        self._at: Tensor | None = None
        self._outcome: tuple[Tensor, Tensor] = index, index

    def outcome(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """Rewards and ends [U, P, B] of the transitions in the rows `at`, by the goals of the samples."""
        if at is not self._at:
            fields: Any = self._buffer.fields
            reward, terminated = fields["reward"][at], fields["terminated"][at]
            if len(self._desired):
                achieved = self._buffer.part("next_observation", ACHIEVED, at[self._changed])
                earned, over = self._goals.judge(achieved.cpu().numpy(), self._desired.cpu().numpy())
                reward[self._changed] = torch.from_numpy(earned).to(reward)
                if over is not None:
                    terminated[self._changed] = torch.from_numpy(over).to(terminated)
            self._at, self._outcome = at, (reward, terminated)
        return self._outcome

    def next_of(self, at: Tensor, following: Tensor) -> Tensor:
        """The rows `following`, but where an episode ends at `at` by the goal of the sample."""
        over = self._changed & self.outcome(at)[1].bool()
        return torch.where(over, at, following)

    def put(self, batch: Batch) -> None:
        """Put the goals into what was observed."""
        observed: list[Any] = [batch.observation, batch.next_observation]
        for seen in observed:
            seen[DESIRED][self._changed] = self._desired.to(seen[DESIRED].dtype)
