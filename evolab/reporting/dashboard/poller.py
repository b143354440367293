"""A thread that follows a dashboard and never keeps it alive."""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any, Protocol

from evolab.reporting.dashboard.live_run import LiveRun

PERIOD = 0.25  # seconds: at most four looks a second
KEEN = (
    0.02  # seconds between two looks at the status alone, for a second after the page has asked for something
)
SETTLED = 0.3  # seconds of rest before the saved state is written: stepping by hand does not flood
KEEP = 20.0  # seconds between updates of the saved state while training runs


class PolledDashboard(Protocol):
    """What a poller follows; a `Dashboard` is one.

    Attributes:
        experiment: that it shows.
        kept: the `rest` that was saved last.
        trouble: what went wrong last.
    """

    experiment: LiveRun
    kept: tuple[Any, ...]
    trouble: str

    @property
    def comm(self) -> object | None:
        """The connection to the page; None where it is gone."""

    @property
    def mark(self) -> tuple[Any, ...]:
        """Changes whenever there is something to tell."""

    @property
    def rest(self) -> tuple[Any, ...]:
        """Changes whenever what a notebook saves is out of date."""

    def tell(self) -> bool:
        """Send what is new; False if the page is behind."""

    def keep(self) -> None:
        """Update what a notebook saves."""


class Poller:
    """Calls `dashboard.tell()` when the experiment's version changed, and `dashboard.keep()` when it came to rest.

    Args:
        dashboard: a `Dashboard`, held weakly.
    """

    def __init__(self, dashboard: PolledDashboard) -> None:
        self._dashboard = weakref.ref(dashboard)
        self._wake = threading.Event()
        self._halt = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to follow; does nothing if it does already."""
        with self._lock:
            self._wake.set()
            if self.alive and not self._halt.is_set():
                return
            self._halt = threading.Event()
            self._thread = threading.Thread(
                target=_follow,
                args=(self._dashboard, self._wake, self._halt),
                name="evolab-dashboard",
                daemon=True,
            )
            self._thread.start()

    def stop(self) -> None:
        """End the thread at its next look."""
        self._halt.set()
        self._wake.set()

    def wake(self) -> None:
        """Look now rather than in a quarter of a second."""
        self._wake.set()

    @property
    def alive(self) -> bool:
        """True while the thread runs."""
        return self._thread is not None and self._thread.is_alive()


def _follow(ref: weakref.ref[PolledDashboard], wake: threading.Event, halt: threading.Event) -> None:
    told: Any = None
    stated: Any = None  # the status that was told last
    changed: Any = None
    since = last = time.monotonic()
    due = asked = 0.0
    while True:
        woken = wake.wait(KEEN if time.monotonic() < asked + 1 else PERIOD)
        wake.clear()
        dashboard = ref()  # a strong reference for this round alone
        if halt.is_set() or dashboard is None or dashboard.comm is None:
            return
        try:
            experiment, mark, now = dashboard.experiment, dashboard.mark, time.monotonic()
            asked = now if woken else asked
            if not woken and now < due and experiment.status == stated:
                continue
            if woken or mark != told:
                status = experiment.status
                told, stated = (mark, status) if dashboard.tell() else (None, None)
            due, rest = now + PERIOD, dashboard.rest
            if rest != changed:
                changed, since = rest, now
            settled = experiment.status != "running" and now - since > SETTLED
            if rest != dashboard.kept and (settled or now - last > KEEP):
                dashboard.keep()
                last = now
        except Exception as error:  # a page that fails must not take anything with it
            dashboard.trouble = f"{type(error).__name__}: {error}"
        finally:
            del dashboard
        time.sleep(KEEN)  # clicks in quick succession still make few messages
