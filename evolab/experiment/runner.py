"""Runner: pulls the events of training, in the foreground or on a thread, and stops at any moment."""

from __future__ import annotations

import atexit
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from evolab.history.events import Event, Finished, Generation, Progress
from evolab.networks.kernels.core_sharing import cores_for_kernels
from evolab.training.state import TrainingState

PATIENCE = 3.0
"""Seconds after which a second Ctrl-C no longer waits for the environments."""

COMES_TO = {"paused": "pausing", "stopped": "stopping"}
"""What a run is doing until it has come to rest as it was asked to."""


@dataclass
class _Job:
    """Something to do between two generations, for a thread that waits for it."""

    work: Callable[[], None]
    done: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


class Runner:
    """Drives whatever yields the events of a run; knows neither disk nor trackers.

    Args:
        state: that the events change; it is asked to yield at its next step where the runner is to rest.

    Attributes:
        version: grows with every change that a view may want to show.
        progress: how far the current phase is; None before the first.
        error: what ended the background thread, until the next call raises it.
        lock: held while the state is being changed; whoever reads the live agents takes it.
    """

    def __init__(self, state: TrainingState) -> None:
        self._status, self.version = "idle", 0
        self.progress: Progress | None = None
        self.error: BaseException | None = None
        self.lock = threading.RLock()
        self._state = state
        self._thread: threading.Thread | None = None
        self._wish = "run"
        self._jobs: list[_Job] = []

    @property
    def status(self) -> str:
        """What the run is doing: "idle", "running", "pausing", "paused", "stopping", "stopped" or "failed"."""
        return COMES_TO.get(self._wish, "running") if self._status == "running" else self._status

    def changed(self) -> None:
        """Tell the views that there is something new."""
        self.version += 1

    # In the foreground ------------------------------------------------------------------------

    def run(self, events: Iterator[Event], show: Callable[[Progress], None]) -> None:
        """Pull events until they end; Ctrl-C is honoured at the next step of the environments."""
        with self.interruptible():
            self._status = "running"
            try:
                self.follow(events, show)
                self._status = "idle"
            except KeyboardInterrupt:
                self._status = self._wish if self._wish != "run" else "paused"
                raise
            except BaseException:
                self._status = "failed"
                raise

    def follow(self, events: Iterator[Event], show: Callable[[Progress], None]) -> None:
        """Pull events, inside `interruptible`."""
        for event in self._pull(events):
            if isinstance(event, Progress):
                show(event)
            self._raise_interrupt()

    def _pull(self, events: Iterator[Event]) -> Iterator[Event]:
        while True:
            with self.lock:
                with cores_for_kernels():
                    event = next(events, None)
                if isinstance(event, Generation):
                    self._serve()
            if event is None:
                return
            if isinstance(event, Progress):
                self.progress = event
            self.changed()
            yield event

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Ctrl-C sets a flag that the loop honours, so it never stops in the middle of an update.

        Only where the flag has not been honoured for `PATIENCE` seconds (an environment that hangs)
        does a further Ctrl-C stop at once.
        """
        self._state.interrupt(False)
        self._wish = "run"
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        first: list[float] = []

        def flag(*_: object) -> None:
            first.append(time.monotonic())
            if first[-1] - first[0] > PATIENCE:
                raise KeyboardInterrupt
            self._state.interrupt()

        before = signal.signal(signal.SIGINT, flag)
        try:
            yield
            if first:  # it came too late for this call's last event, but a loop around it must stop
                raise KeyboardInterrupt
        finally:
            self._state.interrupt(False)
            signal.signal(signal.SIGINT, before)

    def _raise_interrupt(self) -> None:
        number = self._state.generation + 1
        if self._wish != "run":
            self._status = self._wish
            raise KeyboardInterrupt(f"{self._wish} in generation {number}")
        if self._state.interrupted:
            raise KeyboardInterrupt(
                f"stopped in generation {number}; nothing is lost: exp.step() goes on from here."
            )

    # In the background ------------------------------------------------------------------------

    def start(self, events: Iterator[Event], at_exit: Callable[[], None]) -> None:
        """Pull events on a thread until they end, or until it is asked to rest.

        Args:
            events: as for `run`.
            at_exit: ends everything where the interpreter ends before the thread does, which would
                otherwise be cut off inside torch and abort the process.
        """
        self._status, self._wish = "running", "run"
        self._state.interrupt(False)
        atexit.register(at_exit)

        def work() -> None:
            outcome = "idle"
            try:
                for event in self._pull(events):
                    if self._wish != "run" and not isinstance(event, Finished):
                        outcome = self._wish
                        break
            except BaseException as error:  # raised by `wait`, in the thread of who asks
                self.error, outcome = error, "failed"
            finally:
                atexit.unregister(at_exit)
            self._status = outcome
            self.changed()

        self._thread = threading.Thread(target=work, name="evolab", daemon=True)
        self._thread.start()

    def halt(self, wish: str) -> None:
        """Ask a run to rest at its next step.

        Args:
            wish: the status that it rests in, "paused" or "stopped".
        """
        if self._status == "running":
            self._wish = wish
            self._state.interrupt()
            self.changed()
        elif self._status in ("idle", "paused"):
            self._status = wish
            self.changed()

    def wait(self, timeout: float | None = None) -> str:
        """Wait for the background thread to come to rest; returns the status, raises its error."""
        self.join(timeout)
        self.raise_past_error()
        return self.status

    def join(self, timeout: float | None = None) -> None:
        """Wait for the background thread, if there is one."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def refuse_while_running(self, what: str) -> None:
        """Have a thread that was asked to rest do so first.

        Raises:
            RuntimeError: training runs in the background.
        """
        self.raise_past_error()
        if self._alive() and (self._status != "running" or self._wish != "run"):
            self.join()  # it was asked to rest, and does so at the next vector step
        if self._status == "running":
            raise RuntimeError(f"training runs in the background; call exp.pause() before exp.{what}().")

    def raise_past_error(self) -> None:
        """Raise what ended the background thread, once."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def _alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    # Between two generations ------------------------------------------------------------------

    def between_generations(self, work: Callable[[], None]) -> bool:
        """Do something between two generations: now, or at the end of the one that a thread is in.

        Returns:
            False where the run rests inside a generation, so that nothing was done.
        """
        if self._alive() and self._thread is not threading.current_thread():
            job = _Job(work)
            self._jobs.append(job)
            while self._alive() and not job.done.wait(0.1):
                pass
            if job.done.is_set():
                if job.error is not None:
                    raise job.error
                return True
            self._jobs.remove(job)
        with self.lock:
            if self._state.under_way:
                return False
            work()
        return True

    def _serve(self) -> None:
        while self._jobs:
            job = self._jobs.pop(0)
            try:
                job.work()
            except Exception as error:  # raised where the job was asked for
                job.error = error
            job.done.set()
