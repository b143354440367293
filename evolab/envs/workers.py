"""Members in processes of their own: for environments so slow that the traffic does not matter."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from evolab.envs.adapter import Adapter, Faults
from evolab.envs.env import EnvironmentFault
from evolab.envs.guard import Guard, describe
from evolab.envs.loop import Rows

PATIENCE = 5.0  # seconds that workers have to close by themselves
STARTS = 3  # vectors in a row that may fail to reset


class Workers(Adapter):
    """Guarded members behind Gymnasium's `AsyncVectorEnv`, made anew when one hangs or dies.

    What a member raises is caught where it happens and costs its own episode. A member that
    does not answer within `timeout`, or whose process is gone, takes the vector with it: all
    processes are ended, all are started again, and every row of that step is skipped.

    On two cores this is 3 to 30 times slower than `Loop` for environments such as LunarLander.
    """

    def __init__(self, makers: Sequence[Callable[[], Guard]], name: str, timeout: float) -> None:
        """Start a process for every member.

        Args:
            makers: one per member; each makes a guarded environment in its process.
            name: what errors call the environment.
            timeout: seconds that a step or reset of all members may take.
        """
        self._makers = [Maker(maker) for maker in makers]
        self._name, self._timeout = name, timeout
        self._seeds: list[int] | None = None
        self._anew = 0  # starts since the last seeds, which key the seeds of the next start
        super().__init__(self._start(), AutoresetMode.DISABLED, guarded=True)

    def reset(
        self, seeds: list[int] | None, mask: np.ndarray | None = None, rebuild: bool = False
    ) -> tuple[Any, Faults]:
        """Start episodes; see `Loop.reset`. Where the vector fails, all members start anew."""
        if seeds is not None:
            self._seeds, self._anew = seeds, 0
        try:
            return super().reset(seeds, mask, rebuild)
        except EnvironmentFault:
            raise
        except Exception as error:
            faults = self._blame(error)
            return self._again(), faults

    def step(self, action: np.ndarray, resting: np.ndarray) -> Rows:
        """Step every member; resting ones rest in their processes."""
        self._ended[:] = False  # a guard that rests needs no reset
        try:
            return super().step(action, resting)
        except EnvironmentFault:
            raise
        except Exception as error:
            faults = self._blame(error)
            observation, count = self._again(), len(action)
            no = np.zeros(count, dtype=bool)
            return Rows(observation, np.zeros(count, dtype=np.float32), no, no.copy(), ~no, faults)

    def close(self) -> None:
        """End every process, by force where it does not end by itself."""
        shut(self.vector)

    def _call_reset(self, seed: Any, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        self.vector.reset_async(seed=seed, options=options)  # type: ignore[attr-defined]
        return self.vector.reset_wait(timeout=self._timeout)  # type: ignore[attr-defined]

    def _call_step(self, action: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.vector.step_async(action)  # type: ignore[attr-defined]
        return self.vector.step_wait(timeout=self._timeout)  # type: ignore[attr-defined]

    def _start(self) -> AsyncVectorEnv:
        return AsyncVectorEnv(self._makers, autoreset_mode=AutoresetMode.DISABLED)

    def _blame(self, error: Exception) -> Faults:
        """Which members failed, and how; -1 where it cannot be told."""
        vector: Any = self.vector
        if isinstance(error, multiprocessing.TimeoutError):
            silent = [i for i, pipe in enumerate(vector.parent_pipes) if not answered(pipe)]
            message = f"no answer within {self._timeout:g} s"
            return {index: ("hang", message) for index in silent or [-1]}
        for process in vector.processes:
            process.join(0.1)  # a dying process closes its pipe before it is gone
        dead = [i for i, process in enumerate(vector.processes) if not process.is_alive()]
        faults: Faults = {}
        for index in dead:
            code = vector.processes[index].exitcode
            faults[index] = ("crash", f"its process ended with exit code {code}: {describe(error)}")
        return faults or {-1: ("crash", describe(error))}

    def _again(self) -> Any:
        """Start every process anew; returns the first observations."""
        last: Exception | None = None
        for _ in range(STARTS):
            shut(self.vector, patience=0.0)
            self.starts, self._anew = self.starts + 1, self._anew + 1
            self.vector = self._start()
            try:
                return super().reset(self._next_seeds())[0]
            except EnvironmentFault:
                raise
            except Exception as error:
                last = error
        raise EnvironmentFault(f"{self._name}: its processes failed {STARTS} times in a row: {last!r}")

    def _next_seeds(self) -> list[int] | None:
        if self._seeds is None:
            return None
        words = [np.random.SeedSequence([seed, self._anew]).generate_state(1)[0] for seed in self._seeds]
        return [int(word >> 1) for word in words]


class Maker:
    """Makes one guarded member in its own process, where Ctrl-C is left to the parent."""

    def __init__(self, make: Callable[[], Guard]) -> None:
        """Remember how."""
        self._make = make

    def __call__(self) -> Guard:
        """Make it."""
        if multiprocessing.parent_process() is not None:
            # The terminal sends Ctrl-C to the whole group; the run stops at the next vector step.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return self._make()


def answered(pipe: Any) -> bool:
    """True if an answer waits in the pipe."""
    with suppress(OSError, AttributeError):
        return bool(pipe.poll(0))
    return False


def shut(vector: gymnasium.vector.VectorEnv[Any, Any, Any], patience: float = PATIENCE) -> None:
    """Close a vector environment in bounded time, whatever its processes do.

    Args:
        vector: any; only one with processes is ever closed by force.
        patience: seconds before force is used.
    """
    base: Any = vector.unwrapped
    if not isinstance(base, AsyncVectorEnv):
        vector.close()
        return
    if base.closed:
        return
    if patience > 0:
        # In a thread, since a worker that is gone or busy would never answer the request to close.
        thread = threading.Thread(target=_close, args=(vector,), daemon=True)
        thread.start()
        thread.join(patience)
        if not thread.is_alive() and base.closed:
            return
    base.closed = True
    for process in base.processes:
        if process.is_alive():
            process.kill()
    for process in base.processes:
        process.join(PATIENCE)
    for pipe in base.parent_pipes:
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _close(vector: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
    with suppress(Exception):
        vector.close()
