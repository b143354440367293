"""The only training loop: a generator of events.

Online, on-policy and offline differ in where batches come from, nothing else does. A generation is a
transaction: its environments and random streams start from seeds derived from (run seed,
generation, purpose). To pause is to stop pulling; nothing is half done between two events.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolab.core.experience import Transition
from evolab.core.rng import numpy_stream, seed_of
from evolab.data.buffers.rollout import RolloutBuffer
from evolab.evolution.hall_of_fame import renew
from evolab.history.events import Birth, Fault, Finished, Generation, Progress
from evolab.population.agent import Agent
from evolab.training.judging import SHOWN_EVERY, confirm, measure, over_window, record
from evolab.training.state import TrainingState


def train(
    run: TrainingState,
    generations: int | None = None,
    max_steps: int | None = None,
    target: float | None = None,
) -> Iterator[Progress | Generation | Finished]:
    """Train until one of the goals is met; without a goal, for ever.

    Args:
        run: is changed as it goes; a generation that was interrupted is gone on with.
        generations: finish this many more generations.
        max_steps: stop after the generation in which `total_steps` reaches this.
        target: stop when the best agent averages this return over 20 fresh episodes, and then
            over 80 more together with them.

    Yields:
        `Progress` some times a second, a `Generation` at each end, `Finished` at last.
    """
    finished = 0
    run.target = target
    if (
        max_steps is not None
        and run.total_steps >= max_steps
        and run.current is None
        and run.history.generations
    ):
        yield Finished("max_steps", run.generation, run.total_steps, run.history.generations[-1].fitness)
        return
    while True:
        if run.current is None:
            run.current = one_generation(run)
        try:
            for event in run.current:
                if isinstance(event, Generation):
                    run.current = None
                    yield event
                    finished += 1
                    reason = _reason(run, event, finished, generations, max_steps, target)
                    if reason:
                        yield Finished(reason, run.generation, run.total_steps, event.fitness)
                        return
                    break
                yield event
        except GeneratorExit:
            raise
        except BaseException:
            run.current = None
            raise


def _reason(
    run: TrainingState,
    event: Generation,
    finished: int,
    generations: int | None,
    max_steps: int | None,
    target: float | None,
) -> str | None:
    if target is not None and event.confirmed is not None and event.confirmed >= target:
        return "target"
    if generations is not None and finished >= generations:
        return "generations"
    if max_steps is not None and run.total_steps >= max_steps:
        return "max_steps"
    return None


def one_generation(run: TrainingState) -> Iterator[Progress | Generation]:
    """Learn, evaluate, confirm, evolve: one generation, recorded in the run's history."""
    number = run.generation + 1
    population = run.population
    population.reseed(number)
    started = time.perf_counter()
    losses: dict[str, list[float]] = {}
    faults: list[Fault] = []
    learning = (
        _online(run, number, losses, faults)
        if run.envs is not None and not _offline(run)
        else _offline_steps(run, number, losses)
    )
    yield from learning
    trained = time.perf_counter()
    evaluated = yield from measure(run, number, faults)
    fitness, extra, lengths, episodes = evaluated
    for individual, value in zip(population.individuals, fitness, strict=True):
        individual.fitness.append(float(value))
    scores = np.array(
        [over_window(m.fitness, run.selection.window, run.selection.by) for m in population.individuals]
    )
    # Of equals the archived elite is first, of others the one in the lower place, as for the selections.
    places = np.array([individual.place for individual in population.individuals])
    awake = np.array([individual.resting is None for individual in population.individuals])
    order = np.lexsort((places, awake, np.where(np.isfinite(scores), -scores, np.inf)))
    run.best = Agent(population.copy([int(order[0])]), population.individuals[int(order[0])].id)
    confirmed = yield from confirm(run, number, float(fitness[order[0]]), run.target, faults)
    measured = time.perf_counter()
    elite_id = population.individuals[int(order[0])].id
    evaluations = tuple(
        record(
            run,
            number,
            int(row),
            float(fitness[row]),
            int(episodes[row]),
            float(lengths[row]),
            elite_id,
            extra,
        )
        for row in order
    )
    weights = run.mutations.weights
    births: tuple[Birth, ...] = ()
    if run.evolving:
        births = tuple(renew(run, number, scores))
        elites = {birth.agent for birth in births if birth.kind == "elite"}  # none without elitism
        evaluations = tuple(replace(one, is_elite=one.agent in elites) for one in evaluations)
    for row in order[: 0 if np.isfinite(fitness).all() else None]:
        if not np.isfinite(fitness[row]):
            agent = evaluations[list(order).index(row)].agent
            faults.append(
                Fault(number, agent, "diverged", "fitness is not finite; it cannot win a tournament")
            )
    ended = time.perf_counter()
    seconds = {"train": trained - started, "evaluate": measured - trained, "evolve": ended - measured}
    run.generation = number
    event = Generation(
        number=number,
        total_steps=run.total_steps,
        evaluation_steps=run.evaluation_steps,
        seconds=seconds,
        evaluations=evaluations,
        births=births,
        faults=tuple(faults),
        losses={name: float(np.mean(values)) for name, values in losses.items() if values},
        mutation_weights=weights,
        confirmed=confirmed,
    )
    run.history.append(event)
    yield event


def _offline(run: TrainingState) -> bool:
    return run.population.algorithm.offline


def _online(
    run: TrainingState, number: int, losses: dict[str, list[float]], faults: list[Fault]
) -> Iterator[Progress]:
    """Act, store, learn, until every agent has taken its steps.

    An on-policy buffer decides itself when to learn. The steps that a generation's end leaves in it
    are learned from if every agent can make a whole minibatch of them, and dropped if not.
    """
    envs, population, buffer = run.envs, run.population, run.buffer
    assert envs is not None
    on_policy = isinstance(buffer, RolloutBuffer)
    if on_policy:
        buffer.clear()  # of what a generation that failed has left
    observation = envs.reset(seed=seed_of(run.seed, number, "environments") % 2**31)
    ended: Any = None
    largest = max(group.batch for group in population.groups)
    latest: Mapping[str, Tensor] = {}
    done, step, shown = 0, 0, time.perf_counter()
    # By count, not by the clock: the record of a run does not depend on how fast it was. Odd, so
    # that updates every second step are met.
    spacing = run.steps_per_generation // envs.num_envs // 100 | 1
    newest: Mapping[str, float] = {}
    while done < run.steps_per_generation:
        action = population.act(observation, explore=True, ended=ended)
        if run.overlap:
            with _stepping(envs, action) as stepped:
                if len(buffer) >= largest:
                    latest = population.learn(buffer, ratio=run.update_ratio) or latest
            transition = stepped.result()
        else:
            transition = envs.step(action)
        buffer.add(transition)
        done += envs.num_envs
        if isinstance(buffer, RolloutBuffer) and done >= run.steps_per_generation:
            buffer.finish(largest)
        # A batch size that mutated beyond the buffer waits for it to fill.
        if not run.overlap and (on_policy or len(buffer) >= largest):
            latest = population.learn(buffer, ratio=run.update_ratio) or latest
        observation = transition.reset_observation
        ended = transition.terminated | transition.truncated
        run.total_steps += envs.num_envs * len(population)
        for fault in envs.take_faults() if envs.faults else ():
            owner = None if fault.index is None else population.individuals[fault.index[0]].id
            faults.append(Fault(number, owner, fault.kind, fault.message))
        step += 1
        if step % spacing == 0 or done >= run.steps_per_generation:
            newest = _recorded(latest, losses) or newest
        now = time.perf_counter()
        if run.interrupted or now - shown > SHOWN_EVERY or done >= run.steps_per_generation:
            shown = now
            yield Progress(
                "train",
                number,
                min(done, run.steps_per_generation),
                run.steps_per_generation,
                run.total_steps,
                newest,
            )


@contextlib.contextmanager
def _stepping(envs: Any, action: Any) -> Iterator[Future[Transition]]:
    """The environments' step goes on in a thread of its own; it has ended when the block has, come what may."""
    with ThreadPoolExecutor(1, "environments") as thread:
        yield thread.submit(envs.step, action)


def _offline_steps(run: TrainingState, number: int, losses: dict[str, list[float]]) -> Iterator[Progress]:
    """Learn from the stored data, in pieces short enough to pause between."""
    population, piece = run.population, 25
    done, shown = 0, time.perf_counter()
    while done < run.steps_per_generation:
        count = min(piece, run.steps_per_generation - done)
        latest = population.learn(run.buffer, updates=count)
        done += count
        run.total_steps += count * len(population)
        newest = _recorded(latest, losses)
        now = time.perf_counter()
        if run.interrupted or now - shown > SHOWN_EVERY or done >= run.steps_per_generation:
            shown = now
            yield Progress("train", number, done, run.steps_per_generation, run.total_steps, newest)


def _recorded(latest: Mapping[str, Tensor], losses: dict[str, list[float]]) -> dict[str, float]:
    """Mean losses over the agents, noted for the generation's record."""
    means = {name: float(torch.nanmean(value)) for name, value in latest.items()}
    finite = {name: mean for name, mean in means.items() if np.isfinite(mean)}
    for name, mean in finite.items():
        losses.setdefault(name, []).append(mean)
    return finite


def fill(run: TrainingState, steps: int) -> Iterator[Progress]:
    """Random actions into the buffer: at least `steps` environment steps over the whole population."""
    envs, population = run.envs, run.population
    assert envs is not None
    stream = numpy_stream(run.seed, run.total_steps, "fill")
    envs.reset(seed=seed_of(run.seed, run.total_steps, "fill") % 2**31)
    done, shown = 0, time.perf_counter()
    width = len(population) * envs.num_envs
    while done < steps:
        transition = envs.step(population.random_actions(envs.num_envs, stream))
        run.buffer.add(transition)
        done += width
        run.total_steps += width
        population.hyper["steps"].add_(envs.num_envs)
        for individual in population.individuals:
            individual.steps += envs.num_envs
        now = time.perf_counter()
        if run.interrupted or now - shown > SHOWN_EVERY or done >= steps:
            shown = now
            yield Progress("fill", run.generation, min(done, steps), steps, run.total_steps)
