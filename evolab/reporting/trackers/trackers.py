"""The trackers of one run: each is told the same, and none of them can stop training."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from evolab.core import checks, registry
from evolab.history.events import Generation
from evolab.reporting.rollout import Rollout
from evolab.reporting.trackers.tracker import RunFacts, Tracker

TrackerLike = str | Tracker | type[Tracker]
"""A name, an object with `start`, `log` and `finish`, or the class of one."""


class Trackers:
    """Where one run is written down beside its own folder.

    Args:
        given: names, `Tracker` objects (or any with their three methods), or one of them.

    Attributes:
        names: of those that were given by name.
        failed: what ended a tracker, by its name.

    Raises:
        ValueError: an unknown name.
        TypeError: an object without the three methods.
        ImportError: the tracker's package is missing; names the extra.
    """

    def __init__(self, given: TrackerLike | Iterable[TrackerLike] | None = ()) -> None:
        if isinstance(given, (str, Tracker, type)) or not isinstance(given, Iterable):
            given = () if given is None else (given,)
        listed = list(given)
        self.names = [one for one in listed if isinstance(one, str)]
        self.failed: dict[str, str] = {}
        self._all = [tracker_named(one) for one in listed]
        self._started = False

    def start(self, facts: Callable[[], RunFacts]) -> None:
        """Tell all of them that training begins, once.

        Args:
            facts: of the run, asked for where there is a tracker.
        """
        if self._started or not self._all:
            return
        self._started = True
        self._each("start", facts().plain())

    def log(self, generation: Generation) -> None:
        """Tell all of them of a generation."""
        self._each("log", generation)

    def finish(self, elite: Callable[[], Rollout] | None = None) -> None:
        """Tell all of them that it is over.

        Args:
            elite: plays an episode of the elite; None where there is none yet.
        """
        if self._started:
            for tracker in self._all:
                if elite is not None and isinstance(tracker, Tracker) and tracker.wants_rollout:
                    try:
                        tracker.rollout(elite())
                    except Exception as error:  # no pictures from this environment, or no environment
                        checks.notice(f"the tracker {tracker.name} gets no episode to show: {error}")
            self._each("finish")
        self._started = False

    def _each(self, method: str, *arguments: object) -> None:
        for tracker in list(self._all):
            try:
                getattr(tracker, method)(*arguments)
            except Exception as error:  # a service that fails is left out; training goes on
                self._all.remove(tracker)
                label = getattr(tracker, "name", type(tracker).__name__)
                self.failed[label] = f"{type(error).__name__}: {error}"
                checks.notice(
                    f"the tracker {label} failed and is left out from now on; training goes on. "
                    f"{self.failed[label]}"
                )


def tracker_named(tracker: TrackerLike) -> Tracker:
    """The tracker that a name, a class or an object stands for.

    Raises:
        ValueError: an unknown name.
        TypeError: an object without `start`, `log` and `finish`.
    """
    if isinstance(tracker, str):
        known = [name.lower() for name in registry.names("tracker")]
        if tracker.lower() not in known:
            raise checks.unknown("tracker", tracker, known)
        return registry.part("tracker", tracker)()
    if isinstance(tracker, type):
        tracker = tracker()
    for method in ("start", "log", "finish"):
        if not callable(getattr(tracker, method, None)):
            raise TypeError(
                f"tracker {tracker!r} has no method {method}(); see evolab.reporting.trackers.tracker.Tracker."
            )
    return tracker
