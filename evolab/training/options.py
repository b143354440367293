"""What a run's configuration fixes of its training."""

from __future__ import annotations

from dataclasses import dataclass

from evolab.envs.base import Environments

TRANSITIONS = 2_000
"""Transitions that a generation stores at least, where its length is left to evolab."""

UPDATES = 1_000
"""Updates of each agent in a generation that learns from recorded data, where its length is left to evolab."""


@dataclass(frozen=True)
class TrainingOptions:
    """What a run's configuration fixes.

    Attributes:
        seed: of the run.
        steps_per_generation: environment steps of each agent; updates of each agent offline. None for
            `TRANSITIONS` of all agents, and longer where episodes are; `UPDATES` of each offline.
        update_ratio: updates of each agent per transition that is stored, at a learn step of 1; None for what
            suits as many agents as there are.
        overlap: environments step while the agents learn.
        evolving: False leaves the population as it is.
        evaluation_share: of all environment steps that confirmations may take, where training episodes
            are the fitness.
    """

    seed: int = 0
    steps_per_generation: int | None = 10_000
    update_ratio: float | None = None
    overlap: bool = False
    evolving: bool = True
    evaluation_share: float = 0.2

    def length(self, agents: int, envs: Environments | None, horizon: int) -> int:
        """Steps (or updates) of each agent that a generation takes.

        Args:
            agents: P, that train.
            envs: that they act in; None where all experience is there beforehand.
            horizon: steps of an environment that have to fit in, where the length is left to evolab.
        """
        if self.steps_per_generation is not None:
            return self.steps_per_generation
        if envs is None:
            return UPDATES
        return max(horizon * envs.num_envs, -(-TRANSITIONS // agents))
