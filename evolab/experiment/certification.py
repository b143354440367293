"""Certification: the same settings trained on many seeds at once, each alone with its own data, without evolution."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from evolab.core.plain_values import to_plain
from evolab.core.rng import seed_of
from evolab.evaluation.fitness import Returns
from evolab.evolution.schedules import Stage, begin
from evolab.experiment.build import build
from evolab.experiment.certification_plan import CertificatePlan, Wish, planned
from evolab.experiment.config.config import ExperimentConfig
from evolab.experiment.replay_schedule import enter, prepare
from evolab.experiment.runner import Runner
from evolab.history.events import Fault, Progress
from evolab.reporting.certificate import Certificate, Steps
from evolab.reporting.progress import bar
from evolab.training.act_and_learn import fill, learn
from evolab.training.state import TrainingState

SIDE_BY_SIDE = 64
"""Episodes of evaluation that are played at once, unless there are more environments to train in."""


def certified(
    wish: Wish, config: ExperimentConfig, state: TrainingState, target: float | None
) -> Certificate:
    """Train and evaluate as was asked, beside a run that is not touched.

    Args:
        wish: what was asked.
        config: of the run.
        state: of the run.
        target: mean return that is looked for; None for none.

    Raises:
        KeyboardInterrupt: at the next step of the environments.
    """
    plan, began = planned(wish, config, state), time.perf_counter()
    try:
        fresh = build(plan.config)
        try:
            begin(fresh.population, plan.stages[0])
            prepare(fresh, plan.config, state, plan.stages)
            runner, faults, played = Runner(fresh), list[Fault](), list[Played]()
            with bar("certifying", plan.budget, config.progress) as show, runner.interruptible():
                runner.follow(_trained(fresh, plan, faults), show)
                runner.follow(_evaluated(fresh, wish.episodes, played), show)
        finally:
            fresh.close()
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the certificate was given up; the experiment is as it was.") from None
    assert fresh.envs is not None
    failed = [] if fresh.evaluator is None else fresh.evaluator.take_faults()
    lengths = sum(int(lengths.sum()) for _, lengths in played)
    return Certificate(
        environment=fresh.envs.name,
        algorithm=plan.config.algorithm.name,
        offline=not fresh.learns_by_acting,
        returns=np.concatenate([returns for returns, _ in played], 1),
        steps=Steps(fresh.total_steps, max(fresh.evaluation_steps, lengths)),
        updates=max(individual.updates for individual in fresh.population.individuals),
        target=target,
        settings=_settings(plan.stages),
        network=to_plain(fresh.population.network),
        seed=plan.config.seed,
        seconds=time.perf_counter() - began,
        faults=len(faults) + len(failed),
    )


Played = tuple[np.ndarray, np.ndarray]
"""Returns and lengths of episodes, [seeds, episodes] each."""


def _settings(stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """Stages as a file holds them."""
    return [
        {"until": stage.steps, **stage.hyperparameters, **({"genes": stage.genes} if stage.genes else {})}
        for stage in stages
    ]


def _trained(state: TrainingState, plan: CertificatePlan, faults: list[Fault]) -> Iterator[Progress]:
    """All agents' steps, stage by stage; no episodes in between."""
    state.place_buffer()
    if plan.warm_up:
        yield from fill(state, plan.warm_up * len(state.population))
    for number, stage in enumerate(plan.stages, 1):
        if not enter(state, stage):
            continue
        before = stage.steps - state.expected_steps
        state.population.reseed(number)
        for event in learn(state, number, faults):
            yield replace(event, generation=0, done=before + event.done, total=plan.budget)


def _evaluated(state: TrainingState, episodes: int, played: list[Played]) -> Iterator[Progress]:
    """Fresh greedy episodes of the final agents, noted in `played`; each seed has its own."""
    measure, rounds, seeds = state.fitness, 1, len(state.population)
    if measure.by_returns and state.evaluator is not None:
        # Memory and processes are there for the training environments; all episodes at once may want ten times as much.
        room = max(1, SIDE_BY_SIDE // seeds, state.envs.num_envs if state.envs is not None else 1)
        width = max(n for n in range(1, min(room, episodes) + 1) if episodes % n == 0)
        measure, rounds = Returns(state.evaluator, width, paired=False), episodes // width
    for number in range(rounds):
        seed = seed_of(state.options.seed, number, "certificate")
        for event in measure.estimate(state.population, state.buffer, seed):
            if isinstance(event, tuple):
                done, total = event
                yield Progress("evaluate", 0, number * total + done, rounds * total, state.total_steps)
        assert measure.returns is not None
        assert measure.lengths is not None
        played.append((measure.returns, measure.lengths))
