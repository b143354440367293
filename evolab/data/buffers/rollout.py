"""Rollouts: the newest steps of every agent, for those that learn from their own policy alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from evolab.core.device import device_named
from evolab.core.experience import DRAWN, Batch, Transition
from evolab.core.machine_memory import announce, room
from evolab.core.sampling import Sampling
from evolab.core.trees import Tree, leaves, map_leaves
from evolab.data.buffers.base import Buffer, Settled, as_kept
from evolab.data.buffers.frames import Frames, frames_for

FIELDS = (*DRAWN, "truncated", "valid")

MASK = "action_mask"
"""The field of what was permitted, where environments say so."""


@dataclass
class RolloutSteps(Batch):
    """Consecutive steps of some agents; B is T * E, the environments of a step side by side.

    Attributes:
        ended: [P, B], True where the next step belongs to another episode.
        valid: [P, B], False where the step is no transition (a fault of the environment): it counts for nothing.
        num_envs: E.
    """

    ended: Tensor = None  # type: ignore[assignment]  # a dataclass wants defaults behind defaults
    valid: Tensor = None  # type: ignore[assignment]
    num_envs: int = 1

    @property
    def own(self) -> Tensor:
        """[P, B], True where a step is a transition: an agent learns from all of its rollout."""
        return self.valid

    @property
    def broken(self) -> Tensor:
        """[P, B], True where the next step begins an episode: this one ended, or was no transition."""
        return self.ended.bool() | ~self.valid.bool()


class RolloutBuffer(Buffer):
    """The last steps of every agent, `horizon` at most, kept apart: [T, P, E, ...].

    `population.learn(buffer)` does nothing until the horizon is full, then learns from all of it
    and empties it. What depends on the acting policy (log-probabilities and values) is worked out
    in one pass at that moment: no parameter has moved since the first step. What an experiment's
    generation leaves in it is learned from if it fills the smallest minibatch of an agent, or if
    there was nothing else to learn from in that generation, and dropped if not.

    Args:
        horizon: T, steps in every environment between two rounds of learning.
        device: where they are kept; None for the population's device, decided at the first use.

    Raises:
        ValueError: a horizon below 1.

    >>> RolloutBuffer(128)
    RolloutBuffer(0 of 128 steps): buffer.add(envs.step(action)) fills it
    """

    on_policy: ClassVar[bool] = True
    shared = False

    horizon = Settled()

    def __init__(self, horizon: int = 256, device: str | torch.device | None = None) -> None:
        self.horizon = horizon
        self.least_steps = self.horizon
        self.device = device_named(device) if device is not None else None
        self.fields: dict[str, Any] = {}  # [T, P, E, ...] leaves; places of its parts where it is stored once
        self.frames: dict[str, Any] = {}  # of the same form; None for every leaf that is kept as it is
        self.steps = 0
        self.written = 0
        self.finished = False
        self.shape = (0, 0)

    def __len__(self) -> int:
        """Transitions of each agent that are there to learn from."""
        return self.steps * self.shape[1]

    def __repr__(self) -> str:
        calls = "population.learn(buffer)" if self.full else "buffer.add(envs.step(action)) fills it"
        return f"RolloutBuffer({self.steps} of {self.horizon} steps): {calls}"

    @property
    def full(self) -> bool:
        """True when it is time to learn."""
        return self.steps == self.horizon or (self.finished and self.steps > 0)

    @property
    def options(self) -> dict[str, Any]:
        """What it was made with, as plain values."""
        return {"horizon": self.horizon}

    def clear(self) -> None:
        """Forget everything; the memory stays allocated."""
        self.steps = self.written = 0
        self.finished = False
        for frames in self._shared:
            frames.count_anew([])

    def consumed(self) -> None:
        """Start a new rollout if this one was full; `observations` still draws from the old one."""
        if self.full:
            self._drop()

    def _drop(self) -> None:
        self.steps, self.finished = 0, False

    def ready(self, least: int) -> bool:
        """True when it is full: a rollout is learned from as a whole."""
        return self.full

    def require(self, least: int, own_steps: Sequence[float]) -> None:
        """Raise where the steps are those of other agents; before it is full there is nothing to learn yet.

        Raises:
            ValueError: they are.
        """
        if not self.full:
            return
        if self.shape[0] != len(own_steps):
            raise ValueError(
                f"the rollout is of {self.shape[0]} agents; the population has {len(own_steps)}. Use one for each."
            )
        if min(own_steps) < len(self):
            raise ValueError(
                f"the rollout holds steps of agents that have been replaced: {len(self)} of each, of which "
                f"today's took {min(own_steps)}. Pass buffer= to ev.evolve, or call buffer.clear() after it."
            )

    def begin_generation(self) -> None:
        """Forget what a generation that failed has left."""
        self.clear()

    def end_generation(self, least: int) -> None:
        """Be full as it is, or drop what there is where that is fewer than `least` transitions of each agent."""
        self.finished = True
        if len(self) < least:
            self._drop()

    def follow(self, parents: Sequence[int]) -> None:
        """Drop the steps: after a change of generation no agent has the policy that took them."""
        self._drop()

    def add(self, transition: Transition) -> int:
        """Store one step of all environments, [P, E].

        Returns:
            the number of transitions stored.

        Raises:
            ValueError: it is full, or the shapes differ from those stored before.
        """
        transition = Transition.of(transition)
        shape = tuple(np.shape(transition.reward))
        if self.full:
            raise ValueError(
                f"the rollout is full ({self.steps} steps): call population.learn(buffer) before the next step, "
                f"or buffer.clear()."
            )
        if len(shape) != 2 or (self.fields and shape != self.shape):
            expected = f"{list(self.shape)}" if self.fields else "[P, E]"
            raise ValueError(
                f"a rollout keeps agents apart: transitions of shape {expected} are expected, reward has shape "
                f"{shape}. Use a fresh RolloutBuffer for other environments."
            )
        rows = {name: map_leaves(as_kept, getattr(transition, name)) for name in FIELDS}
        mask = transition.action_mask
        if mask is not None:
            rows[MASK] = as_kept(mask)
        if not self.fields:
            self._allot(shape, rows)
        if rows.keys() != self.fields.keys():
            raise ValueError(
                "some steps have an action_mask and others have none. Use a fresh RolloutBuffer for another environment."
            )
        for name, row in rows.items():  # nothing is written before every field is known to fit
            map_leaves(self._fits, self.fields[name], self.frames[name], row)
        for name, row in rows.items():
            map_leaves(self._put, self.fields[name], self.frames[name], row)
        self.steps += 1
        self.written = max(self.written, self.steps)
        return shape[0] * shape[1]

    def _allot(self, shape: tuple[int, ...], like: Mapping[str, Tree]) -> None:
        """Room for steps like this one, [P, E, ...] leaves."""
        self.place_on(torch.device("cpu"))
        device = self.device or torch.device("cpu")

        def kept(leaf: Tensor, following: Tensor) -> Frames | None:
            return frames_for(leaf.flatten(0, 1), following.flatten(0, 1), device)

        def empty(leaf: Tensor, frames: Frames | None) -> Tensor:
            if frames is None:
                return room((self.horizon, *leaf.shape), leaf.dtype, device)
            return room((self.horizon, *shape, frames.count), torch.int32, device)

        shared = map_leaves(kept, like["observation"], like["next_observation"])
        self.frames = {name: map_leaves(lambda leaf: None, value) for name, value in like.items()}
        self.frames |= {"observation": shared, "next_observation": shared}
        self.fields = {name: map_leaves(empty, value, self.frames[name]) for name, value in like.items()}
        self.shape = (shape[0], shape[1])
        announce(f"RolloutBuffer({self.horizon})", self.nbytes, device)

    def _fits(self, store: Tensor, frames: Frames | None, piece: Tensor) -> None:
        expected = tuple(store.shape[1:] if frames is None else (*self.shape, *frames.shape))
        if tuple(piece.shape) != expected:
            raise ValueError(
                f"a transition's field has shape {tuple(piece.shape)}; this rollout holds {expected}. "
                f"Use a fresh RolloutBuffer for another environment."
            )

    def _put(self, store: Tensor, frames: Frames | None, piece: Tensor) -> None:
        if frames is not None:
            piece = frames.put(piece.flatten(0, 1)).unflatten(0, self.shape)
            if self.steps < self.written:
                frames.drop(store[self.steps])
        store[self.steps] = piece

    @property
    def _shared(self) -> set[Frames]:
        return {frames for frames in leaves(self.frames) if frames is not None}

    def batches(
        self,
        rows: slice,
        size: int,
        updates: int,
        generator: torch.Generator,
        how: Sampling | None = None,
    ) -> Iterator[RolloutSteps]:
        """Everything that these agents did, once it is full; the algorithm makes minibatches of it."""
        if self.full:
            yield self.rollout(rows)

    def rollout(self, rows: slice) -> RolloutSteps:
        """The steps of some agents so far."""

        def of(store: Tensor, frames: Frames | None = None) -> Tensor:
            taken = store[: self.steps, rows].transpose(0, 1).flatten(1, 2)
            return taken if frames is None else frames.take(taken)

        ended = self.fields["terminated"].bool() | self.fields["truncated"].bool()
        return RolloutSteps(
            **{name: map_leaves(of, self.fields[name], self.frames[name]) for name in DRAWN},
            action_mask=of(self.fields[MASK]) if MASK in self.fields else None,
            ended=of(ended),
            valid=of(self.fields["valid"]),
            num_envs=self.shape[1],
        )

    def observations(self, count: int, generator: torch.Generator) -> Tree | None:
        """Up to `count` observations of the newest steps of all agents, [B, ...] leaves; None before the first."""
        if not self.written:
            return None
        places = self.written * self.shape[0] * self.shape[1]
        drawn = torch.randint(places, (min(count, places),), generator=generator, device=generator.device)
        index = drawn.to(self.device)

        def some(store: Tensor, frames: Frames | None) -> Tensor:
            found = store.flatten(0, 2)[index]
            return found if frames is None else frames.take(found)

        return map_leaves(some, self.fields["observation"], self.frames["observation"])

    @property
    def nbytes(self) -> int:
        """Memory that it takes when it is full, in bytes, at as many frames a transition as there are now."""
        stored = max(1, self.written) * self.shape[0] * self.shape[1]
        size = sum(leaf.numel() * leaf.element_size() for leaf in leaves(self.fields))
        for frames in self._shared:
            share = len(frames) / stored if self.written else 1
            size += int(frames.part_bytes * share * self.horizon * self.shape[0] * self.shape[1])
        return size
