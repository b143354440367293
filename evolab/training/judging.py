"""Judging a generation: fitness of everyone, confirmation of a record, and the record itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from evolab.core.rng import seed_of
from evolab.envs.base import Environments
from evolab.evaluation.episodes import Evaluated, evaluating, racing_through, warn_of_endless
from evolab.history.events import Evaluation, Fault, Progress
from evolab.population.population import Population
from evolab.training.state import TrainingState

SHOWN_EVERY = 0.1
"""Seconds between two `Progress` events."""

CONFIRMATION = 20
"""Fresh episodes that confirm a record."""

SECOND_CONFIRMATION = 80
"""Further episodes where those reach the target. Every generation tries, so twenty are met by luck too
often: an agent of 152 over a hundred episodes passed them (measured)."""


def _by_returns(run: TrainingState) -> bool:
    """True where episodes in the environment decide, whatever else is measured beside them."""
    return run.envs is not None and (run.fitness is None or run.fitness.beside_returns)


def measure(run: TrainingState, number: int, faults: list[Fault]) -> Any:
    """Fitness [P], other measures by name, mean lengths [P] and episodes [P], with progress on the way."""
    population = run.population
    extra: dict[str, np.ndarray] = {}
    if run.fitness is not None:
        estimate = run.fitness.estimate(population, run.buffer, seed_of(run.seed, number, "fitness"))
        for progress in estimate:
            if isinstance(progress, np.ndarray):
                values = progress
            else:
                yield Progress("evaluate", number, progress[0], progress[1], run.total_steps)
        extra = dict(getattr(run.fitness, "measures", {"fqe": values}))
        if not _by_returns(run):
            lengths = getattr(run.fitness, "lengths", None)
            played = 0 if lengths is None else run.eval_episodes  # or measured without episodes
            nothing = np.zeros(len(population))
            return values, extra, nothing if lengths is None else lengths, nothing.astype(int) + played
    if run.envs is None:
        raise ValueError(
            "there is no environment to evaluate in. Pass one, or measure fitness from the data with fitness='fqe'."
        )
    total, seed = len(population) * run.eval_episodes, seed_of(run.seed, number, "evaluation")

    def play(players: Population, size: int, starts: Any = None) -> Any:
        evaluator = run.evaluator(size)
        result = yield from _played(run, players, evaluator, seed, number, total, starts=starts)
        for fault in evaluator.take_faults():
            owner = None if fault.index is None else players.individuals[fault.index[0]].id
            faults.append(Fault(number, owner, fault.kind, fault.message))
        return result

    result = yield from (
        play(population, run.eval_episodes)
        if run.racing is None
        else racing_through(population, run.racing, run.eval_episodes, play)
    )
    return result.fitness, extra, result.length, result.episodes


def _played(
    run: TrainingState,
    population: Population,
    evaluator: Environments,
    seed: int,
    number: int,
    total: int,
    paired: bool = True,
    starts: Any = None,
) -> Any:
    shown = time.perf_counter()
    for event in evaluating(population, evaluator, seed, run.eval_steps, paired, starts):
        if isinstance(event, Evaluated):
            run.evaluation_steps += event.steps
            if event.endless and not run.warned:
                run.warned = True
                warn_of_endless(evaluator.name)
            return event
        now = time.perf_counter()
        if run.interrupted or now - shown > SHOWN_EVERY:
            shown = now
            yield Progress("evaluate", number, event, total, run.total_steps)
    raise AssertionError("an evaluation ends with its result")


def confirm(
    run: TrainingState, number: int, fitness: float, target: float | None, faults: list[Fault]
) -> Any:
    """Mean return of the best agent over fresh episodes, where it promises a record; keeps the elite."""
    if run.best is None or not np.isfinite(fitness):
        return None
    if not _by_returns(run):
        if fitness > run.elite_fitness:
            run.elite, run.elite_fitness = run.best.copy(), fitness
        return None
    if fitness <= run.elite_fitness and not (target is not None and fitness >= target):
        return None
    agents = len(run.population)
    copies = run.best._population.copy([0] * agents)
    returns = np.empty(0)
    for stage, episodes in enumerate((CONFIRMATION, SECOND_CONFIRMATION)):
        evaluator = run.evaluator(-(-episodes // agents))
        seed = seed_of(run.seed, number, "confirmation", stage)
        result = yield from _played(run, copies, evaluator, seed, number, episodes, paired=False)
        faults += [Fault(number, run.best.id, one.kind, one.message) for one in evaluator.take_faults()]
        returns = np.concatenate([returns, result.returns.ravel()])
        if np.isnan(returns).all():
            return None
        mean = float(np.nanmean(returns))
        if target is None or mean < target:
            break
    if mean > run.elite_fitness:
        run.elite, run.elite_fitness = run.best.copy(), mean
        run.elite._individual.fitness.append(mean)
    return mean


def record(
    run: TrainingState,
    number: int,
    row: int,
    fitness: float,
    episodes: int,
    length: float,
    elite_id: int,
    extra: Mapping[str, np.ndarray],
) -> Evaluation:
    """What one agent was when it earned its fitness."""
    individual = run.population.individuals[row]
    genes = run.population.network.to_json(individual.genes)
    return Evaluation(
        generation=number,
        agent=individual.id,
        parent=individual.parent,
        fitness=fitness,
        episodes=episodes,
        length=length,
        steps=individual.steps,
        total_steps=run.total_steps,
        updates=individual.updates,
        hyperparameters=dict(individual.hyperparameters),
        hidden=tuple(individual.genes.hidden),
        activation=tuple(individual.genes.activation),
        parameters=run.population.parameter_count(individual),
        is_elite=individual.id == elite_id,
        extra={name: float(values[row]) for name, values in extra.items()},
        genes={} if set(genes) <= {"hidden", "activation"} else genes,
    )


def over_window(values: list[float], window: int, by: str = "mean") -> float:
    """Mean of the newest `window` values, or the best of those that are finite.

    >>> over_window([9.0, 100.0, 180.0, 97.0], 3, "best")
    180.0
    """
    newest = np.array(values[-window:])
    if by == "mean" or not np.isfinite(newest[-1]):  # who has diverged does not live on its past
        return float(newest.mean())
    return float(newest[np.isfinite(newest)].max())
