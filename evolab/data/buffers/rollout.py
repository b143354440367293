"""Rollouts: the newest steps of every agent, for those that learn from their own policy alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolab.algorithms.base import AgentGroup, Algorithm
from evolab.core.experience import Batch
from evolab.core.trees import map_leaves

FIELDS = ("observation", "action", "reward", "next_observation", "terminated", "truncated", "valid")


class RolloutBuffer:
    """The last steps of every agent, `horizon` at most, kept apart: [T, P, E, ...].

    `population.learn(buffer)` does nothing until the horizon is full, then learns from all of it
    and empties it. What depends on the acting policy (log-probabilities and values) is worked out
    in one pass at that moment: no parameter has moved since the first step. What an experiment's
    generation leaves in it is learned from if it fills every agent's minibatch, and dropped if not.

    Args:
        horizon: T, steps in every environment between two rounds of learning.
        device: where they are kept; None for the population's device, decided at the first use.

    Raises:
        ValueError: a horizon below 1.

    >>> RolloutBuffer(128)
    RolloutBuffer(0 of 128 steps)
    """

    def __init__(self, horizon: int = 256, device: str | torch.device | None = None) -> None:
        if isinstance(horizon, bool) or int(horizon) != horizon or horizon < 1:
            raise ValueError(
                f"RolloutBuffer: horizon is {horizon!r}; a whole number of at least 1 is expected."
            )
        self.horizon = int(horizon)
        self.device = torch.device(device) if device is not None else None
        self.fields: dict[str, Any] = {}
        self.steps = 0
        self.written = 0
        self.finished = False
        self.shape = (0, 0)

    def __len__(self) -> int:
        """Transitions of each agent that are there to learn from."""
        return self.steps * self.shape[1]

    def __repr__(self) -> str:
        return f"RolloutBuffer({self.steps} of {self.horizon} steps)"

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

    def consumed(self) -> None:
        """Start a new rollout if this one was full; `observations` still draws from the old one."""
        if self.full:
            self._drop()

    def _drop(self) -> None:
        self.steps, self.finished = 0, False

    def finish(self, least: int) -> None:
        """No further step will come, as at a generation's end: it is full as it is.

        Args:
            least: transitions of each agent that are worth learning from; fewer are dropped.
        """
        self.finished = True
        if len(self) < least:
            self._drop()

    def gather(self, parents: Sequence[int]) -> None:
        """Drop the steps: after a change of generation nobody has the policy that took them."""
        self._drop()

    def add(self, transition: Any) -> int:
        """Store one step of all environments, [P, E].

        Returns:
            the number of transitions stored.

        Raises:
            ValueError: it is full, or the shapes differ from those stored before.
        """
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
        if not self.fields:
            self.device = self.device or torch.device("cpu")
            self.shape = shape
            self.fields = {name: map_leaves(self._room, getattr(transition, name)) for name in FIELDS}
        for name in FIELDS:
            self._put(self.fields[name], getattr(transition, name))
        self.steps += 1
        self.written = max(self.written, self.steps)
        return shape[0] * shape[1]

    def _room(self, part: Any) -> Tensor:
        like = torch.as_tensor(part)
        return torch.zeros(self.horizon, *like.shape, dtype=like.dtype, device=self.device)

    def _put(self, store: Any, value: Any) -> None:
        if isinstance(store, dict):
            for key in store:
                self._put(store[key], value[key])
            return
        if isinstance(store, tuple):
            for part, piece in zip(store, value, strict=True):
                self._put(part, piece)
            return
        piece = torch.as_tensor(value)
        if piece.shape != store.shape[1:]:
            raise ValueError(
                f"a transition's field has shape {tuple(piece.shape)}; this rollout holds {tuple(store.shape[1:])}. "
                f"Use a fresh RolloutBuffer for another environment."
            )
        store[self.steps] = piece

    def taken(self, agents: slice) -> Batch:
        """Everything that these agents did: fields [C, T * E, ...], the environments of a step side by side."""
        names = ("observation", "action", "reward", "next_observation", "terminated")
        return Batch(**{name: map_leaves(lambda x: self._of(x, agents), self.fields[name]) for name in names})

    def _of(self, store: Tensor, agents: slice) -> Tensor:
        return store[: self.steps, agents].transpose(0, 1).flatten(1, 2)

    def batches(
        self, algorithm: Algorithm, group: AgentGroup, whole: Batch, generator: torch.Generator
    ) -> Iterator[Batch]:
        """Minibatches to learn from: each of `epochs` passes uses every step once, in an order of each agent's own.

        All minibatches of a pass are of one size, give or take one, and `batch_size` at most.

        Args:
            algorithm: judges the steps before the first minibatch.
            group: the agents.
            whole: all their steps, [C, T * E], as the algorithm sees them.
            generator: of the orders.
        """
        log_prob, value, next_value = algorithm.judge(group, whole)
        agents, hyper = group.rows, group.hyper
        epochs, size = int(group.settings[0]["epochs"]), int(group.settings[0]["batch_size"])
        ended = self._of(self.fields["terminated"].bool() | self.fields["truncated"].bool(), agents).to(value)
        valid = self._of(self.fields["valid"], agents).to(value)
        count, total = value.shape
        known = torch.stack([whole.reward, value, next_value, whole.terminated, ended, valid])
        reward, values, following, terminated, ends, counts = known.unflatten(2, (self.steps, self.shape[1]))
        advantage = advantages(
            reward, values, following, terminated, ends, counts, hyper["discount"], hyper["gae_lambda"]
        ).flatten(1)
        goal = advantage + value
        base = torch.arange(count, device=value.device).unsqueeze(1) * total
        for _ in range(epochs):
            drawn = torch.rand((count, total), generator=generator, device=generator.device)
            order = drawn.argsort(1).to(value.device)
            for part in order.tensor_split(-(-total // size), 1):
                index = (part + base).flatten()  # [C * B], rows of the flattened steps

                def take(x: Tensor, index: Tensor = index, length: int = part.shape[1]) -> Tensor:
                    return x.flatten(0, 1).index_select(0, index).unflatten(0, (count, length))

                counted = take(valid)
                yield Batch(
                    observation=map_leaves(take, whole.observation),
                    action=take(whole.action),
                    reward=take(whole.reward),
                    next_observation=None,  # the advantage knows all that follows
                    terminated=take(whole.terminated),
                    weight=counted / counted.sum(1, keepdim=True).clamp(min=1),
                    log_prob=take(log_prob),
                    advantage=take(advantage),
                    goal=take(goal),
                    grain=whole.grain,
                )

    def observations(self, count: int, generator: torch.Generator) -> Any:
        """Up to `count` observations of the newest steps of all agents, [B, ...] leaves; None before the first."""
        if not self.written:
            return None
        places = self.written * self.shape[0] * self.shape[1]
        drawn = torch.randint(places, (min(count, places),), generator=generator, device=generator.device)
        index = drawn.to(self.device)
        return map_leaves(lambda x: x.flatten(0, 2)[index], self.fields["observation"])

    @property
    def nbytes(self) -> int:
        """Memory of the stored fields, in bytes."""
        sizes: list[int] = []
        for store in self.fields.values():
            map_leaves(lambda x: sizes.append(x.numel() * x.element_size()), store)
        return sum(sizes)


def advantages(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    ended: Tensor,
    valid: Tensor,
    discount: Tensor,
    trace: Tensor,
) -> Tensor:
    """Generalised advantage estimates.

    `delta = reward + discount (1 - terminated) next_value - value`, summed over the rest of the
    episode with weights `(discount trace)^k`. Where an episode was truncated, and at the end of the
    rollout, `next_value` is that of the true successor, so both bootstrap; only the sum ends there.

    Args:
        reward: [C, T, E].
        value: [C, T, E], of what was acted on.
        next_value: [C, T, E], of what truly followed.
        terminated: [C, T, E], 1 where nothing follows.
        ended: [C, T, E], 1 where the next step belongs to another episode.
        valid: [C, T, E], 0 where the step is no transition (a fault of the environment): it counts for nothing.
        discount: [C].
        trace: [C], lambda.

    Returns:
        [C, T, E].

    Source: Schulman et al. 2016, High-Dimensional Continuous Control Using Generalized Advantage
    Estimation, eq. 16.
    """
    discount, trace = discount[:, None, None], trace[:, None, None]
    delta = (reward + discount * (1 - terminated) * next_value - value) * valid
    decay = discount * trace * (1 - ended) * valid
    found = torch.empty_like(delta)
    running = torch.zeros_like(delta[:, 0])
    for step in range(delta.shape[1] - 1, -1, -1):
        running = torch.addcmul(delta[:, step], decay[:, step], running)
        found[:, step] = running
    return found
