"""How a generation learns. Online, on-policy and offline differ in where batches come from, nothing else does."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from evolab.core import checks
from evolab.core.experience import Transition
from evolab.core.rng import numpy_stream, seed_of
from evolab.core.trees import Tree, map_leaves
from evolab.data.buffers.replay import ReplayBuffer
from evolab.envs.base import Environments
from evolab.evaluation.episodes import play_steps
from evolab.history.events import Fault, Progress
from evolab.population.acting import values
from evolab.training.random_play import RandomPlay, stands_still
from evolab.training.state import TrainingState

WARM_UP = 1_000
"""Random environment steps of all agents before learning begins, where nothing was filled in."""

SHOWN_EVERY = 0.1
"""Seconds between two `Progress` events."""

PIECE = 25
"""Updates between two moments at which learning from stored data can be paused."""


class Watch:
    """Tells when `Progress` is due.

    Args:
        state: one that is interrupted or out of time is shown at once, so that it can be paused.
    """

    def __init__(self, state: TrainingState) -> None:
        self._state, self._shown = state, time.perf_counter()

    def due(self, ended: bool = False) -> bool:
        """True some times a second, and at the end."""
        now = time.perf_counter()
        state = self._state
        if not (ended or state.interrupted or state.budget.over or now - self._shown > SHOWN_EVERY):
            return False
        self._shown = now
        return True


class Learned:
    """What a generation's learning tells of itself; losses are noted some hundred times.

    Attributes:
        noted: mean losses over the agents, by name.
        newest: of these the last ones.
        values: [P], what each agent's critic expects of an episode at its beginning; None where that is not known.
    """

    def __init__(self) -> None:
        self.noted: dict[str, list[float]] = {}
        self.newest: Mapping[str, float] = {}
        self.values: np.ndarray | None = None
        self._sums: dict[str, np.ndarray] = {}
        self._counts: dict[str, np.ndarray] = {}

    def note(self, latest: Mapping[str, Tensor]) -> None:
        """Note the losses of the last updates, [P] by name; NaN where an agent made none."""
        means = {name: float(torch.nanmean(value)) for name, value in latest.items()}
        finite = {name: mean for name, mean in means.items() if np.isfinite(mean)}
        for name, mean in finite.items():
            self.noted.setdefault(name, []).append(mean)
        self.newest = finite or self.newest
        for name, value in latest.items():
            one = value.double().cpu().numpy()
            known = np.isfinite(one)
            self._sums[name] = self._sums.get(name, 0.0) + np.where(known, one, 0.0)
            self._counts[name] = self._counts.get(name, 0) + known

    @property
    def losses(self) -> dict[str, float]:
        """Mean losses over the agents and the generation, by name."""
        return {name: float(np.mean(values)) for name, values in self.noted.items() if values}

    def of(self, row: int) -> dict[str, float]:
        """The same of one agent; a name is missing where it made no such update."""
        return {
            name: float(total[row] / self._counts[name][row])
            for name, total in self._sums.items()
            if self._counts[name][row]
        }


def learn(state: TrainingState, number: int, faults: list[Fault]) -> Generator[Progress, None, Learned]:
    """All agents' steps of a generation, and what is to be told of them."""
    losses, watch = Learned(), Watch(state)
    learning = (
        _by_acting(state, number, losses, faults) if state.learns_by_acting else _from_data(state, losses)
    )
    for done in learning:
        total = state.expected_steps
        if watch.due(done >= total or state.spent is not None):
            yield Progress("train", number, min(done, total), total, state.total_steps, losses.newest)
    return losses


def _by_acting(state: TrainingState, number: int, losses: Learned, faults: list[Fault]) -> Iterator[int]:
    """Act, store, learn, until every agent has taken its steps.

    The buffer says when it is time to learn. The steps that a generation's end leaves in a rollout
    are learned from if they make a whole minibatch, or if nothing else was learned from in this
    generation, which is then shorter than a rollout; they are dropped if not.
    """
    envs, population, buffer, options = state.envs, state.population, state.buffer, state.options
    assert envs is not None
    buffer.begin_generation()
    buffer.hear_of(envs.goals)  # what overlaps with the first step learns before that is stored
    least = population.table.least_experience
    latest: Mapping[str, Tensor] = {}
    # By count, not by the clock: the record of a run does not depend on how fast it was. Odd, so
    # that updates every second step are met.
    spacing = state.expected_steps // envs.num_envs // 100 | 1
    ratio = state.update_ratio * (len(population) if buffer.shared else 1)

    def update() -> None:
        nonlocal latest
        if buffer.ready(least):
            latest = population.learn(buffer, ratio=ratio) or latest

    def step(action: np.ndarray | Tensor) -> Transition:
        return _overlapped(envs, action, update) if options.overlap else envs.step(action)

    first = envs.reset(seed=seed_of(options.seed, number, "environments") % 2**31)
    episodes, done = state.episodes, 0
    discount = [one.hyperparameters.get("discount", 1.0) for one in population.individuals]
    episodes.begin(len(population), envs.num_envs, state.has_greedy_episodes, discount)
    permitted = envs.action_mask
    beginnings = map_leaves(lambda leaf: leaf.copy() if isinstance(leaf, np.ndarray) else leaf.clone(), first)

    random = None
    if isinstance(episodes.exploring, np.ndarray):
        random = RandomPlay(
            population,
            envs.num_envs,
            numpy_stream(options.seed, number, "random play"),
            stands_still(state.history),
            state.expected_steps // envs.num_envs,
        )

    def act(observation: Tree, ended: np.ndarray | None) -> np.ndarray | Tensor:
        mask = envs.action_mask
        action = population.act(observation, episodes.exploring, ended, mask)
        return action if random is None else random.stray(action, np.asarray(episodes.exploring), ended, mask)

    playing = play_steps(act, step, first)
    for count, transition in enumerate(playing, start=1):
        buffer.add(population.telling(transition))
        population.observe(transition)
        episodes.add(transition)
        done += envs.num_envs
        state.count(envs.num_envs * len(population))
        ended = state.over(done)
        if ended:
            buffer.end_generation(least if latest else 1)
        if not options.overlap:
            update()
        for fault in envs.take_faults() if envs.faults else ():
            owner = None if fault.index is None else population.individuals[fault.index[0]].id
            faults.append(Fault(number, owner, fault.kind, fault.message))
        if count % spacing == 0 or ended:
            losses.note(latest)
        if ended:
            expected = values(population.table, beginnings, permitted)
            losses.values = None if expected is None else expected.mean(1)
        yield done
        if ended:
            return


def _overlapped(envs: Environments, action: np.ndarray | Tensor, work: Callable[[], None]) -> Transition:
    """The environments' step in a thread of its own, while something else is done; it has ended, come what may."""
    with ThreadPoolExecutor(1, "environments") as thread:
        stepping = thread.submit(envs.step, action)
        work()
    return stepping.result()


def _from_data(state: TrainingState, losses: Learned) -> Iterator[int]:
    """Learn from the stored data, in pieces short enough to pause between."""
    done, total = 0, state.expected_steps
    while not done or not state.over(done):
        count = min(PIECE, total - done)
        if math.isfinite(state.left):
            count = max(1, min(count, -(-int(state.left) // len(state.population))))
        losses.note(state.population.learn(state.buffer, updates=count))
        done += count
        state.count(count * len(state.population))
        yield done


def fill(state: TrainingState, steps: int, budgeted: bool = False) -> Iterator[Progress]:
    """Random actions into the buffer: at least `steps` environment steps over the whole population.

    Args:
        state: of the run.
        steps: of all agents.
        budgeted: end sooner where the time of the run's budget is over.
    """
    envs, population, seed = state.envs, state.population, state.options.seed
    assert envs is not None
    stream, watch = numpy_stream(seed, state.total_steps, "fill"), Watch(state)
    state.buffer.begin_generation()
    population.table.begin_episodes()
    first = envs.reset(seed=seed_of(seed, state.total_steps, "fill") % 2**31)
    done, width = 0, len(population) * envs.num_envs
    play = RandomPlay(population, envs.num_envs, stream)
    for transition in play_steps(lambda _, ended: play.act(None, ended, envs.action_mask), envs.step, first):
        state.buffer.add(transition)
        population.observe(transition)
        done += width
        state.count(width)
        population.table.count_steps(envs.num_envs)
        ended = done >= steps or (budgeted and state.budget.over)
        if watch.due(ended):
            yield Progress("fill", state.generation, min(done, steps), steps, state.total_steps)
        if ended:
            return


def fill_within(state: TrainingState, steps: int) -> int:
    """So many random steps, or as many as the buffer keeps where these are fewer, which is said."""
    buffer = state.buffer
    if not isinstance(buffer, ReplayBuffer):
        return steps
    most = buffer.capacity * (1 if buffer.shared else len(state.population))
    if steps <= most:
        return steps
    checks.notice(
        f"fill is {steps:,}, and the buffer keeps {most:,} steps: so many are taken. Pass buffer={steps} to the "
        "experiment to keep more."
    )
    return most


def warm_up_steps(state: TrainingState, max_steps: int | None) -> int:
    """Random steps that a run begins with: none where it can learn already, and a tenth of a small budget.

    Raises:
        ValueError: it learns from data alone, and there are none.
    """
    least = state.population.table.least_experience
    if not state.population.algorithm.takes_others_experience or state.buffer.ready(least):
        return 0
    envs = state.envs if state.learns_by_acting else None
    if envs is None:
        raise ValueError("there are no data yet. Call exp.fill('data.h5') first.")
    if max_steps is None:
        return max(WARM_UP, least)
    width = len(state.population) * envs.num_envs  # of a vector step, which a generation takes at least
    left = max_steps - state.total_steps - state.evaluation_steps - width
    return max(0, min(left, max(least, min(WARM_UP, max_steps // 10))))
