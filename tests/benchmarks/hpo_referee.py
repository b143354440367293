"""What `hpo.py` measures with: a meter in the environments, and a referee that tries what an arm offers.

The meter counts calls of `step` in the environments themselves: training, evaluation, confirmation, trials that
were given up, whatever the library says of itself. What the referee plays is the measurement and counts
for nobody, neither as steps nor as time. Time is CPU time of the process, all its threads together: on a quiet
machine what a clock shows, and on a busy one still a measure of the tool.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import WrapperSpec
from hpo_tasks import MARKS, Task

EPISODES, SCREENED, SIDE_BY_SIDE = 100, 20, 20
"""Fresh episodes behind a verdict; those that come first, and may show that it is hopeless; environments."""

Policy = Callable[[np.ndarray], np.ndarray]
"""Greedy actions for a batch of observations. It must not change while the arm learns on."""


class Over(BaseException):
    """The run has ended. No library swallows it, as it is no `Exception`."""


class Meter:
    """Steps and CPU seconds of one run, and its end.

    Args:
        limit: environment steps at which the run ends.
        minutes: CPU time at which it ends; None for no such limit.
        clock: seconds.
    """

    def __init__(
        self, limit: int, minutes: float | None = None, clock: Callable[[], float] = time.process_time
    ) -> None:
        self.limit, self.most = limit, None if minutes is None else 60 * minutes
        self.steps, self._clock, self._apart = 0, clock, 0.0
        self._began: float | None = None  # of the rest that goes on
        self._started = clock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Meter:
        """The meter itself: Gymnasium copies the specs that lead to it."""
        return self

    @property
    def seconds(self) -> float:
        """Spent by the arm so far; it stands still while the meter rests."""
        now = self._clock() if self._began is None else self._began
        return now - self._started - self._apart

    def count(self) -> None:
        """An environment is about to step."""
        if self._began is not None:
            return
        if self.steps >= self.limit:
            raise Over("budget")
        if self.most is not None and self.steps % 64 == 0 and self.seconds >= self.most:
            raise Over("time")
        self.steps += 1

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """What happens inside counts for nobody."""
        began = self._began = self._clock()
        try:
            yield
        finally:
            self._began = None
            self._apart += self._clock() - began


class Counted(gymnasium.Wrapper):
    """An environment that tells a meter."""

    def __init__(self, env: gymnasium.Env, meter: Meter) -> None:
        super().__init__(env)
        self._meter = meter

    def step(self, action: Any) -> Any:
        """One step, which counts unless the meter rests."""
        self._meter.count()
        return self.env.step(action)


@contextlib.contextmanager
def metered(name: str, meter: Meter) -> Iterator[None]:
    """Every environment of this id that is made inside tells the meter, whoever makes it."""
    spec = gymnasium.spec(name)
    wrapper = WrapperSpec("Counted", f"{__name__}:Counted", {"meter": meter})
    gymnasium.registry[name] = dataclasses.replace(
        spec, additional_wrappers=(*spec.additional_wrappers, wrapper)
    )
    try:
        yield
    finally:
        gymnasium.registry[name] = spec


def play(name: str, policy: Policy, episodes: int, seed: np.random.SeedSequence) -> list[float]:
    """Returns of whole episodes, in as many environments as divide them evenly, each with its share."""
    count = max(n for n in range(1, SIDE_BY_SIDE + 1) if episodes % n == 0)
    envs = [gymnasium.make(name) for _ in range(count)]
    seeds = seed.generate_state(count)
    observation = [env.reset(seed=int(one))[0] for env, one in zip(envs, seeds, strict=True)]
    left, total, returns = [episodes // count] * count, [0.0] * count, list[float]()
    while any(left):
        at_play = [index for index in range(count) if left[index]]
        actions = policy(np.stack([observation[index] for index in at_play]))
        for index, action in zip(at_play, actions, strict=True):
            observation[index], reward, terminated, truncated, _ = envs[index].step(action)
            total[index] += float(reward)
            if terminated or truncated:
                returns.append(total[index])
                total[index], left[index] = 0.0, left[index] - 1
                if left[index]:
                    observation[index] = envs[index].reset()[0]
    for env in envs:
        env.close()
    return returns


class Referee:
    """Tries the policies that an arm would hand out, and writes down when the first one reached the target.

    An arm offers a policy with its own estimate of it. The policy is tried where the estimate is the
    best so far, or reaches the target: 20 fresh episodes, and 80 more unless the target lies more than two standard
    errors above their mean. What was offered last is in hand, and is what the marks of the budget find.

    Args:
        task: what is asked.
        meter: of the run.
        seed: of the run; the episodes follow from it, and are new each time.
        budget: environment steps that the marks are fractions of.
        play: plays episodes, as `play`.
    """

    def __init__(
        self, task: Task, meter: Meter, seed: int, budget: int, play: Callable[..., list[float]] = play
    ) -> None:
        self.task, self.meter, self.budget, self._play = task, meter, budget, play
        self.means: dict[float, float | None] = {}
        self.offers: list[dict[str, Any]] = []
        self.solved: dict[str, Any] | None = None
        self.said: dict[str, Any] = {}
        self._seeds = np.random.SeedSequence([zlib.crc32(task.name.encode()), seed])
        self._policy: Policy | None = None
        self._returns: list[float] = []
        self._best = float("-inf")

    def offer(self, make: Callable[[], Policy], estimate: float) -> None:
        """Take a policy in hand, and try it, if it promises to be the best so far or to reach the target.

        Args:
            make: gives the policy, if it is wanted.
            estimate: mean return, as the arm itself knows it.

        Raises:
            Over: it averages the target over 100 fresh episodes.
        """
        with self.meter.resting():
            self._pass_marks()
            if not self.solved and (estimate >= self._best or estimate >= self.task.target):
                self._best = max(self._best, estimate)
                self._policy, self._returns = make(), []
                self.offers.append(
                    {
                        "steps": self.meter.steps,
                        "cpu_seconds": round(self.meter.seconds, 2),
                        "estimate": round(float(estimate), 3),
                    }
                )
                self._try(SCREENED)
                error = np.std(self._returns, ddof=1) / np.sqrt(SCREENED)
                if np.mean(self._returns) + 2 * error >= self.task.target:
                    self._try(EPISODES)
        if self.solved:
            raise Over("solved")

    def finish(self, outcome: str) -> dict[str, Any]:
        """What is to be said of the run, once it has ended."""
        with self.meter.resting():
            self._pass_marks()
            if self._policy is not None and self.solved is None:
                self._try(EPISODES)
        last = float(np.mean(self._returns)) if self._returns else None
        for mark in MARKS:
            self.means.setdefault(mark, last)
        solved = self.solved or {"steps": None, "cpu_seconds": None}
        return {
            "outcome": "solved" if self.solved else outcome,
            "steps": solved["steps"],
            "cpu_seconds": solved["cpu_seconds"],
            "spent_steps": self.meter.steps,
            "spent_cpu_seconds": round(self.meter.seconds, 2),
            "means": {str(mark): self.means[mark] for mark in MARKS},
            "offers": self.offers,
            "said": self.said,
        }

    def _pass_marks(self) -> None:
        for mark in MARKS:
            if mark not in self.means and self.meter.steps >= mark * self.budget:
                if self._policy is not None:
                    self._try(EPISODES)
                self.means[mark] = float(np.mean(self._returns)) if self._returns else None

    def _try(self, episodes: int) -> None:
        """Have the policy in hand play until so many episodes are known of it."""
        missing = episodes - len(self._returns)
        if missing > 0:
            assert self._policy is not None
            (seeds,) = self._seeds.spawn(1)
            self._returns += self._play(self.task.name, self._policy, missing, seeds)
        offer = self.offers[-1]
        offer["mean"], offer["episodes"] = round(float(np.mean(self._returns)), 3), len(self._returns)
        if len(self._returns) >= EPISODES and np.mean(self._returns) >= self.task.target and not self.solved:
            self.solved = {"steps": offer["steps"], "cpu_seconds": offer["cpu_seconds"]}
