"""What has changed since a page looked last, for any number of pages."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from evolab.reporting.board.followed import FollowedRun
from evolab.reporting.comparison.feed import LOOK, RunsFeed
from evolab.reporting.panels.feed import Feed

PERIOD = 0.5
"""Seconds between two looks at the files, however many pages ask."""

HEAD = ("title", "columns", "importance")


class RunsNews:
    """The rows and curves of all runs, each with the version at which it changed last.

    Args:
        folder: that holds runs, at any depth.
    """

    def __init__(self, folder: Path) -> None:
        self.feed = RunsFeed(folder)
        self._lock = threading.Lock()
        self._version = 0
        self._head: dict[str, Any] = {}
        self._parts: dict[str, dict[str, tuple[int, Any]]] = {"rows": {}, "curves": {}}
        self._looked: float | None = None

    def since(self, version: int) -> dict[str, Any]:
        """All that changed after a version; everything where a page knows nothing, or another board's."""
        with self._lock:
            self._look()
            anew = not 0 < version <= self._version
            after = 0 if anew else version
            message: dict[str, Any] = {"version": self._version, "reset": anew, **self._head}
            for kind, parts in self._parts.items():
                fresh = {name: value for name, (at, value) in parts.items() if at > after}
                message[kind] = {name: value for name, value in fresh.items() if value is not None}
                if kind == "rows":
                    message["gone"] = [name for name, value in fresh.items() if value is None]
            return message

    def _look(self) -> None:
        now = time.monotonic()
        if self._looked is not None and now - self._looked < PERIOD and not self.feed.more:
            return
        # The first page is shown the table at once, the curves as soon as they are read.
        self.feed.look(quick=self._looked is None, seconds=LOOK)
        self._looked = now
        messages = self.feed.messages(everything=not self._version)
        if messages:
            self._version += 1
        for message in messages:
            self._head |= {name: message[name] for name in HEAD if name in message}
            for kind, parts in self._parts.items():
                parts |= {name: (self._version, value) for name, value in message.get(kind, {}).items()}
            for name in message.get("gone", []):
                for parts in self._parts.values():
                    parts[name] = (self._version, None)

    def details(self, name: str) -> dict[str, Any]:
        """How one run's winner came to be; see `RunsFeed.details`."""
        return self.feed.details(name)

    def place(self, name: str) -> Path | None:
        """The folder of a run that the table names; None where there is none."""
        with self._lock:
            self._look()
            run = self.feed.runs.get(name)
        return getattr(run, "path", None)


class RunNews:
    """The generations of one run.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._run = FollowedRun(folder)
        self._feed = Feed(self._run, rollout_every=0)
        self._feed.no_pictures = "a board makes no environments; the run's folder may hold rollout.gif"
        self._history = self._run.history
        self._epoch = time.time_ns()
        self._lock = threading.Lock()
        self._looked = 0.0

    def since(self, epoch: int, after: int) -> dict[str, Any]:
        """What a page lacks that has seen everything up to a generation, of this epoch."""
        with self._lock:
            if time.monotonic() - self._looked > PERIOD:
                self._looked = time.monotonic()
                try:
                    self._run.look()
                    self._feed.trouble = ""
                except (ValueError, KeyError, TypeError, OSError) as error:
                    self._feed.trouble = f"{type(error).__name__}: {error}"
            if self._run.history is not self._history:
                self._history, self._epoch = self._run.history, time.time_ns()
                self._feed = Feed(self._run, rollout_every=0)
            anew = epoch != self._epoch
            if not anew:
                return {"epoch": self._epoch, **self._feed.frame(after)}
            state = self._feed.state()
            state["head"] = self._feed.head()
            return {"epoch": self._epoch, "reset": True, "past": self._feed.past(), **state}
