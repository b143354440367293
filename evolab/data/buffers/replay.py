"""Replay: batches drawn from the population's newest experience, by a kernel that may be recorded on CUDA."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolab.core.experience import DRAWN, Batch, Episodes
from evolab.core.sampling import Sampling
from evolab.core.trees import Tree, leaves
from evolab.data.buffers.base import AT_ONCE
from evolab.data.buffers.episode_storage import EpisodePools
from evolab.data.buffers.hindsight import Relabelled
from evolab.data.buffers.n_step import summed_ahead
from evolab.data.buffers.priorities import Priorities, weights
from evolab.data.buffers.replayed_sequences import ReplayedSteps, sequences_at, sequences_in
from evolab.networks.batching import cuda_graphs as graphs


class ReplayBuffer(EpisodePools):
    """The newest transitions, which the whole population learns from; the oldest are overwritten first.

    Args:
        capacity: most transitions kept, of each agent where `shared` is False.
        device: where they are kept; None for the population's device, decided at the first use.
        shared: one pool for everyone; False gives every agent its own.

    Raises:
        ValueError: a capacity below 1.

    >>> ReplayBuffer(1000)
    ReplayBuffer(0 of 1000 transitions, shared): exp.fill(1_000) fills it
    """

    def __init__(
        self, capacity: int = 100_000, device: str | torch.device | None = None, shared: bool = True
    ) -> None:
        super().__init__(capacity, device, shared)
        self.filled: Tensor | None = None  # [pools], the lengths as recorded draws read them
        self._told = np.zeros(0, dtype=np.int64)
        self._self = object()  # told from every other buffer, also from one that lay at the same addresses

    def __repr__(self) -> str:
        kind = "shared" if self.shared else f"own to each of {self.pools} agents"
        calls = "population.learn(buffer), exp.run()" if len(self) else "exp.fill(1_000) fills it"
        return f"ReplayBuffer({len(self)} of {self.capacity} transitions, {kind}): {calls}"

    @property
    def options(self) -> dict[str, Any]:
        """What it was made with, as plain values."""
        return {"capacity": self.capacity, "shared": self.shared}

    def ready(self, least: int) -> bool:
        """True when `least` transitions are there, or as many as there is room for."""
        return len(self) >= min(least, self.capacity)

    def batches(
        self,
        rows: slice,
        size: int,
        updates: int,
        generator: torch.Generator,
        how: Sampling | None = None,
    ) -> Iterator[Batch | Episodes]:
        """Transitions drawn with replacement, for `AT_ONCE` updates together: [U, P, B, ...].

        By priorities they are drawn for one update after another, [P, B, ...], since each changes them.
        """
        if how is not None and how.priority is not None:
            yield from self._by_priority(rows, size, updates, generator, how)
            return
        if how is not None and how.sequences is not None:
            yield from self._sequences(rows, size, updates, generator, how)
            return
        for done in range(0, updates, AT_ONCE):
            asked = rows, size, min(AT_ONCE, updates - done), generator
            # Whoever overrides `samples` need not know of other ways to draw, which few ask for.
            yield self.samples(*asked) if how is None else self.samples(*asked, how)

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

    def samples(
        self,
        rows: slice,
        size: int,
        updates: int,
        generator: torch.Generator,
        how: Sampling | None = None,
    ) -> Batch:
        """As `sample`, for several updates at once, [U, P, B, ...]: one gather per field serves them all.

        With a look ahead a sample is a transition and those that follow it: their discounted rewards in one, and
        the end of the last. It is shorter where an episode ends, or where no more of it is stored. With hindsight some
        samples have a goal that their episode reached at the end of a later transition, or of their own.

        Raises:
            ValueError: there is nothing, or hindsight is asked for of what has no goals.
        """
        index = self._places(rows, size, updates, generator)
        if how is None:
            return Batch(**self.taken(index.flatten(), (*DRAWN, *self.masks), tuple(index.shape)))
        return self._sampled(index, how, generator)

    def _places(self, rows: slice, size: int, updates: int, generator: torch.Generator) -> Tensor:
        """[U, P, B], rows that were drawn evenly."""
        self._refuse_empty()
        if self.pools == 1:
            count = rows.stop - rows.start
            return self._draw(0, updates * count * size, generator).view(updates, count, size)
        parts = [
            self._draw(pool, updates * size, generator).view(updates, 1, size) + pool * self.allotted
            for pool in range(rows.start, rows.stop)
        ]
        return torch.cat(parts, 1)

    def _sequences(
        self, rows: slice, size: int, updates: int, generator: torch.Generator, how: Sampling
    ) -> Iterator[ReplayedSteps]:
        """Sequences for one update after another, of so many steps in all."""
        for done in range(0, updates, AT_ONCE):
            some = min(AT_ONCE, updates - done)
            at = self._places(rows, sequences_in(size, how), some, generator)
            yield from sequences_at(self, at, how, generator)

    def _by_priority(
        self, rows: slice, size: int, updates: int, generator: torch.Generator, how: Sampling
    ) -> Iterator[Batch]:
        """Samples for one update after another; what it tells of its errors is taken over before the next."""
        assert how.priority is not None
        assert how.importance is not None
        self._refuse_empty()
        if self.priorities is None:
            self.priorities = Priorities(self.capacity, self.example.device)
        self.priorities.be_of(rows.stop, self.stored_places())
        apart = torch.arange(rows.start, rows.stop, device=self.example.device) * self.allotted
        stored = torch.from_numpy(self.length.astype(np.float64))  # [pools]
        stored = (stored if self.pools == 1 else stored[rows]).view(-1, 1)
        for _ in range(updates):
            place, chance = self.priorities.draw(rows, sequences_in(size, how), how.priority, generator)
            at = place if self.pools == 1 else place + apart[:, None]
            if how.sequences is None:
                batch = next(self._sampled(at.unsqueeze(0), how, generator).apart())
            else:
                batch = next(sequences_at(self, at.unsqueeze(0), how, generator))
                place = batch.rows if self.pools == 1 else batch.rows - apart[:, None]
            batch.weight = weights(chance, stored.to(chance.device), how.importance)
            batch.error = torch.full(place.shape, -1.0, dtype=batch.reward.dtype, device=place.device)
            yield batch
            self.priorities.learn(rows, place, batch.told)

    def take_diverged(self) -> list[int]:
        """Rows of agents whose errors were no finite numbers since this was asked last."""
        return [] if self.priorities is None else self.priorities.take_lost()

    def _refuse_empty(self) -> None:
        if len(self) == 0:
            raise ValueError(
                "the replay buffer is empty. Call exp.fill(1_000), or buffer.add(transition) first."
            )

    def _sampled(self, at: Tensor, how: Sampling, generator: torch.Generator) -> Batch:
        """The samples that begin in the rows `at` [U, P, B]."""
        index, shape, masks = at.flatten(), tuple(at.shape), self.masks
        aimed = None if how.hindsight is None else self._relabelled(at, how.hindsight, generator)
        if how.lookahead is None:
            batch = Batch(**self.taken(index, (*DRAWN, *masks), shape))
            if aimed is not None:
                batch.reward, batch.terminated = aimed.outcome(at)
        else:
            store: Any = self.fields["reward"]
            if aimed is None:
                walk = summed_ahead(at, how.lookahead, lambda rows: store[rows], self.next_of)
            else:
                walk = summed_ahead(
                    at,
                    how.lookahead,
                    lambda rows: aimed.outcome(rows)[0],
                    lambda rows: aimed.next_of(rows, self.next_of(rows)),
                )
            last, reward, discount = walk
            begun = self.taken(index, ("observation", "action"), shape)
            ended = self.taken(last.flatten(), ("next_observation", "terminated", *masks), shape)
            batch = Batch(**begun, **ended, reward=reward, discount=discount)
            if aimed is not None:
                batch.terminated = aimed.outcome(last)[1]
        if aimed is not None:
            aimed.put(batch)
        return batch

    def _relabelled(self, at: Tensor, share: Tensor, generator: torch.Generator) -> Relabelled:
        """The same samples, of which these shares [P] have goals that were reached."""
        if self.goals is None:
            raise ValueError(
                "hindsight is above 0, and nothing that is stored says what other goals would have earned. It needs steps "
                "of an environment with goals: Dict observations with 'achieved_goal' and 'desired_goal', and a method "
                "compute_reward(achieved_goal, desired_goal, info)."
            )
        device = generator.device
        coin = torch.rand(at.shape, generator=generator, device=device).to(at.device)
        aims, known = self.know_futures().draw(at, self.allotted, generator)
        changed = known & (coin < share.to(at.device)[:, None])
        return Relabelled(self, self.goals, at, aims, changed)

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
        parts = [frames.stored for frames in leaves(self.frames) if frames is not None]
        lengths = [] if self.filled is None else [self.filled]
        sizes = (
            self.capacity,
            self.pools,
            self.allotted,
            *map(len, parts),
        )  # what has grown may lie where it lay before
        return self._self, graphs.addresses([self.fields, parts, lengths]), sizes

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

    def observations(self, count: int, generator: torch.Generator) -> Tree | None:
        """Up to `count` stored observations, [B, ...] leaves: what function changes are measured on."""
        if len(self) == 0:
            return None
        index = self._draw(0, min(count, int(self.length[0])), generator)
        return self.taken(index, ("observation",), (len(index),))["observation"]
