"""The only training loop: a generator of events.

Online and offline differ in where batches come from, nothing else does. A generation is a
transaction: its environments and random streams start from seeds derived from (run seed,
generation, purpose). To pause is to stop pulling; nothing is half done between two events.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolab.agent import Agent
from evolab.envs.env import Environments
from evolab.evaluation import Evaluated, evaluating, warned_limit
from evolab.events import Birth, Evaluation, Fault, Finished, Generation, Progress
from evolab.generation import evolve
from evolab.history import History
from evolab.mutations.mutation import Mutations
from evolab.population import Population
from evolab.randomness import numpy_stream, seed_of, torch_stream
from evolab.selections.selection import Selection
from evolab.sources.replay import ReplayBuffer

SHOWN_EVERY = 0.1
"""Seconds between two `Progress` events."""

CONFIRMATION = 20
"""Fresh episodes that confirm a record."""

SECOND_CONFIRMATION = 80
"""Further episodes where those reach the target. Every generation tries, so twenty are met by luck too
often: an agent of 152 over a hundred episodes passed them (measured)."""


@dataclass
class Run:
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
        eval_steps: longest evaluation episode; None for the environment's own limit.
        update_ratio: updates per agent and environment step of its own, at a learn step of 1.
        evolving: False leaves the population as it is.
        revive: the archived elite returns in place of the worst agent when nobody reaches it.
        seed: of the run.
        generation: finished generations.
        total_steps: training steps of all agents, warm-up included.
        evaluation_steps: environment steps of evaluation.
        best: a copy of the best agent of the last generation.
        elite: the best agent that evaluation on fresh episodes has confirmed.
        elite_fitness: its mean return over those episodes.
        target: mean return that is looked for; what `train` was asked last.
        interrupted: set to have the next vector step yield, whatever the clock says.
    """

    population: Population
    buffer: ReplayBuffer
    envs: Environments | None
    selection: Selection
    mutations: Mutations
    fitness: Any = None
    steps_per_generation: int = 10_000
    eval_episodes: int = 1
    eval_steps: int | None = None
    update_ratio: float = 1.0
    evolving: bool = True
    revive: bool = True
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
    current: Iterator[Progress | Generation] | None = None
    evaluators: dict[int, Environments] = field(default_factory=dict)

    def evaluator(self, episodes: int) -> Environments:
        """Environments for that many episodes per agent, kept for the next time."""
        if episodes not in self.evaluators:
            assert self.envs is not None
            if self.eval_steps is None and self.envs.max_episode_steps is None:
                self.eval_steps = warned_limit(self.envs.name)  # said once, and then set
            self.evaluators[episodes] = self.envs.evaluator(episodes)
        return self.evaluators[episodes]

    def close(self) -> None:
        """Close all environments."""
        for envs in [self.envs, *self.evaluators.values()]:
            if envs is not None:
                envs.close()


def train(
    run: Run, generations: int | None = None, max_steps: int | None = None, target: float | None = None
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
    if max_steps is not None and run.total_steps >= max_steps and run.current is None and run.history.generations:
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
    run: Run, event: Generation, finished: int, generations: int | None, max_steps: int | None, target: float | None
) -> str | None:
    if target is not None and event.confirmed is not None and event.confirmed >= target:
        return "target"
    if generations is not None and finished >= generations:
        return "generations"
    if max_steps is not None and run.total_steps >= max_steps:
        return "max_steps"
    return None


def one_generation(run: Run) -> Iterator[Progress | Generation]:
    """Learn, evaluate, confirm, evolve: one generation, recorded in the run's history."""
    number = run.generation + 1
    population = run.population
    population.reseed(number)
    started = time.perf_counter()
    losses: dict[str, list[float]] = {}
    faults: list[Fault] = []
    learning = _online(run, number, losses, faults) if run.envs is not None and not _offline(run) else _offline_steps(run, number, losses)
    yield from learning
    trained = time.perf_counter()
    evaluated = yield from _evaluate(run, number, faults)
    fitness, extra, lengths, episodes = evaluated
    for member, value in zip(population.members, fitness, strict=True):
        member.fitness.append(float(value))
    scores = np.array([_window_mean(m.fitness, run.selection.window) for m in population.members])
    order = np.argsort(np.where(np.isfinite(scores), -scores, np.inf), kind="stable")
    run.best = Agent(population.copy([int(order[0])]), population.members[int(order[0])].id)
    confirmed = yield from _confirm(run, number, float(fitness[order[0]]), run.target)
    measured = time.perf_counter()
    elite_id = population.members[int(order[0])].id
    evaluations = tuple(
        _record(run, number, int(row), float(fitness[row]), episodes, float(lengths[row]), elite_id, extra) for row in order
    )
    weights = run.mutations.weights
    births = ()
    if run.evolving:
        births = tuple(_evolve(run, number, scores))
        elites = {birth.agent for birth in births if birth.kind == "elite"}  # none without elitism
        evaluations = tuple(replace(one, is_elite=one.agent in elites) for one in evaluations)
    for row in order[: 0 if np.isfinite(fitness).all() else None]:
        if not np.isfinite(fitness[row]):
            agent = evaluations[list(order).index(row)].agent
            faults.append(Fault(number, agent, "diverged", "fitness is not finite; it cannot win a tournament"))
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


def _offline(run: Run) -> bool:
    return run.population.algorithm.offline


def _online(run: Run, number: int, losses: dict[str, list[float]], faults: list[Fault]) -> Iterator[Progress]:
    """Act, store, learn, until every agent has taken its steps."""
    envs, population, buffer = run.envs, run.population, run.buffer
    assert envs is not None
    observation = envs.reset(seed=seed_of(run.seed, number, "environments") % 2**31)
    ended: Any = None
    done, step, shown = 0, 0, time.perf_counter()
    # By count, not by the clock: the record of a run does not depend on how fast it was. Odd, so
    # that updates every second step are met.
    spacing = run.steps_per_generation // envs.num_envs // 100 | 1
    newest: Mapping[str, float] = {}
    while done < run.steps_per_generation:
        action = population.act(observation, explore=True, ended=ended)
        transition = envs.step(action)
        buffer.add(transition)
        latest = population.learn(buffer, ratio=run.update_ratio)
        observation = transition.reset_observation
        ended = transition.terminated | transition.truncated
        done += envs.num_envs
        run.total_steps += envs.num_envs * len(population)
        for fault in envs.take_faults() if envs.faults else ():
            owner = None if fault.member is None else population.members[fault.member[0]].id
            faults.append(Fault(number, owner, fault.kind, fault.message))
        step += 1
        if step % spacing == 0 or done >= run.steps_per_generation:
            newest = _recorded(latest, losses) or newest
        now = time.perf_counter()
        if run.interrupted or now - shown > SHOWN_EVERY or done >= run.steps_per_generation:
            shown = now
            yield Progress("train", number, min(done, run.steps_per_generation), run.steps_per_generation, run.total_steps, newest)


def _offline_steps(run: Run, number: int, losses: dict[str, list[float]]) -> Iterator[Progress]:
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


def _by_returns(run: Run) -> bool:
    """True where episodes in the environment decide, whatever else is measured beside them."""
    return run.envs is not None and (run.fitness is None or run.fitness.beside_returns)


def _evaluate(run: Run, number: int, faults: list[Fault]) -> Any:
    """Fitness [P], other measures by name, mean lengths [P] and episodes, with progress on the way."""
    population = run.population
    extra: dict[str, np.ndarray] = {}
    if run.fitness is not None:
        estimate = run.fitness.estimate(population, run.buffer, seed_of(run.seed, number, "fitness"))
        for progress in estimate:
            if isinstance(progress, np.ndarray):
                values = progress
            else:
                yield Progress("evaluate", number, *progress, run.total_steps)
        extra = dict(getattr(run.fitness, "measures", {"fqe": values}))
        if not _by_returns(run):
            return values, extra, np.zeros(len(population)), 0
    if run.envs is None:
        raise ValueError(
            "there is no environment to evaluate in. Pass one, or measure fitness from the data with fitness='fqe'."
        )
    evaluator = run.evaluator(run.eval_episodes)
    total = len(population) * run.eval_episodes
    result = yield from _played(run, population, evaluator, seed_of(run.seed, number, "evaluation"), number, total)
    for fault in evaluator.take_faults():
        owner = None if fault.member is None else population.members[fault.member[0]].id
        faults.append(Fault(number, owner, fault.kind, fault.message))
    return result.fitness, extra, result.lengths.mean(1), run.eval_episodes


def _played(
    run: Run, population: Population, evaluator: Environments, seed: int, number: int, total: int, paired: bool = True
) -> Any:
    shown = time.perf_counter()
    for event in evaluating(population, evaluator, seed, run.eval_steps, paired):
        if isinstance(event, Evaluated):
            run.evaluation_steps += event.steps
            return event
        now = time.perf_counter()
        if run.interrupted or now - shown > SHOWN_EVERY:
            shown = now
            yield Progress("evaluate", number, event, total, run.total_steps)
    raise AssertionError("an evaluation ends with its result")


def _confirm(run: Run, number: int, fitness: float, target: float | None) -> Any:
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
        returns = np.concatenate([returns, result.returns.ravel()])
        if np.isnan(returns).all():
            return None
        mean = float(np.nanmean(returns))
        if target is None or mean < target:
            break
    if mean > run.elite_fitness:
        run.elite, run.elite_fitness = run.best.copy(), mean
        run.elite._member.fitness.append(mean)
    return mean


def _record(
    run: Run,
    number: int,
    row: int,
    fitness: float,
    episodes: int,
    length: float,
    elite_id: int,
    extra: Mapping[str, np.ndarray],
) -> Evaluation:
    member = run.population.members[row]
    return Evaluation(
        generation=number,
        agent=member.id,
        parent=member.parent,
        fitness=fitness,
        episodes=episodes,
        length=length,
        steps=member.steps,
        total_steps=run.total_steps,
        updates=member.updates,
        hyperparameters=dict(member.hyperparameters),
        hidden=tuple(member.genes.hidden),
        activation=tuple(member.genes.activation),
        parameters=run.population.parameter_count(member),
        is_elite=member.id == elite_id,
        extra={name: float(values[row]) for name, values in extra.items()},
    )


def _evolve(run: Run, number: int, scores: np.ndarray) -> list[Birth]:
    probes = None
    if len(run.buffer):
        stream = torch_stream(run.seed, number, "probes", device=run.buffer.device or "cpu")
        probes = run.buffer.observations(64, stream)
    scores, revived = _revive(run, scores) if run.revive else (scores, None)
    births = evolve(
        run.population,
        scores,
        run.selection,
        run.mutations,
        generation=number,
        buffer=run.buffer,
        probes=probes,
        generator=numpy_stream(run.seed, number, "evolution"),
    )
    if revived is None:
        return births
    assert run.elite is not None
    for member in run.population.members:  # lineage leads to the archived agent, which was evaluated
        member.parent = run.elite.id if member.parent == revived else member.parent
    return [_from_archive(birth, revived, run.elite.id) for birth in births]


def _revive(run: Run, scores: np.ndarray) -> tuple[np.ndarray, int | None]:
    """Let the archived elite take the place of the worst agent where nobody reaches its confirmed fitness.

    Deep Q-learning forgets: the best agent goes on learning and may never be that good again.
    Returns the scores, in the order of the rows, and the id of the revived agent.
    """
    population = run.population
    today = scores[np.isfinite(scores)]
    if run.elite is None or len(population) == 1 or (len(today) and today.max() >= run.elite_fitness):
        return scores, None
    worst = int(np.argmin(np.where(np.isfinite(scores), scores, -np.inf)))
    members = [population.member(row) for row in range(len(population))]
    archived = run.elite._population.member(0)
    revived = archived.child(population.new_id())
    revived.fitness = [run.elite_fitness]
    members[worst] = revived
    scores = scores.copy()
    scores[worst] = run.elite_fitness
    return scores[population.rebuild(members)], revived.id


def _from_archive(birth: Birth, revived: int, elite: int) -> Birth:
    """A record of birth in which the revived agent is a child of the archived one, as are its children."""
    if birth.agent == revived:
        return replace(birth, parent=elite, kind="revived", detail=f"the archived elite {elite}, unchanged")
    if birth.parent == revived:
        return replace(birth, parent=elite, detail=birth.detail.replace(f"copy of {revived}", f"copy of {elite}"))
    return birth


def _window_mean(values: list[float], window: int) -> float:
    return float(np.mean(values[-window:]))


def fill(run: Run, steps: int) -> Iterator[Progress]:
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
        for member in population.members:
            member.steps += envs.num_envs
        now = time.perf_counter()
        if run.interrupted or now - shown > SHOWN_EVERY or done >= steps:
            shown = now
            yield Progress("fill", run.generation, min(done, steps), steps, run.total_steps)
