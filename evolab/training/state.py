"""The state of a run: everything that an experiment is made of, and how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.buffers.rollout import RolloutBuffer
from evolab.envs.base import Environments
from evolab.evaluation.racing import Racing
from evolab.evolution.mutation.mutations import Mutations
from evolab.evolution.selection.base import Selection
from evolab.history.events import Generation, Progress
from evolab.history.history import History
from evolab.population.agent import Agent
from evolab.population.population import Population


@dataclass
class TrainingState:
    """Everything that a run is made of, and how far it is.

    Attributes:
        population: the agents.
        buffer: their experience.
        envs: training environments; None offline.
        evaluators: makes environments for evaluation by number of episodes.
        selection: who survives.
        mutations: what changes in the newborn.
        fitness: measures fitness without a simulator; None for episodes in the environment.
        steps_per_generation: environment steps of each agent; updates of each agent offline.
        eval_episodes: episodes behind each agent's fitness.
        racing: spends evaluation episodes where the ranking is uncertain; None for an even split.
        eval_steps: longest evaluation episode; None for the environment's own limit.
        update_ratio: updates per agent and environment step of its own, at a learn step of 1.
        overlap: environments step while the agents learn.
        evolving: False leaves the population as it is.
        revive: True has the archived elite return in place of the worst agent when nobody reaches it;
            "resting" keeps it in one place, unchanged.
        seed: of the run.
        generation: finished generations.
        total_steps: training steps of all agents, warm-up included.
        evaluation_steps: environment steps of evaluation.
        best: a copy of the best agent of the last generation.
        elite: the best agent that evaluation on fresh episodes has confirmed.
        elite_fitness: its mean return over those episodes.
        target: mean return that is looked for; what `train` was asked last.
        warned: that episodes without an end are cut.
        interrupted: set to have the next vector step yield, whatever the clock says.
    """

    population: Population
    buffer: ReplayBuffer | RolloutBuffer
    envs: Environments | None
    selection: Selection
    mutations: Mutations
    fitness: Any = None
    steps_per_generation: int = 10_000
    eval_episodes: int = 1
    racing: Racing | None = None
    eval_steps: int | None = None
    update_ratio: float = 1.0
    overlap: bool = False
    evolving: bool = True
    revive: bool | str = False
    seed: int = 0
    generation: int = 0
    total_steps: int = 0
    evaluation_steps: int = 0
    history: History = field(default_factory=History)
    best: Agent | None = None
    elite: Agent | None = None
    elite_fitness: float = float("-inf")
    target: float | None = None
    interrupted: bool = False
    warned: bool = False
    current: Iterator[Progress | Generation] | None = None
    evaluators: dict[int, Environments] = field(default_factory=dict)

    def evaluator(self, episodes: int) -> Environments:
        """Environments for that many episodes per agent, kept for the next time."""
        if episodes not in self.evaluators:
            assert self.envs is not None
            self.evaluators[episodes] = self.envs.evaluator(episodes)
        return self.evaluators[episodes]

    def close(self) -> None:
        """Close all environments."""
        for envs in [self.envs, *self.evaluators.values()]:
            if envs is not None:
                envs.close()
