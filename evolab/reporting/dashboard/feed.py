"""What a dashboard says: the state of an experiment as small JSON-able messages.

It reads an experiment's public attributes and the finished generations, never a tensor,
and keeps apart what changes all the time (the head) from what changes once per
generation (rows, the winner's line, effects, panels).
"""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

from evolab.core.registry import resolve
from evolab.reporting.dashboard.live_run import LiveRun
from evolab.reporting.dashboard.panel import Panel, Snapshot, checked
from evolab.reporting.dashboard.short_numbers import short
from evolab.reporting.dashboard.store import Store
from evolab.reporting.rollout import NoPictures, Rollout

LARGEST = 110_000  # bytes of one message
LARGEST_ROWS = 40_000
PROBABILITIES = ("new_layer", "sd", "resample")


class Feed:
    """Turns an experiment into messages, and keeps what went wrong on the way.

    Args:
        experiment: read only; `mutations` is the one thing a page may set.
        panels: of the user's own, or the names of installed ones.
        rollout_every: generations between two episodes recorded by itself; 0 for never.
    """

    def __init__(
        self, experiment: LiveRun, panels: Sequence[Panel | str] = (), rollout_every: int = 10
    ) -> None:
        self.experiment = experiment
        self.panels = [resolve("panel", panel, Panel) for panel in panels]  # type: ignore[type-abstract]
        self.rollout_every = rollout_every
        self.trouble = ""
        self.film = b""  # the newest episode as an animated PNG, for pages without widgets
        self.rollout: Rollout | None = None  # the newest episode
        self.rendering = False
        self.rollout_error = ""
        self.no_pictures = ""  # why there are no episodes to see, where there are none
        self.store = Store()
        self._recorded = 0
        self._lock = threading.RLock()

    @property
    def newest(self) -> int:
        """Number of the newest generation that was taken in."""
        return self.store.generations[-1].number if self.store.generations else 0

    def say(self, trouble: str) -> None:
        """Have pages show what is wrong; empty where nothing is."""
        self.trouble = trouble

    def record_every(self, generations: int) -> None:
        """Record an episode so often by itself; 0 for never."""
        self.rollout_every = max(0, generations)

    def refuse_pictures(self, reason: str) -> None:
        """There are no episodes to see, and why."""
        self.no_pictures = reason

    def attempt(self, action: Callable[[], None]) -> None:
        """Do what the page asked for; what goes wrong is shown, and a success clears it."""
        try:
            action()
            self.trouble = ""
        except Exception as error:  # whatever the run raises is the page's to show
            self.trouble = f"{type(error).__name__}: {error}"

    def head(self, alive: bool = True) -> dict[str, Any]:
        """The small part that is sent each time."""
        e = self.experiment
        p = e.progress
        error = e.error
        shown = f"{type(error).__name__}: {error}" if error is not None else self.trouble
        shown = shown or e.history.survived()
        return {
            "status": e.status, "alive": alive, "name": str(e.name), "algorithm": str(e.algorithm.name),
            "target": short(e.target), "generation": int(e.generation), "total_steps": int(e.total_steps),
            "evaluation_steps": int(e.evaluation_steps), "rates": self.rates(), "error": shown[:2000],
            "progress": None if p is None else {
                "phase": p.phase, "generation": p.generation, "done": int(p.done), "total": int(p.total)
            },
            "rendering": self.rendering, "rollout_every": self.rollout_every, "no_pictures": self.no_pictures,
            "rollout_error": self.rollout_error, "speed": self._speed(), "updates": e.algorithm.offline, "solved": e.solved,
            "folder": "" if e.kept is None else str(e.kept),
        }  # fmt: skip

    def rates(self) -> list[list[Any]]:
        """Mutation rates in force: name, value, lowest and highest value."""
        mutations = self.experiment.mutations
        found = []
        for field in dataclasses.fields(mutations):
            value = getattr(mutations, field.name)
            if isinstance(value, float | int) and not isinstance(value, bool):
                high = 1.0 if field.name in PROBABILITIES else max(1.0, float(value))
                found.append([field.name, short(value), 0.0, high])
        for name, weight in mutations.extra_weights.items():
            found.append([name, short(weight), 0.0, max(1.0, weight)])
        return found

    def set_rate(self, name: str, value: float) -> None:
        """Set one rate from the next generation on.

        Raises:
            ValueError: if there is no such rate, or all weights would be zero.
        """
        limits = {rate[0]: (rate[2], rate[3]) for rate in self.rates()}
        if name not in limits:
            raise ValueError(f"there is no mutation rate {name!r}; known are {', '.join(limits)}.")
        value = min(max(value, limits[name][0]), limits[name][1])
        mutations = self.experiment.mutations
        if name in mutations.extra:
            self.experiment.mutations = mutations.reweighted(name, value)
        else:
            changes: dict[str, Any] = {name: value}
            self.experiment.mutations = dataclasses.replace(mutations, **changes)

    def frame(self, after: int) -> dict[str, Any]:
        """What a page lacks that has seen everything up to generation `after`; never over `LARGEST` bytes."""
        with self._lock:
            fresh = self.store.absorb(list(self.experiment.history.generations))
            message: dict[str, Any] = {"head": self.head()}
            if not fresh and after >= self.newest:
                return message
            rows = self.store.rows(after, LARGEST_ROWS)
            if rows is None:
                return message | {"reset": True, "rows": self.store.compact()} | self._tail(30_000)
            message |= {"rows": rows}
            return message | self._tail(LARGEST - len(json.dumps(message)) - 2_000)

    def state(self) -> dict[str, Any]:
        """The whole dashboard, compact: what a notebook saves and a report embeds."""
        with self._lock:
            self.store.absorb(list(self.experiment.history.generations))
            return {"head": self.head(alive=False), "rows": self.store.compact()} | self._tail(20_000)

    def past(self) -> str:
        """What `state` has no room for; see `Store.past`."""
        with self._lock:
            self.store.absorb(list(self.experiment.history.generations))
            return self.store.past()

    def _tail(self, room: int) -> dict[str, Any]:
        """What changes once per generation beside the rows."""
        store = self.store
        best = [g.best.fitness for g in store.generations if math.isfinite(g.best.fitness)]
        confirmed, fresh = self.experiment.confirmed or (None, None)
        tail: dict[str, Any] = {
            "line": store.line(), "effects": store.effects(), "unborn": store.unborn(), "kinds": store.kinds,
            "names": store.names(), "best": short(max(best)) if best else None,
            "confirmed": short(confirmed), "fresh": fresh, "rings": store.confirmed(),
            "learning": store.learning(),
        }  # fmt: skip
        room -= len(json.dumps(tail))
        tail["custom"] = []
        for data in self._custom():
            room -= len(json.dumps(data))
            if room > 0:
                tail["custom"].append(data)
        return tail

    def _custom(self) -> list[dict[str, Any]]:
        e = self.experiment
        snapshot = Snapshot(tuple(self.store.generations), e.target, str(e.name), str(e.algorithm.name))
        found = []
        for panel in self.panels:
            try:
                data = checked(panel, snapshot)
            except Exception as error:  # a panel that fails says so in its own box
                data = {"form": "text", "text": f"{type(error).__name__}: {error}"}
            found.append({"title": panel.title, "data": data})
        return found

    def _speed(self) -> float | None:
        """Training steps a second over the last generations."""
        last = self.store.generations[-6:]
        if not last:
            return None
        start = last[0].total_steps if len(last) > 1 else 0
        seconds = sum(sum(g.seconds.values()) for g in (last[1:] or last))
        return float(short((last[-1].total_steps - start) / seconds, 3)) if seconds > 0 else None

    # Episodes -----------------------------------------------------------------------------

    def record_when_due(self, show: Callable[[dict[str, object]], None]) -> None:
        """Record an episode if the newest generation asks for one."""
        due = self.rollout_every and (
            self._recorded == 0 or self.newest - self._recorded >= self.rollout_every
        )
        if due and self.newest and not self.rollout_error and not self.no_pictures:
            self.record("best", show)

    def record(self, agent: str, show: Callable[[dict[str, object]], None]) -> None:
        """Record an episode in a thread of its own; one at a time.

        Args:
            agent: "best", "elite" or an id.
            show: gets the sprites when they are ready, on that thread.
        """
        with self._lock:
            if self.rendering:
                return
            self.rendering, self.rollout_error, self._recorded = True, "", self.newest
        threading.Thread(target=self._record, args=(agent, show), name="evolab-rollout", daemon=True).start()

    def _record(self, agent: str, show: Callable[[dict[str, object]], None]) -> None:
        try:
            chosen: Any = int(agent) if agent.lstrip("-").isdigit() else agent
            number = self.experiment.generation  # not the store's: it follows only as fast as the page does
            rollout = self.experiment.rollout(episodes=1, agent=chosen)
            if not rollout.frames:
                raise NoPictures("this environment draws no pictures (render_mode is not rgb_array).")
            finished = self.experiment.history.generations
            if rollout.agent is None and agent != "elite" and (finished or agent != "best"):
                rollout.agent = chosen if agent != "best" else finished[-1].best.agent
                rollout.generation = number
            small = min(0.5, 240 / rollout.frames[0].shape[1])
            sprites = rollout.sprites() | ({"who": "elite"} if agent == "elite" else {})
            # Beside the chart in one message: fewer and smaller frames than a saved film has.
            self.film = rollout.animation("PNG", every=max(3, len(rollout.frames) // 60), scale=small)
            self.rendering, self.rollout = False, rollout
            show(sprites)
        except NoPictures as reason:
            self.no_pictures = str(reason)
        except Exception as error:  # the user's environment may raise anything, and training goes on
            self.rollout_error = f"No episode: {type(error).__name__}: {error}"[:500]
        finally:
            self.rendering = False
