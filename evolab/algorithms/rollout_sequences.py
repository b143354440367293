"""Rollouts as sequences, for agents whose networks remember."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from evolab.core.experience import Remembered


class Cut:
    """A rollout of T steps in E environments, cut into sequences that minibatches are made of.

    A sequence has `network.steps` steps at most, and begins with what the agent remembered there before the first update.

    What the rollout's last steps leave behind becomes what the next rollout begins with.

    Args:
        remembered: along the rollout, with `after` written by a pass over all of it.
        broken: [P, B], True where the next step begins an episode.
        num_envs: E.
    """

    def __init__(self, remembered: Remembered, broken: Tensor, num_envs: int) -> None:
        self.remembered, self.num_envs = remembered, num_envs
        assert isinstance(remembered.begins, Tensor)
        self._begins = remembered.begins
        agents, length = self._begins.shape
        steps = length // num_envs
        self.steps = min(remembered.steps, steps)
        starts = torch.arange(0, steps, self.steps)
        # [K * E]: of every sequence the first step; -1 behind the rollout's end, where the last ones are shorter.
        self.first = (starts[:, None] * num_envs + torch.arange(num_envs)).flatten()
        self.length, self.agents = length, agents
        self._before: dict[str, Tensor] = {}
        for name, before in remembered.before.items():
            after = remembered.after[name]  # [P, B, C, H]
            self._before[name] = torch.cat([before, after[:, : length - num_envs]], 1)
            going_on = ~broken.to(after.device)[:, length - num_envs :, None, None]
            before.copy_(after[:, length - num_envs :] * going_on)

    def parts(self, size: int, generator: torch.Generator) -> list[Tensor]:
        """The sequences of a pass in an order of each agent's own, in minibatches.

        Args:
            size: most steps in a minibatch; a sequence of all its steps may be longer.
            generator: of the draw.

        Returns:
            places of steps among B, [P, T * N] each, those of a step side by side; -1 behind the rollout's end.
        """
        count, device = len(self.first), self._begins.device
        order = torch.rand((self.agents, count), generator=generator, device=generator.device).argsort(1)
        first = self.first.to(device)[order.to(device)]  # [P, K * E]
        within = torch.arange(self.steps, device=device)[:, None] * self.num_envs
        together = max(1, size // self.steps)
        found = []
        for part in first.tensor_split(-(-count // together), 1):
            places = part[:, None] + within  # [P, T, N]
            found.append(torch.where(places < self.length, places, -1).flatten(1))
        return found

    def before(self, part: Tensor, take: Callable[[Tensor], Tensor]) -> Remembered:
        """What was remembered before each sequence of a minibatch, and where episodes begin in it.

        Args:
            part: of `parts`.
            take: the entries of [P, B, ...] at these places.
        """
        count = part.shape[1] // self.steps  # the first steps stand in front
        return Remembered(
            before={name: take(value)[:, :count] for name, value in self._before.items()},
            begins=take(self._begins),
        )
