"""What a certificate trains, and for how long.

It answers what settings are worth when they are used on one agent. Two things are kept as they were in the
population that found them, counted by the transitions that a learner had: the pace, updates per stored transition;
and the budget, since a winner in a population with a shared replay learned from the steps of all agents. A lone
agent has to take all of these steps itself. So a seed takes as many environment steps as the whole population had
stored (the winner's own steps where experience was not shared, as PPO's is not), and the schedule changes where the
population stood when the winner's line changed. What is counted in an agent's own steps, such as DQN's
`epsilon_steps`, is taken literally.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from evolab.algorithms.search_space import algorithm_named
from evolab.core import checks
from evolab.core.plain_values import from_plain, to_plain
from evolab.core.rng import seed_of
from evolab.data.buffers.replay import ReplayBuffer
from evolab.evaluation.episodes import LONGEST
from evolab.evolution.schedules import Stage, stages_of
from evolab.experiment.config.config import ExperimentConfig
from evolab.experiment.config.conversions import buffer_of
from evolab.experiment.config.memory_needs import check_certificate
from evolab.experiment.replay_schedule import options_of
from evolab.training.act_and_learn import WARM_UP
from evolab.training.state import TrainingState

OWN = (
    "population", "selection", "mutations", "search_space", "draw", "evolving", "revive", "confirmation", "fitness",
    "steps_per_generation", "eval_episodes", "seed", "target", "load", "folder", "checkpoint_every", "keep",
    "trackers", "progress", "vector",
)  # fmt: skip
"""Options of an experiment that a certificate has no use for, or sets itself."""

BOUND = ("network", "hyperparameters", "buffer", "update_ratio")
"""Options that mean something to the experiment's own algorithm alone."""


@dataclass(frozen=True)
class Wish:
    """What was asked of a certificate.

    Attributes:
        seeds: agents that train beside each other.
        config: what they train by; None for the winner's schedule.
        max_steps: of all kinds and all seeds together; None for the winner's data for every seed.
        episodes: of each seed's final agent.
        seed: that the seeds follow from; None for one that follows from the run's.
    """

    seeds: int
    config: Any = None
    max_steps: int | None = None
    episodes: int = 20
    seed: int | None = None

    def __post_init__(self) -> None:
        checks.positive_integer("seeds", self.seeds)
        checks.positive_integer("episodes", self.episodes)
        if self.max_steps is not None:
            checks.positive_integer("max_steps", self.max_steps)


@dataclass(frozen=True)
class CertificatePlan:
    """What is trained, and for how long.

    Attributes:
        config: of the seeds, as one population.
        stages: their settings; steps are those of a seed, and the last stage's are its budget.
        warm_up: random steps of each seed before.
    """

    config: ExperimentConfig
    stages: Sequence[Stage]
    warm_up: int

    @property
    def budget(self) -> int:
        """Training steps of each seed; updates where it learns from recorded data."""
        return self.stages[-1].steps


def planned(wish: Wish, config: ExperimentConfig, state: TrainingState) -> CertificatePlan:
    """What a certificate of a run comes to, checked before anything is trained.

    Args:
        wish: what was asked.
        config: of the run.
        state: of the run.

    Raises:
        LookupError: no generation has ended that could have a winner.
        ValueError: nothing to evaluate in, no budget, an unknown setting or one outside its range.
        TypeError: `config` is neither settings nor a schedule.
    """
    if config.environment is None:
        raise ValueError(
            "a certificate needs an environment to play in; this experiment has none. Load it with one: "
            "ev.Experiment.load(folder, environment=...)."
        )
    winners, schedule = None, None  # counted by data
    if state.history.generations:
        winners = _by_data(state.history.schedule(), config, state)
    if isinstance(wish.config, Mapping):
        options = _options(wish.config, config, state)
    else:
        schedule = winners if wish.config is None else _by_data(wish.config, config, state)
        if schedule is None:
            raise LookupError(
                "no generation has ended yet, so there is no winner to certify. Call exp.step() first, or "
                "pass config={...} and max_steps=..."
            )
        options = options_of(config, state, schedule, {"load": config.load})
    budget = _budget(wish, config, state, schedule or winners)
    # Episodes are played some at once: what all of them at once would take is no need.
    episodes = wish.episodes if config.language is not None else 1
    options |= {"population": wish.seeds, "seed": _seed(wish, config), "eval_episodes": episodes}
    options = {"search_space": {}} | options
    options |= {"evolving": False, "fitness": "return", "progress": config.progress}
    algorithm = algorithm_named(options["algorithm"])
    if not algorithm.regime.acts and (config.algorithm.regime.acts or not len(state.buffer)):
        raise ValueError(
            f"{algorithm.name} learns from recorded data, and this experiment has none. Call exp.fill('data.h5') first."
        )
    if algorithm.replays:
        batches = [stage.hyperparameters for stage in schedule or ()] + [options["hyperparameters"]]
        least = max(int(values.get("batch_size", 1)) for values in batches)
        options["buffer"] = _buffer_of_its_own(options.get("buffer"), state, max(budget, least))
        options["update_ratio"] = _pace(wish, state, options.get("update_ratio"))
    made = ExperimentConfig.made(options)
    first = state.population
    check_certificate(made, first.table.spec, first.individuals[0].genes, wish.episodes)
    stages = _cut(schedule or [Stage(budget, dict(made.hyperparameters), {})], budget)
    warm = max(_warm_up(state, winners), int(stages[0].hyperparameters.get("batch_size", 1)))
    return CertificatePlan(made, stages, min(warm, budget) if algorithm.replays else 0)


def _options(asked: Mapping[str, object], config: ExperimentConfig, state: TrainingState) -> dict[str, Any]:
    """Options of the run with those that were asked for in their place, hyperparameters among them by name."""
    made = {name: from_plain(value, name) for name, value in asked.items()}
    algorithm = algorithm_named(made.get("algorithm", config.algorithm))
    known = [*algorithm.hyperparameters, *(set(ExperimentConfig.names()) - {*OWN})]
    for name in made:
        if name not in known and name not in OWN:
            raise checks.unknown(f"setting of {algorithm.name} in config", name, known)
    given = to_plain(made.get("environment", config.environment))
    if given != to_plain(config.environment):
        raise ValueError(
            f"config is of the environment {given!r}, this experiment of {to_plain(config.environment)!r}. "
            "Certify it in an Experiment of that environment."
        )
    options = options_of(config, state, [Stage(1, dict(config.hyperparameters), {})], {"load": config.load})
    options |= {"network": config.network, "buffer": config.buffer}
    if algorithm.name != config.algorithm.name:
        options = {name: value for name, value in options.items() if name not in BOUND}
    named = {name: value for name, value in made.items() if name in algorithm.hyperparameters}
    values = {**options.get("hyperparameters", {}), **(made.get("hyperparameters") or {}), **named}
    plain = {name: value for name, value in made.items() if name not in (*OWN, *named, "environment")}
    return {**options, **plain, "algorithm": algorithm, "hyperparameters": values}


def _seed(wish: Wish, config: ExperimentConfig) -> int:
    if wish.seed is not None:
        return checks.positive_integer("seed", wish.seed, minimum=0)
    return seed_of(config.seed, "certificate") % 2**31


def _shared(state: TrainingState) -> bool:
    """True where the agents of a run learn from what all of them store."""
    return state.learns_by_acting and isinstance(state.buffer, ReplayBuffer) and state.buffer.shared


def _by_data(table: object, config: ExperimentConfig, state: TrainingState) -> list[Stage]:
    """A schedule counted by the transitions that the line could learn from, where these were all agents'."""
    stages = stages_of(table, config.algorithm)
    if not _shared(state):
        return stages
    return [replace(stage, steps=max(stage.steps, stage.total_steps or 0)) for stage in stages]


def _budget(
    wish: Wish, config: ExperimentConfig, state: TrainingState, schedule: Sequence[Stage] | None
) -> int:
    """Training steps of each seed: those of a schedule, or what `max_steps` leaves beside evaluation."""
    if wish.max_steps is None:
        if schedule is None:
            raise ValueError(
                "no generation has ended yet, so there is no winner whose steps could be taken. Pass max_steps=..."
            )
        return schedule[-1].steps
    evaluation = wish.seeds * wish.episodes * _episode(config, state)
    width = config.num_envs if state.learns_by_acting else 1
    budget = (wish.max_steps - evaluation) // wish.seeds // width * width
    if budget < 1:
        raise ValueError(
            f"max_steps={wish.max_steps:,} leaves no step to train: {wish.episodes} episodes of each of {wish.seeds} "
            f"seeds take some {evaluation:,} steps. Pass more than that, or fewer episodes= or seeds=."
        )
    return budget


def _episode(config: ExperimentConfig, state: TrainingState) -> int:
    """Steps that an episode of evaluation is expected to take: the winner's, or the longest there is."""
    lengths = [one.length for one, _ in state.history.ancestry() if one.length > 0]
    longest = config.eval_steps or (state.envs.max_episode_steps if state.envs else None) or LONGEST
    return min(longest, round(lengths[-1]) or 1) if lengths else longest


def _warm_up(state: TrainingState, winners: Sequence[Stage] | None) -> int:
    """Transitions of random actions that were there before the first agent of the run learned."""
    if winners is None:
        return 0
    length = state.options.steps_per_generation
    if length is None:
        return WARM_UP
    own = int(state.history.schedule()["steps"].iloc[0])
    return max(0, own - length) * winners[0].steps // own


def _buffer_of_its_own(given: object, state: TrainingState, most: int) -> ReplayBuffer:
    """As large as the run's, in transitions of each seed, and no larger than there is need for."""
    kept = buffer_of(given) or state.buffer
    capacity = kept.capacity if isinstance(kept, ReplayBuffer) else ReplayBuffer().capacity
    return ReplayBuffer(min(capacity, most), shared=False)


def _pace(wish: Wish, state: TrainingState, ratio: float | None) -> float:
    """Updates of a lone agent per transition that it stores: as many as the run's agents make."""
    if isinstance(wish.config, Mapping) and wish.config.get("update_ratio") is not None:
        return float(wish.config["update_ratio"])
    return state.update_ratio if ratio is None else ratio


def _cut(stages: Sequence[Stage], budget: int) -> list[Stage]:
    """The stages within a budget, the last one up to its end; neighbours that say the same are one."""
    starts = [0, *(stage.steps for stage in stages[:-1])]
    kept = [stage for start, stage in zip(starts, stages, strict=True) if start < budget]
    kept = [replace(stage, steps=min(stage.steps, budget)) for stage in kept]
    kept[-1] = replace(kept[-1], steps=budget)
    same = [(a.hyperparameters, a.genes) == (b.hyperparameters, b.genes) for a, b in pairwise(kept)]
    return [stage for stage, merged in zip(kept, [*same, False], strict=True) if not merged]
