"""Environments in actors of Ray, a batch in each: for environments that are slow, or need other machines."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any

import numpy as np
from gymnasium import spaces

from evolab.core.ray_session import connect, imported, losses, room_in_store
from evolab.core.trees import Tree, map_leaves
from evolab.envs.backend import Failure, Faults, StepRows, VectorBackend
from evolab.envs.base import EnvironmentFault
from evolab.envs.batches import empty
from evolab.envs.guard import Guard, one_line, traced
from evolab.envs.in_process import Loop
from evolab.envs.masks import rows_of

PART = "vectorization='ray'"

STARTING = 120.0
"""Seconds that a new actor may take on top of its first answer."""

STARTS = 3
"""New actors in a row that may fail to begin their episodes."""

Answer = tuple[bool, Any]
"""True and what was asked for, or False and what went wrong."""


class EnvironmentBatch:
    """Some of the environments, stepped one after the other in an actor's process.

    Args:
        makers: one for each; they make guarded environments in that process.
    """

    def __init__(self, makers: Sequence[Callable[[], Guard]]) -> None:
        self._makers = makers
        self._loop: Loop | None = None

    def do(self, command: str, arguments: Mapping[str, object]) -> Answer:
        """Answer a call of `Loop`'s: what it gives, and what may be chosen next."""
        try:
            if self._loop is None:
                self._loop = Loop([make() for make in self._makers])
            return True, (getattr(self._loop, command)(**arguments), self._loop.masks)
        except EnvironmentFault as error:
            return False, str(error)
        except Exception as error:  # an environment may raise anything: its own process is told
            return False, f"{one_line(error)}\n{traced(error)}"


class RayBatches(VectorBackend):
    """N guarded environments in batches, an actor of Ray each; one that hangs or dies is replaced, the others play on.

    Observations, rewards and flags of a batch travel as one array each, through shared memory where they are large
    and the actor is on this machine. What one environment raises costs its own episode, as everywhere; an actor
    that is lost, or does not answer in time, costs those of its batch. The actors ask Ray for no CPU of their own,
    so that they cannot wait for those that hold the agents; they are spread over the cluster.

    Args:
        makers: one per environment; each makes a guarded environment in its process.
        name: what errors call the environment.
        timeout: seconds that a step or reset of one environment may take.
        space: of one observation.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: nobody answers at `RAY_ADDRESS`.
        TypeError: an environment's maker cannot be sent.
    """

    def __init__(
        self, makers: Sequence[Callable[[], Guard]], name: str, timeout: float, space: spaces.Space
    ) -> None:
        self.space = space
        self._name, self._timeout = name, timeout
        self._ray = imported(PART)
        connect(PART)
        count = max(1, min(int(self._ray.cluster_resources().get("CPU", 1)), len(makers)))
        self._parts = [part.tolist() for part in np.array_split(np.arange(len(makers)), count)]
        self._makers, self._size = makers, len(makers)
        self._seeds: list[int] | None = None
        self._anew = np.zeros(len(makers), dtype=np.int64)
        self._crew: list[Any] = []
        self._end = weakref.finalize(self, dismiss, self._ray, self._crew)
        self._crew += [self._hire(number) for number in range(count)]
        self._fresh = True

    def reset(
        self, seeds: Sequence[int] | None, mask: np.ndarray | None = None, rebuild: bool = False
    ) -> tuple[Any, Faults]:
        """Start episodes; see `VectorBackend.reset`."""
        if seeds is not None and mask is None:
            self._seeds, self._anew[:] = list(seeds), 0
        asked = {}
        for number, part in enumerate(self._parts):
            if mask is None or mask[part].any():
                own = None if seeds is None else [seeds[index] for index in part]
                chosen = None if mask is None else mask[part]
                asked[number] = {"seeds": own, "mask": chosen, "rebuild": rebuild}
        answers, lost = self._ask("reset", asked, STARTING if self._fresh else 0.0)
        self._fresh = False
        found = {number: first for number, (first, _) in (answers | self._replaced(lost)).items()}
        faults = self._of_lost(lost)
        for number, (_, own) in answers.items():
            faults |= {self._parts[number][index]: failure for index, failure in own.items()}
        return self._joined(found), faults

    def step(self, action: np.ndarray, resting: np.ndarray) -> StepRows:
        """Step all that do not rest; the rows of those that do mean nothing."""
        asked = {
            number: {"action": action[part], "resting": resting[part]}
            for number, part in enumerate(self._parts)
            if not resting[part].all()
        }
        answers, lost = self._ask("step", asked)
        rows = StepRows(
            self._joined(
                {number: own.observation for number, own in answers.items()}
                | {number: first for number, (first, _) in self._replaced(lost).items()}
            ),
            np.zeros(self._size, dtype=np.float32),
            np.zeros(self._size, dtype=bool),
            np.zeros(self._size, dtype=bool),
            resting.copy(),
            self._of_lost(lost),
        )
        for number, own in answers.items():
            part = self._parts[number]
            rows.reward[part], rows.terminated[part], rows.truncated[part] = (
                own.reward,
                own.terminated,
                own.truncated,
            )
            rows.faults |= {part[index]: failure for index, failure in own.faults.items()}
            rows.metrics |= {part[index]: found for index, found in own.metrics.items()}
        rows.masks = self.masks
        return rows

    def close(self) -> None:
        """End every actor."""
        self._end()

    def _joined(self, batches: Mapping[int, Tree]) -> Any:
        """[N, ...] in fresh memory; zeros for the batches that are not there."""
        parts = [
            batches[number] if number in batches else empty(self.space, len(part))
            for number, part in enumerate(self._parts)
        ]
        return map_leaves(lambda *leaves: np.concatenate(leaves), *parts)

    def _of_lost(self, lost: Mapping[int, Failure]) -> Faults:
        return {index: failure for number, failure in lost.items() for index in self._parts[number]}

    def _ask(
        self, command: str, asked: Mapping[int, Mapping[str, object]], grace: float = 0.0
    ) -> tuple[dict[int, Any], dict[int, Failure]]:
        """What batches answer to a command, and which gave no answer and why."""
        answers: dict[int, Any] = {}
        lost: dict[int, Failure] = {}
        problems: list[str] = []
        told: dict[int, np.ndarray] = {}
        with room_in_store(self._ray, self._name):
            calls = {
                number: self._crew[number].do.remote(command, dict(given)) for number, given in asked.items()
            }
        began = time.monotonic()
        for number, call in calls.items():
            limit = self._timeout * len(self._parts[number]) + grace
            try:
                with room_in_store(self._ray, self._name):
                    well, value = self._ray.get(call, timeout=max(0.0, began + limit - time.monotonic()))
            except self._ray.exceptions.GetTimeoutError:
                lost[number] = Failure("hang", f"no answer within {limit:g} s")
            except losses(self._ray) as error:
                lost[number] = Failure("crash", f"its actor ended: {str(error).strip().splitlines()[0]}")
            else:
                if well:
                    answers[number], masks = value
                    told |= {} if masks is None else dict(zip(self._parts[number], masks, strict=True))
                else:
                    problems.append(value)
        if problems:
            raise EnvironmentFault(
                problems[0] if self._name in problems[0] else f"{self._name}: {problems[0]}"
            )
        self.masks = rows_of(told, self._size, self.masks)
        return answers, lost

    def _replaced(self, lost: Mapping[int, Failure]) -> dict[int, Any]:
        """What new actors in place of the lost ones answer to their first reset."""
        answers: dict[int, Any] = {}
        left = dict(lost)
        for _ in range(STARTS):
            if not left:
                return answers
            dismiss(self._ray, [self._crew[number] for number in left])
            for number in left:
                self._anew[self._parts[number]] += 1
                self._crew[number] = self._hire(number)
            asked = {number: {"seeds": self._next_seeds(number)} for number in left}
            found, left = self._ask("reset", asked, STARTING)
            answers |= found
        if left:
            number, failure = next(iter(left.items()))
            raise EnvironmentFault(
                f"{self._name}: the actor of environments {self._parts[number][0]} to {self._parts[number][-1]} failed "
                f"{STARTS} times in a row to begin an episode: {failure.message}"
            )
        return answers

    def _next_seeds(self, number: int) -> list[int] | None:
        if self._seeds is None:
            return None
        keys = ([self._seeds[index], int(self._anew[index])] for index in self._parts[number])
        return [int(np.random.SeedSequence(key).generate_state(1)[0] >> 1) for key in keys]

    def _hire(self, number: int) -> Any:
        made = self._ray.remote(EnvironmentBatch).options(
            num_cpus=0, max_restarts=0, scheduling_strategy="SPREAD"
        )
        try:
            return made.remote([self._makers[index] for index in self._parts[number]])
        except TypeError as error:
            raise TypeError(
                f"{self._name} cannot be sent to an actor: {str(error).strip().splitlines()[0]} Pass a function of a "
                "module, or an id that names its module: 'my_module:MyEnv-v0'."
            ) from None


def dismiss(ray: ModuleType, crew: Sequence[object]) -> None:
    """End actors at once."""
    for actor in crew:
        with suppress(Exception):  # Ray is gone already
            ray.kill(actor)
