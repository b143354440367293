"""A schedule, replayed: agents trained from scratch by the settings that a winner's line had, without evolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evolab.evolution.schedules import Stage, adopt
from evolab.experiment.build import populate
from evolab.experiment.config.config import ExperimentConfig
from evolab.training.act_and_learn import WARM_UP
from evolab.training.state import TrainingState


def options_of(
    config: ExperimentConfig, state: TrainingState, stages: Sequence[Stage], asked: Mapping[str, object]
) -> dict[str, Any]:
    """The options of an experiment that trains by a schedule as the run did that it is from.

    Args:
        config: of that run.
        state: of that run.
        stages: of the schedule.
        asked: options in place of that run's.
    """
    like = (
        "env_kwargs", "frame_stack", "num_envs", "update_ratio", "fitness", "seed", "device", "dtype", "precision",
        "deterministic", "normalise", "vectorization", "on_fault", "overlap", "eval_episodes", "eval_steps", "confirmation",
    )  # fmt: skip
    return {
        "environment": config.environment,
        "algorithm": config.algorithm,
        "population": 1,
        "network": state.population.network,
        "hyperparameters": stages[0].hyperparameters,
        # Random play lasts where persistence is searched; nothing evolves here.
        "search_space": {
            name: config.search_space[name] for name in ("persistence",) if name in config.search_space
        },
        "draw": False,
        "steps_per_generation": state.options.steps_per_generation,
        **{name: getattr(config, name) for name in like},
        **({} if config.algorithm.takes_others_experience else {"buffer": state.buffer.options}),
        **asked,
        "evolving": False,
    }


def prepare(
    state: TrainingState, config: ExperimentConfig, like: TrainingState, stages: Sequence[Stage]
) -> None:
    """Give a fresh run the data of the one that it follows, and try every stage.

    Args:
        state: of the fresh run.
        config: of the fresh run.
        like: of the run that the schedule is from.
        stages: of the schedule.

    Raises:
        ValueError: an architecture that the network's limits exclude.
    """
    if not state.learns_by_acting:
        state.learn_from(like.buffer)
        if not state.populated:
            lived = like.population.observation_space, like.population.action_space
            state.populate(populate(config, *lived))
    trial = state.population.copy([0])
    for stage in stages:  # what cannot be reached is said before training starts
        adopt(trial, stage)


def warm_up(state: TrainingState, steps: int | None, stages: Sequence[Stage]) -> int:
    """Random steps before the first stage: as many per agent as the line had.

    Args:
        state: of the fresh run.
        steps: of a generation of the run that the schedule is from; None where that was left to evolab.
        stages: of the schedule.
    """
    warm = WARM_UP if steps is None else max(0, stages[0].steps - steps) * len(state.population)
    return max(warm, int(stages[0].hyperparameters.get("batch_size", 1)), 1)


def enter(state: TrainingState, stage: Stage) -> bool:
    """Begin a stage; False where it is over already."""
    adopt(state.population, stage)
    agent = state.population.individuals[0]
    left = stage.steps - (agent.steps if state.learns_by_acting else agent.updates)
    if left > 0:
        state.change(steps_per_generation=left)
    return left > 0
