"""What has changed since a page looked last, for any number of pages."""

from __future__ import annotations

import secrets
import threading
import time
from pathlib import Path
from typing import Any

from evolab.reporting.comparison.feed import LOOK, RunsFeed
from evolab.reporting.comparison.reader import GrowingRun
from evolab.reporting.dashboard.feed import Feed
from evolab.reporting.dashboard_server.followed_run import FollowedRun

PERIOD = 0.5
"""Seconds between two looks at the files, however many pages ask."""

NEWEST = 400_000
"""Bytes of each of a run's files that its page is shown first."""

EPOCHS = 2**53 - 1
"""Numbers by which a page is told from one of another dashboard; a page's numbers are doubles, and larger ones it rounds.

Times in nanoseconds were: no page ever had seen anything, and each was told everything once a second.
"""

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
        """All that changed after a version; everything where a page knows nothing, or another dashboard's."""
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
        return run.path if isinstance(run, GrowingRun) else None


class RunNews:
    """The generations of one run: the newest at once, all of them as soon as they are read.

    Args:
        folder: of the run.
        newest: bytes of each file that the first answer is made of.
    """

    def __init__(self, folder: Path, newest: int = NEWEST) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._looked = 0.0
        self._damage = ""  # of what is older than the newest
        self._whole: tuple[FollowedRun, Feed] | None = None
        self.reading: threading.Thread | None = None
        self._show(FollowedRun(folder, newest))

    def _show(self, run: FollowedRun, feed: Feed | None = None) -> None:
        """Tell of this run from now on, to every page anew."""
        self._run, self._feed = run, feed or _feed_of(run)
        self._history, self._epoch = run.history, 1 + secrets.randbelow(EPOCHS)

    def _read_all(self) -> None:
        try:
            run = FollowedRun(self._folder)
            run.look()
            feed = _feed_of(run)
            feed.past()  # what the first answer takes longest for
            self._whole = run, feed
        except (ValueError, KeyError, TypeError, OSError) as error:
            self._damage = self._said(error)

    def since(self, epoch: int, after: int) -> dict[str, Any]:
        """What a page lacks that has seen everything up to a generation, of this epoch."""
        with self._lock:
            if self._whole is not None:
                whole, self._whole = self._whole, None
                self._show(*whole)
            if time.monotonic() - self._looked > PERIOD:
                self._look()
            if epoch != self._epoch:
                message = {"reset": True, "past": self._feed.past(), **self._feed.state()}
                message["head"] = self._feed.head()
            else:
                message = self._feed.frame(after)
            if self._run.before and not self._damage:
                message["head"]["unread"] = self._run.before
                # They are of all generations.
                message |= dict.fromkeys({"best", "confirmed", "fresh"} & message.keys())
                self._read_on()
            return {"epoch": self._epoch, **message}

    def _look(self) -> None:
        self._looked = time.monotonic()
        try:
            self._run.look()
            self._feed.say(self._damage)
        except (ValueError, KeyError, TypeError, OSError) as error:
            self._feed.say(self._said(error))
        if self._run.history is not self._history:
            self._show(self._run)

    def _said(self, error: Exception) -> str:
        """What is wrong with the files; a line of another form fails wherever it is read first."""
        if isinstance(error, ValueError | OSError):
            return f"{type(error).__name__}: {error}"
        return f"{self._folder / 'history'} is damaged: a line has another form ({error})."

    def _read_on(self) -> None:
        if self.reading is None:
            self.reading = threading.Thread(target=self._read_all, name="evolab-board", daemon=True)
            self.reading.start()


def _feed_of(run: FollowedRun) -> Feed:
    feed = Feed(run, rollout_every=0)
    feed.refuse_pictures("a dashboard makes no environments; the run's folder may hold rollout.gif")
    return feed
