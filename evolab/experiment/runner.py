"""Runner: what pulls the events of a run, in the foreground or on a thread, and can be stopped at any moment."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from evolab.core import checks
from evolab.history.events import Finished, Generation, Progress
from evolab.reporting.progress import bar
from evolab.training.loop import train
from evolab.training.state import TrainingState

if TYPE_CHECKING:
    from evolab.experiment.checkpointer import Checkpointer
    from evolab.history.history import History

PATIENCE = 3.0
"""Seconds after which a second Ctrl-C no longer waits for the environments."""


class Runner:
    """The part of an experiment that moves: step, run, start, pause, stop, wait.

    Attributes:
        target: mean return at which `run` stops; None for none.
        status: "idle", "running", "paused", "stopped" or "failed".
        version: grows with every change that a view may want to show.
        progress: how far the current phase is; None before the first.
        error: what ended the background thread, until the next call raises it.
    """

    def __init__(self, run: TrainingState, target: float | None) -> None:
        self._run = run
        self.target = target
        self.status, self.version = "idle", 0
        self.progress: Progress | None = None
        self.error: BaseException | None = None
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._wish = "run"
        self._keeper: Checkpointer

    # Stepping ---------------------------------------------------------------------------------

    def step(self) -> Generation:
        """One generation: learn, evaluate, select, mutate. Shows a progress bar; returns what happened.

        Ctrl-C (the kernel's interrupt) is honoured at the next step of the environments; the
        next call goes on where this one stopped.
        """
        self.run(generations=1)
        return self._run.history.generations[-1]

    def run(
        self, generations: int | None = None, *, max_steps: int | None = None, target: float | None = None
    ) -> History:
        """Generations until a goal is met.

        Args:
            generations: so many more generations.
            max_steps: until `total_steps` reaches this.
            target: until the best agent averages this return over fresh episodes (20, then 80 more, where
                `confirmation` says nothing else); None for the
                experiment's own target, if it has one.

        Returns:
            the history, so that it shows at the end of a cell.

        Raises:
            ValueError: no goal at all, or an empty buffer.
        """
        goal = self.target if target is None else target
        if generations is None and max_steps is None and goal is None:
            raise ValueError("run() needs a goal: generations=20, max_steps=300_000 or target=200.0.")
        self._ready(generations, max_steps, target)
        if target is not None:
            self.target = float(target)
        with self._interruptible(), bar("training", self._run.options.steps_per_generation) as show:
            self.status = "running"
            try:
                for event in self._pull(generations, max_steps, goal):
                    if isinstance(event, Progress):
                        show(event)
                    self._raise_interrupt()
                self.status = "idle"
            except KeyboardInterrupt:
                self.status = self._wish if self._wish != "run" else "paused"
                raise
            except BaseException:
                self.status = "failed"
                raise
        return self._run.history

    def _pull(self, generations: int | None, max_steps: int | None, target: float | None) -> Iterator[Any]:
        events = train(self._run, generations, max_steps, target)
        threads = torch.get_num_threads()
        while True:
            with self._lock:
                # Two intra-op threads lose to one on small matrices, badly on a busy machine.
                torch.set_num_threads(1)
                try:
                    event = next(events, None)
                except Exception:
                    self._keeper.failed()
                    raise
                finally:
                    torch.set_num_threads(threads)
                if event is not None:
                    self._keeper.after(event)
            if event is None:
                return
            self._note(event)
            yield event

    def _note(self, event: Progress | Generation | Finished) -> None:
        if isinstance(event, Progress):
            self.progress = event
        self.version += 1

    def _ready(self, generations: Any = None, max_steps: Any = None, target: Any = None) -> None:
        for name, goal in (("generations", generations), ("max_steps", max_steps)):
            if goal is not None:
                checks.positive_integer(name, goal)
        if target is not None:
            checks.finite("target", target)
        self._refuse_while_running("step")
        algorithm = self._run.population.algorithm
        self._keeper.ready()
        self._run.place_buffer()
        if algorithm.on_policy:
            return
        largest = 1 if algorithm.offline else self._run.population.table.largest_batch
        if len(self._run.buffer) < largest:
            recorded = algorithm.offline or self._run.envs is None
            advice = "exp.fill('data.h5')" if recorded else f"exp.fill({max(1000, largest)})"
            raise ValueError(
                f"the buffer holds {len(self._run.buffer)} transitions, fewer than the largest batch of {largest}. "
                f"Call {advice} first."
            )

    # In the background ------------------------------------------------------------------------

    def start(
        self, generations: int | None = None, *, max_steps: int | None = None, target: float | None = None
    ) -> None:
        """Train on a background thread; the notebook stays usable. Without a goal, until paused."""
        if self.status == "running" and self._wish == "run":
            return
        self._ready(generations, max_steps, target)
        goal = self.target if target is None else target
        self.status, self._wish = "running", "run"
        self._run.interrupt(False)

        def work() -> None:
            outcome = "idle"
            try:
                for event in self._pull(generations, max_steps, goal):
                    if self._wish != "run" and not isinstance(event, Finished):
                        outcome = self._wish
                        break
            except BaseException as error:
                self.error, outcome = error, "failed"
            self.status = outcome
            self.version += 1

        self._thread = threading.Thread(target=work, name="evolab", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Stop at the next step of the environments; `start`, `run` and `step` go on from there."""
        self._halt("paused")

    def stop(self) -> None:
        """As `pause`; the figures then say that the run was ended."""
        self._halt("stopped")

    def _halt(self, wish: str) -> None:
        if self.status == "running":
            self._wish = wish
            self._run.interrupt()
        elif self.status in ("idle", "paused"):
            self.status = wish
            self.version += 1

    def wait(self, timeout: float | None = None) -> str:
        """Wait for the background thread to come to rest; returns the status, raises its error."""
        if self._thread is not None:
            self._thread.join(timeout)
        self._raise_past_error()
        return self.status

    def _refuse_while_running(self, what: str) -> None:
        self._raise_past_error()
        if (
            self._thread is not None
            and self._thread.is_alive()
            and (self.status != "running" or self._wish != "run")
        ):
            self._thread.join()  # it was asked to rest, and does so at the next vector step
        if self.status == "running":
            raise RuntimeError(f"training runs in the background; call exp.pause() before exp.{what}().")

    def _raise_past_error(self) -> None:
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C sets a flag that the loop honours, so it never stops in the middle of an update.

        Only where the flag has not been honoured for `PATIENCE` seconds (an environment that hangs)
        does a further Ctrl-C stop at once.
        """
        self._run.interrupt(False)
        self._wish = "run"
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        first: list[float] = []

        def flag(*_: Any) -> None:
            first.append(time.monotonic())
            if first[-1] - first[0] > PATIENCE:
                raise KeyboardInterrupt
            self._run.interrupt()

        before = signal.signal(signal.SIGINT, flag)
        try:
            yield
            if first:  # it came too late for this call's last event, but a loop around it must stop
                raise KeyboardInterrupt
        finally:
            self._run.interrupt(False)
            signal.signal(signal.SIGINT, before)

    def _raise_interrupt(self) -> None:
        if self._wish != "run":
            self.status = self._wish
            raise KeyboardInterrupt(f"{self._wish} in generation {self._run.generation + 1}")
        if self._run.interrupted:
            raise KeyboardInterrupt(
                f"stopped in generation {self._run.generation + 1}; nothing is lost: exp.step() goes on from here."
            )
