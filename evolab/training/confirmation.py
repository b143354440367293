"""Fresh episodes: who plays them at the end of a generation, and how many steps they may cost.

What an agent earns while it learns says little about the policy that it ends the generation with: with every update it
is another one. Four DQN agents that did not evolve had, over 20 fresh episodes of CartPole-v1 each, 500, 500, 207 and
500 after the generation in which their greedy training episodes had earned 248, 425, 500 and 126 (seed 103). So where
episodes have to be saved, as many agents as the allowance pays for are tried, each with one episode to begin with.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

import numpy as np

from evolab.core.rng import seed_of
from evolab.evaluation.episodes import Evaluated
from evolab.evolution.candidate import Candidate
from evolab.history.events import Progress
from evolab.population.agent import Agent
from evolab.population.population import Population
from evolab.training.act_and_learn import Watch
from evolab.training.state import TrainingState


def confirm(
    state: TrainingState, number: int, order: Sequence[int], fitness: np.ndarray, length: np.ndarray
) -> Generator[Progress, None, float | None]:
    """Fresh episodes of those who may be better than the elite, and of the elite itself.

    Where agents are told apart by whole evaluations the best agent alone is tried, if it promises a record. Where
    episodes have to be saved, half of the allowance goes to an elite that is known from few episodes and not below
    what most agents earn, and all of it where no agent seems to be better; the rest to the agents, the best first.

    Args:
        state: whose hall of fame may have another elite afterwards.
        number: of the generation.
        order: [P], rows, the best first.
        fitness: [P], of this generation.
        length: [P], steps that an episode of each seems to take.

    Returns:
        the highest mean return over fresh episodes, the elite's among them; None where none were played.
    """
    best, evaluator, hall = order[0], state.evaluator, state.hall
    state.keep(state.population[best].copy())
    if not state.fitness.by_returns or evaluator is None:
        if np.isfinite(fitness[best]):
            hall.archive(state.population[best], float(fitness[best]))
        return None
    saving = state.fitness.by_acting

    def candidate(row: int) -> Candidate:
        # An episode that has not ended does not tell how long it is.
        endless = saving and not state.episodes.returns[row]
        steps = evaluator.longest if endless else float(length[row])
        allowance = state.allowance
        return Candidate(
            state.population, row, float(fitness[row]), steps, allowance, state.left, not endless
        )

    def play(agent: Agent, episodes: int, stage: int) -> Generator[Progress, None, Evaluated]:
        seed, watch = seed_of(state.options.seed, number, "confirmation", stage), Watch(state)
        for event in evaluator.play(Population.of([agent]), episodes, seed, paired=False, most=state.left):
            if isinstance(event, Evaluated):
                return event
            if watch.due():
                yield Progress("evaluate", number, event, episodes, state.total_steps)
        raise AssertionError("an evaluation ends with its result")

    found: list[float] = []
    # An elite below what most earn while they learn will be replaced, however much more is known of it.
    least = min(
        np.nan_to_num(np.median(fitness), nan=-math.inf), math.inf if state.target is None else state.target
    )
    if saving and hall.fitness >= least:
        mean = yield from hall.observe_elite(candidate(best), state.target, play)
        found += [] if mean is None else [mean]
    for row in order if saving else order[:1]:
        mean = yield from hall.confirm(candidate(row), state.target, play)
        if mean is None:
            break
        found.append(mean)
    if saving or not found:  # where the budget had nothing left for it
        hall.propose(state.population[best], float(fitness[best]))
    return max(found, default=None)
