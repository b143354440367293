"""What a run says where its budget, its target or its rewards stand in the way of learning."""

from __future__ import annotations

import math

import torch

from evolab.core import checks
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


def advise(state: TrainingState, spent: str | None, short: bool = True) -> None:
    """Say what helps, after a generation.

    Args:
        state: of the run.
        spent: "max_steps" or "minutes" where no more of it is left; None where some is, or the target is reached.
        short: whether a budget that cuts this generation is too small, and not at its end.
    """
    _of_observations(state)
    _of_rewards(state)
    if spent is not None:
        if short and state.cut:
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
    agents, before = len(state.population), 0
    if (
        state.generation == 1
        and state.learns_by_acting
        and state.population.algorithm.takes_others_experience
    ):
        before = max(WARM_UP, state.population.table.least_experience)
    generation = state.history.generations[-1]
    which = f"one generation of {agents} agents, which was cut"
    if reason == "minutes":
        enough = _as_minutes(_train_seconds(state) + state.budget.kept_seconds(state.history.generations))
        state.tell(
            f"minutes {generation.number}",
            f"minutes= is too short for {which} after {_learned(state):,} of its {agents * state.expected_steps:,} "
            f"steps: about {enough} minutes would be enough for one.",
        )
        return
    started = state.history.generations[-2] if state.generation > 1 else None
    taken = 0 if started is None else started.total_steps + started.evaluation_steps
    state.tell(
        f"budget {state.budget.steps}",
        f"max_steps={state.budget.steps} is too small for {which} short: "
        f"max_steps={taken + before + _whole(state)} should be enough for one.",
    )


def nothing_begins(state: TrainingState, reason: str) -> None:
    """Say why a call trains nothing, and what would be enough.

    Args:
        state: of a run with generations, none of them under way.
        reason: "max_steps" or "minutes", what does not suffice for a further one.
    """
    generations, taken = state.history.generations, state.total_steps + state.evaluation_steps
    if reason == "minutes":
        kept = state.budget.kept_seconds(generations)
        checks.notice(
            f"minutes= leaves no time to learn: {kept:.3g} s are kept for what follows, by what it took in the newest "
            f"generations. Nothing was trained; minutes={_as_minutes(_train_seconds(state) + kept)} should be enough for "
            "one more."
        )
        return
    budget, enough = state.budget.steps, taken + _whole(state)
    assert budget is not None
    left = f"{taken:,} were taken before"
    if taken < budget:
        left += (
            f", and the {budget - taken:,} that are left are too few for an evaluation and a step of learning"
        )
    checks.notice(
        f"max_steps={budget} counts all steps of the run, those of earlier calls and of evaluation too: {left}. Nothing "
        f"was trained; max_steps={enough} should be enough for one more generation."
    )


def reached_before(state: TrainingState, target: float | None) -> bool:
    """True where the newest generation has shown that an agent averages the target, which is said."""
    state.seek(target)
    if target is None or state.under_way or not state.solved:
        return False
    checks.notice(
        f"the target of {target:g} is reached: the newest generation's best has averaged {_confirmed(state):.4g} over "
        "fresh episodes. Nothing was trained; pass generations= to train on, or a higher target."
    )
    return True


def _confirmed(state: TrainingState) -> float:
    found = state.history.generations[-1].confirmed
    assert found is not None
    return found


def _whole(state: TrainingState) -> int:
    """Steps of all agents that a whole generation takes, with the episodes that are played for fitness alone."""
    envs = state.envs if state.learns_by_acting else None
    measures = state.fitness
    played = measures.by_returns and not measures.by_acting and state.evaluator is not None
    kept = math.ceil(state.budget.kept_steps(state.history.generations, float(played)))
    return (
        len(state.population) * (state.expected_steps + (envs.num_envs if envs and kept else 0))
        + kept
        + bool(kept)
    )


def _learned(state: TrainingState) -> int:
    """Training steps of all agents in the newest generation, and before the first."""
    ended = state.history.generations
    return ended[-1].total_steps - (ended[-2].total_steps if len(ended) > 1 else 0)


def _train_seconds(state: TrainingState) -> float:
    """What learning of a whole generation takes, by the pace of the newest."""
    whole, done = len(state.population) * state.expected_steps, max(1, _learned(state))
    return state.history.generations[-1].seconds.get("train", 0.0) * max(1.0, whole / done)


def _as_minutes(seconds: float) -> str:
    """A tenth more, in two digits and rounded up.

    >>> _as_minutes(60.0), _as_minutes(3600.0), _as_minutes(0.5)
    ('1.1', '66', '0.0092')
    """
    minutes = max(1.1 * seconds / 60, 1e-3)
    unit = 10.0 ** (math.floor(math.log10(minutes)) - 1)
    return f"{math.ceil(round(minutes / unit, 6)) * unit:.6g}"


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
