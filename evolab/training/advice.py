"""What a run says where its budget, its target or its rewards stand in the way of learning."""

from __future__ import annotations

from evolab.training.learning import WARM_UP
from evolab.training.state import TrainingState

ALIKE = 8
"""Figures of fitness, over two generations or more, after which rewards that told nobody apart are spoken of."""


def advise(state: TrainingState, spent: str | None) -> None:
    """Say what helps, after a generation.

    Args:
        state: of the run.
        spent: "max_steps" or "minutes" where no more of it is left; None where some is, or the target is reached.
    """
    _of_rewards(state)
    if spent is not None:
        _of_the_budget(state, spent)
        _of_the_target(state)


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
    if state.learns_by_acting and not state.population.algorithm.on_policy:
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
