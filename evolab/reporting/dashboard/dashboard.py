"""The live dashboard: a widget that follows an experiment, and buttons that only ask it for things.

Training never waits for the page. A small thread looks at `experiment.version` at most
four times a second and sends what is new; the page acknowledges what it has drawn, and
with two messages unanswered nothing more is sent. Closing, re-running the cell or
losing the page ends the thread and leaves training alone.
"""

from __future__ import annotations

import threading
import uuid
import weakref
from collections.abc import Sequence
from typing import Any

import anywidget
import traitlets

from evolab.reporting.dashboard import page
from evolab.reporting.dashboard.feed import Feed
from evolab.reporting.dashboard.live_run import LiveRun
from evolab.reporting.dashboard.panel import Panel
from evolab.reporting.dashboard.poller import Poller
from evolab.reporting.dashboard.static_view import bundle
from evolab.reporting.progress import in_notebook
from evolab.reporting.rollout import EVERY

UNANSWERED = 2
_by_cell: dict[str, list[tuple[Any, Dashboard]]] = {}


class Dashboard(anywidget.AnyWidget):
    """Watch and steer an experiment from a notebook.

    Args:
        experiment: the experiment to follow; training runs in its own background thread.
        panels: further panels of your own, or the names of installed ones; see `evolab.reporting.panels.Panel`.
        rollout_every: record an episode of the best agent every so many generations, beside
            training; 0 records on demand only.
    """

    _esm = traitlets.Unicode(page.es_module()).tag(sync=True)
    _css = traitlets.Unicode(page.style()).tag(sync=True)
    state = traitlets.Dict().tag(sync=True)  # all of it, compact: what a saved notebook reopens with
    past = traitlets.Unicode().tag(sync=True)  # compressed: older generations, for the family tree
    rollout = traitlets.Dict().tag(sync=True)
    twin = traitlets.Unicode().tag(sync=True)  # "evolab-" and the widget's id: names its still picture too

    def __init__(
        self, experiment: LiveRun, panels: Sequence[Panel | str] = (), rollout_every: int = 10
    ) -> None:
        self.experiment = experiment
        self._feed = Feed(experiment, panels, rollout_every)
        self._unanswered: set[int] = set()
        self._sequence = 0
        self._sent = -1  # newest generation that the page was sent
        self._lock = threading.RLock()
        self.kept: tuple[Any, ...] = ()  # the `rest` that was saved last
        model_id = uuid.uuid4().hex
        super().__init__(state=self._feed.state(), twin=f"evolab-{model_id}", model_id=model_id)
        self.on_msg(self._answer)
        self._poller = Poller(self)
        self._poller.start()
        _replace_in_cell(self)

    # What the page asks for ---------------------------------------------------------------

    def _answer(self, _: object, message: dict[str, Any], buffers: object) -> None:
        """Handle one message of the page; it may arrive on any thread, so it only asks and wakes."""
        kind = message.get("type")
        if kind == "seen":
            self._unanswered.discard(message.get("seq", -1))
            return
        if kind == "hello":
            with self._lock:
                self._unanswered.clear()
                self._sent = int(message.get("have") or 0)
            self._poller.start()
        elif kind == "unseen":
            self._poller.stop()
            return
        elif kind in ("step", "run"):
            self._feed.attempt(lambda: self.experiment.start(generations=1 if kind == "step" else None))
        elif kind in ("pause", "stop"):
            self._feed.attempt(self.experiment.pause if kind == "pause" else self.experiment.stop)
        elif kind == "rates":
            self._feed.attempt(lambda: self._feed.set_rate(str(message["name"]), float(message["value"])))
        elif kind == "rollout":
            self.record(str(message.get("agent", "best")))
        elif kind == "film":
            threading.Thread(target=self._send_film, name="evolab-film", daemon=True).start()
        elif kind == "rollout_every":
            self._feed.record_every(int(message["value"]))
        self._poller.wake()

    def record(self, agent: str = "best") -> None:
        """Record an episode of one agent beside training and show it; returns at once.

        Args:
            agent: "best", "elite" or an id.
        """
        self._feed.record(agent, self._show_episode)

    def _show_episode(self, sprites: dict[str, object]) -> None:
        if self.comm is not None:
            self.rollout = sprites
        self._poller.wake()

    def _send_film(self) -> None:
        """The newest episode as a GIF, for the page to save."""
        rollout = self._feed.rollout
        if rollout is not None:
            name = f"agent-{rollout.agent}-generation-{rollout.generation}.gif"
            self.send(
                {"type": "film", "name": name}, buffers=[rollout.animation("GIF", every=EVERY, scale=0.5)]
            )

    # What the page is told ----------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """What went wrong last, other than in training; empty if nothing."""
        return self._feed.trouble

    @trouble.setter
    def trouble(self, text: str) -> None:
        if self._feed is not None:
            self._feed.say(text)

    @property
    def mark(self) -> tuple[Any, ...]:
        """Changes whenever there is something to tell."""
        e, feed = self.experiment, self._feed
        told = (feed.trouble, feed.rendering, feed.rollout_error, feed.rollout_every)
        return (e.version, e.status, e.error, *told)

    def tell(self) -> bool:
        """Send what is new; False if the page is behind and has to be told later. Called by the poller."""
        with self._lock:
            if len(self._unanswered) >= UNANSWERED:
                return False
            frame = self._feed.frame(self._sent)
            self._sequence += 1
            self._unanswered.add(self._sequence)
            self._sent = self._feed.newest
            self.send({"type": "frame", "seq": self._sequence} | frame)
        self._feed.record_when_due(self._show_episode)
        return True

    @property
    def rest(self) -> tuple[Any, ...]:
        """Changes whenever what a notebook saves is out of date."""
        return len(self.experiment.history.generations), self.experiment.status, len(self._feed.film)

    def keep(self) -> None:
        """Update what a notebook saves. Called by the poller when training rests, and now and then."""
        rest = self.rest
        self.state, self.past = self._feed.state(), self._feed.past()
        if self._shown is not None and rest != self._pictured:
            self._pictured = rest
            self._shown.update(self._still())
        self.kept = rest

    # What an output shows -----------------------------------------------------------------

    _shown: Any = None
    _pictured: tuple[Any, ...] = ()  # the `rest` that the still picture shows
    _last_words = ""

    def _ipython_display_(self) -> None:
        """Show the widget, and beside it a still picture that only pages without widgets let through."""
        from IPython.display import display

        if self._last_words:
            print(self._last_words)
            return
        # The widget's own text never changes, so it says nothing that does: the still picture beside it does.
        display(self._widget() | {"text/plain": f"Dashboard({self.experiment.name})"}, raw=True)
        self._pictured = self.rest
        self._shown = display(self._still(), display_id=self.twin)
        _keep_after_cells(self)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:  # type: ignore[override]
        return (
            bundle(self._feed.store, self.experiment, self._feed.film, self.twin)
            | self._widget()
            | {"text/plain": repr(self)}
        )

    def _widget(self) -> dict[str, Any]:
        found: Any = super()._repr_mimebundle_() or {}
        return dict(found[0] if isinstance(found, tuple) else found)

    def _still(self) -> _Html:
        shown = bundle(self._feed.store, self.experiment, self._feed.film, self.twin)
        return _Html(shown["text/html"], self.experiment.history.show()[0])

    def __repr__(self) -> str:
        if self._last_words:
            return self._last_words
        name, history = self.experiment.name, self.experiment.history.show()[0]
        return f"Dashboard({name}, {self.experiment.status}: {history}): exp.report(), exp.plot()"

    def close(self) -> None:
        """End the thread and let go of the experiment's page; training goes on."""
        self._poller.stop()
        for dashboards in _by_cell.values():
            dashboards[:] = [(run, dashboard) for run, dashboard in dashboards if dashboard is not self]
        super().close()

    def forget(self) -> None:
        """Let go of the experiment as well: IPython's `Out` keeps whatever a cell has shown."""
        self._last_words = repr(self)
        self.close()
        self.experiment, self._feed = None, None  # type: ignore[assignment]
        self.state, self.past, self.rollout, self.kept = {}, "", {}, ()


def show_once(dashboard: Dashboard) -> None:
    """Show a dashboard at the end of a cell; where there is no page it is let go of, and its experiment with it."""
    dashboard._ipython_display_()
    if not in_notebook():
        dashboard.forget()


class _Html:
    """A piece of HTML with its plain twin."""

    def __init__(self, html: str, text: str) -> None:
        self.html, self.text = html, text

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def _keep_after_cells(dashboard: Dashboard) -> None:
    """Bring the still picture up to date at the end of every cell: a headless run takes nothing that comes later."""
    from IPython import get_ipython

    shell, ref = get_ipython(), weakref.ref(dashboard)
    if shell is None:
        return

    def after(*_: object) -> None:
        dashboard = ref()
        if dashboard is None or dashboard.comm is None or dashboard.experiment is None:
            shell.events.unregister("post_run_cell", after)
        elif dashboard.experiment.status != "running" and dashboard.rest != dashboard.kept:
            dashboard.keep()

    shell.events.register("post_run_cell", after)


def _replace_in_cell(dashboard: Dashboard) -> None:
    """Close the dashboards that an earlier run of the same cell made: their outputs are gone from the page."""
    try:
        from IPython import get_ipython

        shell = get_ipython()
        header = shell.get_parent() if shell is not None and hasattr(shell, "get_parent") else {}
        cell, run = header["metadata"]["cellId"], header["header"]["msg_id"]
    except (ImportError, KeyError, TypeError, AttributeError):
        return  # not in a notebook, or a front end that does not name its cells
    dashboards = _by_cell.setdefault(cell, [])
    for made, old in list(dashboards):
        if made != run:
            old.forget()
    dashboards.append((run, dashboard))
