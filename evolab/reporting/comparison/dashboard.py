"""The dashboard of runs: a widget that follows every run below a folder while they are made."""

from __future__ import annotations

import threading
import time
import uuid
import weakref
from collections.abc import Iterable
from html import escape
from typing import Any

import anywidget
import traitlets

from evolab.history.display import count, html_table, number, ticked
from evolab.reporting.comparison.curves import Source
from evolab.reporting.comparison.feed import LOOK, RunsFeed
from evolab.reporting.dashboard import page

PERIOD = 1.0
"""Seconds between two looks at the files."""
KEEP = 20.0
"""Seconds between two updates of what a notebook saves."""
SETTLED = 2.0
"""Seconds of rest after which it is saved."""
UNANSWERED = 4
"""Messages that a page may have left unanswered before it gets no more."""


def dashboard(what: Source | Iterable[Source] = "runs") -> RunsDashboard:
    """A live dashboard of many runs: a table that fills while they run, their curves, and the settings in which they differ.

    Runs may be made by this kernel, by others, or on the command line: their folders are read, and nothing
    is ever written. `ev.compare` draws the same curves as a figure, `ev.runs` lists the runs as a table.

    Args:
        what: a folder that holds runs, at any depth; or several folders, experiments or histories.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    return RunsDashboard(RunsFeed(what))


class RunsDashboard(anywidget.AnyWidget):
    """A page that follows runs; `ev.dashboard` makes it.

    Args:
        feed: what it follows.

    Attributes:
        whole: the page knows nothing yet, so that the next message tells all.
    """

    _esm = traitlets.Unicode(page.es_module("runs")).tag(sync=True)
    _css = traitlets.Unicode(page.style()).tag(sync=True)
    state = traitlets.Dict().tag(sync=True)  # all of it: what a saved notebook reopens with
    twin = traitlets.Unicode().tag(sync=True)  # "evolab-" and the widget's id: names its still picture too

    def __init__(self, feed: RunsFeed) -> None:
        self.feed = feed
        self._unanswered: set[int] = set()
        self._sequence = 0
        self.whole = True
        self._halt = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()
        feed.look(quick=True)  # the table at once, curves as they are read
        model_id = uuid.uuid4().hex
        super().__init__(state=feed.state(), twin=f"evolab-{model_id}", model_id=model_id)
        self.on_msg(self._answer)
        self._follow()

    def _answer(self, _: object, message: dict[str, object], buffers: object) -> None:
        """Handle one message of the page."""
        kind = message.get("type")
        if kind == "seen":
            self._unanswered.discard(message.get("seq", -1))
        elif kind == "hello":
            with self._lock:
                self._unanswered.clear()
                self.whole = True
            self._follow()
        elif kind == "unseen":
            self._halt.set()
        elif kind == "details":
            name = str(message.get("run"))
            work = threading.Thread(
                target=lambda: self.send(self.feed.details(name)), name="evolab-details", daemon=True
            )
            work.start()
        self._wake.set()

    def _follow(self) -> None:
        if self._thread is not None and self._thread.is_alive() and not self._halt.is_set():
            self._wake.set()
            return
        self._halt = threading.Event()
        arguments = (weakref.ref(self), self._wake, self._halt)
        self._thread = threading.Thread(target=_follow, args=arguments, name="evolab-runs", daemon=True)
        self._thread.start()

    def tell(self) -> bool:
        """Send what is new; False if the page is behind. Called by the thread that follows."""
        with self._lock:
            if len(self._unanswered) >= UNANSWERED:
                return False
            whole, self.whole = self.whole, False
            for message in self.feed.messages(everything=whole):
                self._sequence += 1
                self._unanswered.add(self._sequence)
                self.send(message | {"seq": self._sequence})
            return True

    def keep(self) -> None:
        """Update what a notebook saves."""
        self.state = self.feed.state()
        if self._shown is not None:
            self._shown.update(self._still(), raw=True)

    _shown: Any = None

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self._widget() | {"text/plain": f"Runs in {self.feed.title}"}, raw=True)
        self._shown = display(self._still(), raw=True, display_id=self.twin)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:  # type: ignore[override]
        return self._still() | self._widget()

    def _widget(self) -> dict[str, Any]:
        found: Any = super()._repr_mimebundle_() or {}
        return dict(found[0] if isinstance(found, tuple) else found)

    def _still(self) -> dict[str, str]:
        """A table, for pages that no widget can live on."""
        rows = []
        for name, row in self.feed.state()["rows"].items():
            results = (count(row["n"] or 0), number(row["best"]), ticked(row["confirmed"]))
            rows.append((name, *map(_word, (*row["what"], row["seed"])), *results, row["trouble"]))
        names = ("run", "environment", "algorithm", "seed", "generation", "best", "confirmed", "trouble")
        table = html_table(
            names, rows, ("run", "environment", "algorithm", "trouble"), f"Runs in {self.feed.title}"
        )
        words = "A table of the last saved state; run the cell again for a live dashboard."
        html = (
            f'<div id="{escape(self.twin)}" class="evolab-still">{table}<p><small>{words}</small></p></div>'
        )
        return {"text/html": html, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"RunsDashboard({self.feed.title}: {len(self.feed.runs)} runs): ev.compare(folder), ev.load(folder)"

    def close(self) -> None:
        """End the thread that follows the files."""
        self._halt.set()
        self._wake.set()
        super().close()


def _word(value: object) -> str:
    return "" if value is None else str(value)


def _follow(ref: weakref.ref[RunsDashboard], wake: threading.Event, halt: threading.Event) -> None:
    """Look, tell, and now and then keep, for as long as the dashboard is there."""
    kept = changed = -KEEP
    due, stale, pause = True, True, PERIOD
    while True:
        dashboard = ref()  # a strong reference for this round alone
        if halt.is_set() or dashboard is None or dashboard.comm is None:
            return
        try:
            due = dashboard.feed.look(seconds=LOOK) or due or dashboard.whole
            now = time.monotonic()
            if due and dashboard.tell():
                due, stale, changed = False, True, now
            if stale and (now - changed > SETTLED or now - kept > KEEP):
                dashboard.keep()
                stale, kept = False, now
            pause = 0.0 if dashboard.feed.more else PERIOD
        except Exception:  # what goes wrong in one look (a folder that vanishes) is gone in the next
            due, pause = True, PERIOD
        finally:
            del dashboard
        wake.wait(pause)
        wake.clear()
