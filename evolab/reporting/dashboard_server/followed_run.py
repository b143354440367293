"""A saved run as a view reads one: what its files say, read on while another process trains it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from evolab.core import registry
from evolab.core.plain_values import from_plain
from evolab.evolution.mutation.mutations import Mutations
from evolab.history import jsonlines
from evolab.history.events import Progress
from evolab.history.history import History
from evolab.reporting.comparison.listing import ABOUT, about
from evolab.reporting.comparison.reader import Lines
from evolab.reporting.dashboard.live_run import ShownAlgorithm
from evolab.reporting.rollout import NoPictures, Rollout
from evolab.storage import lock

FILES = ("generations", *jsonlines.ROWS)
"""The heads first: by the time that one is read, the rows of its generation are written."""


class FollowedRun:
    """A run in a folder, read only; a `LiveRun` whose buttons are somebody else's.

    Args:
        folder: of the run.
        newest: bytes of the end of each file that are read at first, or more where no generation is as short;
            0 for all. A dashboard is then there at once, however long the run is.

    Attributes:
        history: its generations so far, as `look` has found them; another object where the run has begun anew.
        config: every option as plain values.
    """

    def __init__(self, folder: Path, newest: int = 0) -> None:
        self.kept: Path | None = folder
        self._place, self._newest = folder, newest
        facts = about(folder)
        self.config: Mapping[str, Any] = facts.get("config") or {}
        self.name = str(facts.get("environment") or folder.name)
        algorithm = str(facts.get("algorithm") or "")
        self.algorithm: ShownAlgorithm = SimpleNamespace(name=algorithm or "run", offline=_offline(algorithm))  # type: ignore[assignment]
        self.target: float | None = self.config.get("target")
        self.mutations = _mutations(self.config)
        self.progress: Progress | None = None
        self.error: BaseException | None = None
        self._begin()

    def _begin(self) -> None:
        self.history = History()
        self._files = {name: Lines(self._place / "history" / f"{name}.jsonl") for name in FILES}
        self._waiting: dict[str, list[str]] = {name: [] for name in FILES}
        self._cut = [
            name for name in FILES if self._newest and self._files[name].leave_out_all_but(self._newest)
        ]

    def look(self) -> None:
        """Read on.

        Raises:
            ValueError: a line is damaged.
        """
        for _ in range(2):
            for name, file in self._files.items():
                self._waiting[name] += file.read()
            if not any(file.restarted for file in self._files.values()) and self._take():
                break
            self._begin()  # the run was taken back to an earlier generation, or is another one
        if self._cut and not self.history.generations:  # not one whole generation in that much
            self._newest *= 8
            self._begin()
            self.look()

    def _take(self) -> bool:
        """Append the generations that are whole; False where they do not follow those that are known."""
        if self._cut and not self.history.generations:
            self._drop_what_is_cut()
        if not self._waiting["generations"]:
            return True
        fresh = jsonlines.from_lines({name: "\n".join(lines) + "\n" for name, lines in self._waiting.items()})
        known = self.history.generations
        if not fresh or (known and fresh[0].number != known[-1].number + 1):
            return False
        for generation in fresh:
            self.history.append(generation)
        self._waiting["generations"] = []
        for name in jsonlines.ROWS:
            self._waiting[name] = [line for line in self._waiting[name] if _number(line) > fresh[-1].number]
        return True

    def _drop_what_is_cut(self) -> None:
        """Drop the heads of generations whose rows were left out, in whole or in part."""
        rows = [self._waiting[name] for name in self._cut if name != "generations"]
        last = max((_number(lines[0]) if lines else math.inf for lines in rows), default=0)
        heads = self._waiting["generations"]
        self._waiting["generations"] = [head for head in heads if json.loads(head)["number"] > last]

    @property
    def before(self) -> int:
        """Generations before the first that was read."""
        return self.history.generations[0].number - 1 if self.history.generations else 0

    @property
    def generation(self) -> int:
        """Finished generations."""
        return self.history.generations[-1].number if self.history.generations else 0

    @property
    def total_steps(self) -> int:
        """Training steps of all agents."""
        return self.history.generations[-1].total_steps if self.history.generations else 0

    @property
    def evaluation_steps(self) -> int:
        """Environment steps of evaluation."""
        return self.history.generations[-1].evaluation_steps if self.history.generations else 0

    @property
    def confirmed(self) -> tuple[float, None] | None:
        """What is known of the elite, from the newest checkpoint; where that is older, the highest mean that was seen."""
        facts = about(self._place) if (self._place / ABOUT).exists() else {}
        seen = [g.confirmed for g in self.history if g.confirmed is not None]
        known = facts.get("elite_fitness") if seen and facts.get("generation") == self.generation else None
        known = known if known is not None else max(seen, default=None)
        return None if known is None else (known, None)

    @property
    def solved(self) -> bool:
        """True where the elite averages the target, as far as the folder tells."""
        known = self.confirmed
        return known is not None and self.target is not None and known[0] >= self.target

    @property
    def status(self) -> str:
        """What the run is doing: "running" while a process has it open and writes to it, else "idle"."""
        return "idle" if lock.writer(self._place) is None else "running"

    @property
    def version(self) -> int:
        """Grows with every generation."""
        return len(self.history)

    def start(self, generations: int | None = None) -> None:
        """Refused."""
        self._refuse()

    def pause(self) -> None:
        """Refused."""
        self._refuse()

    def stop(self) -> None:
        """Refused."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise RuntimeError(f"a dashboard only reads. `evolab run {self._place}` goes on with the run.")

    def rollout(self, episodes: int = 1, *, agent: str | int = "best") -> Rollout:
        """Refused: a dashboard makes no environments."""
        raise NoPictures(f"a dashboard makes no environments; {self._place / 'rollout.gif'} has an episode.")


def _number(line: str) -> int:
    """The generation that a row of a history's file belongs to."""
    found = re.match(r'\{"generation": (\d+)', line)
    return int(found[1]) if found else 0


def _offline(name: str) -> bool:
    try:
        return bool(registry.part("algorithm", name).offline)
    except (ValueError, AttributeError, ImportError):  # of the user's own
        return False


def _mutations(config: Mapping[str, object]) -> Mutations:
    try:
        found = from_plain(config.get("mutations"))
    except (ValueError, TypeError):
        found = None
    return found if isinstance(found, Mutations) else Mutations()
