"""What a run says where its budget, its target or its rewards stand in the way of learning."""

from __future__ import annotations

import torch

from evolab.core.trees import map_leaves
from evolab.networks.observations import encode
from evolab.training.act_and_learn import WARM_UP
from evolab.training.state import TrainingState

HUGE = 1e5
"""Features beyond which a network's first updates are so large that nothing else is learned."""

LOOKED_AT = 64
"""Observations that are looked at, after the first generation."""

ALIKE = 8
"""Figures of fitness, over two generations or more, after which rewards that told nobody apart are spoken of."""


def advise(state: TrainingState, spent: str | None) -> None:
    """Say what helps, after a generation.

    Args:
        state: of the run.
        spent: "max_steps" or "minutes" where no more of it is left; None where some is, or the target is reached.
    """
    _of_observations(state)
    _of_rewards(state)
    if spent is not None:
        _of_the_budget(state, spent)
        _of_the_target(state)


def _of_observations(state: TrainingState) -> None:
    population = state.population
    if state.generation != 1 or population.algorithm.reads_tokens:
        return
    # Of a generator of its own: a run that is looked at goes the same way.
    seen = state.buffer.observations(LOOKED_AT, torch.Generator().manual_seed(0))
    if seen is None:
        return
    one = population.table.seen(map_leaves(lambda leaf: leaf.to(population.device)[None], seen), slice(1))
    features = encode(population.observation_space, one, 2, torch.float32)
    largest = float(features.abs().amax())
    if largest > HUGE:
        state.tell(
            "observations",
            f"observations reach {largest:.2g}, and networks learn from numbers around 1: expect little from numbers "
            "as large as these. Pass normalise='observations', or scale them yourself: "
            "gymnasium.wrappers.TransformObservation(env, function, space) by a function, such as the logarithm.",
        )


def _of_rewards(state: TrainingState) -> None:
    if state.fitness.by_acting and not any(state.episodes.returns):
        return  # no episode has come to an end: all were compared over the same few steps
    generations = state.history.generations
    if len(generations) < 2 or not state.learns_by_acting:
        return
    figures = []
    for generation in generations:
        found = {one.fitness for one in generation.evaluations}
        if len(found) > 1:
            return
        figures += [generation.fitness] * len(generation.evaluations)
    # One agent alone is compared with what it was before.
    if len(figures) >= ALIKE and (len(figures) > len(generations) or len(set(figures)) == 1):
        state.tell(
            "rewards",
            f"in each of {len(generations)} generations all agents had the same fitness, {figures[-1]:g} in the last: "
            "rewards have told no agent from another, and there is nothing to learn from yet. Check that step() "
            "returns what the agent earns; reward steps on the way to the goal; let agents explore more, or for longer.",
        )


def _of_the_budget(state: TrainingState, reason: str) -> None:
    if state.generation > 1 or not state.cut:
        return
    agents, before = len(state.population), 0
    if state.learns_by_acting and state.population.algorithm.takes_others_experience:
        before = max(WARM_UP, state.population.table.least_experience)
    enough = before + agents * state.expected_steps
    if reason == "minutes":
        state.tell(
            "budget",
            f"minutes= is too short for one generation of {agents} agents, which was cut after {state.total_steps} "
            f"steps: it takes {enough}.",
        )
        return
    state.tell(
        "budget",
        f"max_steps={state.budget.steps} is too small for one generation of {agents} agents, which was cut short: "
        f"max_steps={enough} should be enough for one.",
    )


def _of_the_target(state: TrainingState) -> None:
    if state.target is None:
        return
    hall, spent = state.hall, state.total_steps + state.evaluation_steps
    if hall.episodes:
        came = f"the elite averages {hall.fitness:.4g} over {hall.episodes} fresh episodes"
    else:
        came = f"the best agent, not confirmed, seems to have {state.history.generations[-1].fitness:.4g}"
    state.tell(
        f"target {state.target} {state.budget.steps}",
        f"the target of {state.target:g} was not reached in {spent} steps: {came}. "
        "More steps may do; where returns stand still far below the target, the environment may not pay as much.",
    )
