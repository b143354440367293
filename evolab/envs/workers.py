"""Environments in processes of their own: for environments that are slow, hang or kill their process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import CloudpickleWrapper, clear_mpi_env_vars

from evolab.envs.backend import Failure, Faults, StepRows, VectorBackend
from evolab.envs.base import EnvironmentFault
from evolab.envs.batches import empty, put
from evolab.envs.guard import REBUILD, Guard, Told, one_line, traced
from evolab.envs.masks import rows_of

PATIENCE = 5.0  # seconds that processes have to close by themselves
STARTING = 30.0  # seconds that a new process may take on top of its first answer
STARTS = 3  # new processes in a row that may fail to begin an episode


class Workers(VectorBackend):
    """N guarded environments, one process each; one that hangs or dies is replaced, the others play on.

    What an environment raises is caught where it happens and costs its own episode. So does one that
    does not answer within `timeout`, or whose process is gone: its process is ended, another one is
    started, and that row of the step is skipped. (Gymnasium's `AsyncVectorEnv` cannot go on without
    one of its processes, so that all of them would lose their episodes.)

    On two cores this is 3 to 30 times slower than `Loop` for environments such as LunarLander.
    """

    def __init__(
        self, makers: Sequence[Callable[[], Guard]], name: str, timeout: float, space: spaces.Space
    ) -> None:
        """Start a process for every environment.

        Args:
            makers: one per environment; each makes a guarded environment in its process.
            name: what errors call the environment.
            timeout: seconds that a step or reset of one environment may take.
            space: of one observation.
        """
        self.space = space
        self._makers, self._name, self._timeout = makers, name, timeout
        self._context = multiprocessing.get_context()
        self._seeds: list[int] | None = None
        # Replacements since the last seeds, which key the next.
        self._anew = np.zeros(len(makers), dtype=np.int64)
        self.crew: list[Worker] = []
        self._end = weakref.finalize(self, dismiss, self.crew)
        self.crew += [self._hire(index) for index in range(len(makers))]
        self._fresh, self._calls = True, 0

    def reset(
        self, seeds: Sequence[int] | None, mask: np.ndarray | None = None, rebuild: bool = False
    ) -> tuple[Any, Faults]:
        """Start episodes; see `VectorBackend.reset`."""
        count = len(self.crew)
        if seeds is not None and mask is None:
            self._seeds, self._anew[:] = list(seeds), 0
        chosen = range(count) if mask is None else np.flatnonzero(mask).tolist()
        options = {REBUILD: True} if rebuild else None
        asked = {i: {"seed": None if seeds is None else seeds[i], "options": options} for i in chosen}
        answers, lost = self._ask("reset", asked, STARTING if self._fresh else 0.0)
        self._fresh = False
        answers |= self._replaced(lost)
        observation, told = empty(self.space, count), Told(dict(lost))
        for index, (first, info) in answers.items():
            put(self.space, observation, index, first)
            told.note(index, info)
        self.masks = rows_of(told.masks, count, self.masks)
        return observation, told.faults

    def step(self, action: np.ndarray, resting: np.ndarray) -> StepRows:
        """Step all that do not rest; the rows of those that do mean nothing."""
        count = len(self.crew)
        asked = {index: {"action": action[index]} for index in np.flatnonzero(~resting).tolist()}
        answers, lost = self._ask("step", asked)
        replaced = self._replaced(lost)
        answers |= {i: (first, 0.0, False, False, info) for i, (first, info) in replaced.items()}
        observation, told = empty(self.space, count), Told()
        reward = np.zeros(count, dtype=np.float32)
        terminated, truncated = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        for index, (seen, reward[index], terminated[index], truncated[index], info) in answers.items():
            try:
                put(self.space, observation, index, seen)
            except (ValueError, TypeError, KeyError, IndexError) as error:
                told.faults[index] = Failure("shape", one_line(error))
            told.note(index, info)
        faults = {**told.faults, **lost}
        self.masks = rows_of(told.masks, count, self.masks)
        flags = terminated, truncated, resting.copy()
        return StepRows(observation, reward, *flags, faults, metrics=told.metrics, masks=self.masks)

    def close(self) -> None:
        """End every process, by force where it does not end by itself."""
        waiting = []
        for worker in self.crew if self._end.alive else ():
            with suppress(OSError):
                worker.pipe.send((0, "close", {}))
                waiting.append(worker)
        deadline = time.monotonic() + PATIENCE
        for worker in waiting:
            worker.process.join(max(0.0, deadline - time.monotonic()))
        self._end()

    def _ask(
        self, command: str, asked: Mapping[int, Mapping[str, object]], grace: float = 0.0
    ) -> tuple[dict[int, Any], Faults]:
        """What environments answer to a command, and who gave no answer and why."""
        answers: dict[int, Any] = {}
        lost: Faults = {}
        problems: list[str] = []
        self._calls += 1
        for index, arguments in asked.items():
            with suppress(OSError):  # it is gone, which the missing answer tells
                self.crew[index].pipe.send((self._calls, command, arguments))
        deadline = time.monotonic() + self._timeout + grace
        for index in asked:
            worker, call = self.crew[index], 0
            try:
                while call != self._calls:  # an answer to a call that Ctrl-C broke off may come first
                    if not worker.pipe.poll(max(0.0, deadline - time.monotonic())):
                        raise TimeoutError
                    call, answered, value = worker.pipe.recv()
            except TimeoutError:
                lost[index] = Failure("hang", f"no answer within {self._timeout:g} s")
            except (EOFError, OSError):
                worker.process.join(1.0)  # a dying process closes its pipe before it is gone
                lost[index] = Failure("crash", f"its process ended with exit code {worker.process.exitcode}")
            else:
                if answered:
                    answers[index] = value
                else:
                    problems.append(value)
        if problems:
            raise EnvironmentFault(
                problems[0] if self._name in problems[0] else f"{self._name}: {problems[0]}"
            )
        return answers, lost

    def _replaced(self, lost: Iterable[int]) -> dict[int, Any]:
        """What new processes in place of the lost ones answer to their first reset."""
        answers: dict[int, Any] = {}
        left: Faults = dict.fromkeys(lost, Failure("", ""))
        for _ in range(STARTS):
            if not left:
                return answers
            dismiss([self.crew[index] for index in left])
            for index in left:
                self._anew[index] += 1
                self.crew[index] = self._hire(index)
            asked = {index: {"seed": self._next_seed(index), "options": None} for index in left}
            found, left = self._ask("reset", asked, STARTING)
            answers |= found
        if left:
            index, failure = next(iter(left.items()))
            raise EnvironmentFault(
                f"{self._name}: the process of environment {index} failed {STARTS} times in a row to begin an "
                f"episode: {failure.message}"
            )
        return answers

    def _next_seed(self, index: int) -> int | None:
        if self._seeds is None:
            return None
        words = np.random.SeedSequence([self._seeds[index], int(self._anew[index])]).generate_state(1)
        return int(words[0] >> 1)

    def _hire(self, index: int) -> Worker:
        here, there = self._context.Pipe()
        with clear_mpi_env_vars():
            process: Any = self._context.Process(  # type: ignore[attr-defined]
                target=serve,
                args=(there, CloudpickleWrapper(self._makers[index])),
                name=f"{self._name} {index}",
                daemon=True,
            )
            process.start()
        there.close()
        return Worker(process, here)


@dataclass
class Worker:
    """A process and our end of the pipe to it."""

    process: Any
    pipe: Any


def serve(pipe: Connection, make: Callable[[], Guard]) -> None:
    """Answer for one environment until told to close: (call, True, the answer), or (call, False, what went wrong)."""
    # The terminal sends Ctrl-C to the whole group; the run stops at the next vector step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    guard: Guard | None = None
    while True:
        try:
            call, command, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            if command == "close":
                if guard is not None:
                    guard.close()
                return
            guard = make() if guard is None else guard
            pipe.send((call, True, getattr(guard, command)(**arguments)))
        except EnvironmentFault as error:
            pipe.send((call, False, str(error)))
        except Exception as error:  # an environment may raise anything: its own process is told
            pipe.send((call, False, f"{one_line(error)}\n{traced(error)}"))


def _leave_with(parent: int) -> None:
    """End this process when the one that started it is gone, killed perhaps, whatever the environment is doing.

    The pipe does not tell: later processes of the same parent hold copies of its other end.
    """
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def dismiss(crew: Sequence[Worker]) -> None:
    """End processes at once."""
    for worker in crew:
        with suppress(ValueError):
            worker.process.kill()
    for worker in crew:
        worker.process.join(PATIENCE)
        with suppress(OSError):
            worker.pipe.close()
