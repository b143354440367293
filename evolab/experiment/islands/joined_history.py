"""The histories of all islands as one: agents have numbers of their own, and who came from elsewhere has its true parent."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from evolab.experiment.engines.migration import origin_of
from evolab.history import jsonlines
from evolab.history.events import Birth, Evaluation, Fault, Generation
from evolab.history.history import History
from evolab.reporting.comparison.reader import Lines

FILES = (*jsonlines.ROWS, "generations")

AGENTS = 2_048
"""Agents of a generation that are all told of; of more, each island tells of its best."""


class ToldLines:
    """The generations of one island, read on while its files grow.

    Args:
        run: the island's folder.

    Attributes:
        generations: finished ones.
    """

    def __init__(self, run: Path) -> None:
        self._folder = run / "history"
        self._forget()

    def _forget(self) -> None:
        self.generations: list[Generation] = []
        self._files = {name: Lines(self._folder / f"{name}.jsonl") for name in FILES}
        self._pending: dict[str, list[str]] = {name: [] for name in FILES}

    def read(self) -> bool:
        """Read on; True where what was known is no longer there, and all was read again."""
        try:
            again = not self._read()
            if again:
                self._forget()
                self._read()
        except OSError:  # storage that is away: the rest is read when it is back
            return not self.generations
        return again

    def _read(self) -> bool:
        # Heads first: rows are written before the head that claims them, so that no head lacks its rows.
        for name in ("generations", *jsonlines.ROWS):
            self._pending[name] += self._files[name].read()
        if any(file.restarted for file in self._files.values()):
            return False
        if self._pending["generations"]:
            texts = {name: "\n".join(lines) for name, lines in self._pending.items()}
            self.generations += jsonlines.from_lines(texts, self._folder)
            newest = self.generations[-1].number
            self._pending = {name: _after(newest, lines) for name, lines in self._pending.items()}
            self._pending["generations"] = []
        return True


def _after(newest: int, lines: Iterable[str]) -> list[str]:
    """Rows of generations whose head is not written yet."""
    return [line for line in lines if json.loads(line).get("generation", 0) > newest]


class JoinedHistory:
    """One history of all islands, up to the generation that the last of them has ended.

    An agent's number is `number on its island * islands + island`. Steps and seconds are those of all islands together.
    Where there are more than `AGENTS` agents, each island tells of its best agents alone, and of who came in.

    Args:
        home: the folder of the islands.
        names: of their runs.

    Attributes:
        history: always the same object; it grows with `refresh`.
        told: each island's own generations.
    """

    def __init__(self, home: Path, names: Sequence[str]) -> None:
        self.names = list(names)
        self.history = History()
        self.told = [ToldLines(home / name) for name in self.names]
        self._given: dict[int, Generation] = {}
        self._reading = threading.Lock()

    def refresh(self) -> list[Generation]:
        """Read what is new; gives the generations that were added, each once also where a crash had it computed twice."""
        with self._reading:  # a thread that trains reads on, and so does who asks
            if any([one.read() for one in self.told]):
                self.history.generations.clear()
            known, count = len(self.history), min(len(one.generations) for one in self.told)
            for place in range(known, count):
                self.history.append(self._joined([one.generations[place] for one in self.told]))
            added = self.history.generations[known:count]
            fresh = [one for one in added if not _same(one, self._given.get(one.number))]
            self._given.update({one.number: one for one in added})
            return fresh

    def number(self, agent: int, island: int) -> int:
        """What an agent of an island is called among all of them."""
        return agent * len(self.names) + island

    def home(self, number: int) -> tuple[int, int]:
        """Island and number there of an agent."""
        agent, island = divmod(number, len(self.names))
        return island, agent

    def _joined(self, parts: Sequence[Generation]) -> Generation:
        total = sum(one.total_steps for one in parts)
        most = _told_of([len(one.evaluations) for one in parts])
        pairs = [(island, _shortened(one, most)) for island, one in enumerate(parts)]
        evaluations = [self._evaluation(e, island, total) for island, one in pairs for e in one.evaluations]
        confirmed = [one.confirmed for one in parts if one.confirmed is not None]
        losses = dict.fromkeys(name for one in parts for name in one.losses)
        return replace(
            parts[0],
            total_steps=total,
            evaluation_steps=sum(one.evaluation_steps for one in parts),
            seconds={name: sum(one.seconds.get(name, 0.0) for one in parts) for name in parts[0].seconds},
            evaluations=tuple(sorted(evaluations, key=_worst_last)),
            births=tuple(self._birth(b, island) for island, one in pairs for b in one.births),
            faults=tuple(self._fault(f, island) for island, one in pairs for f in one.faults),
            losses={
                name: _mean([one.losses[name] for one in parts if name in one.losses]) for name in losses
            },
            confirmed=max(confirmed, default=None),
        )

    def _evaluation(self, one: Evaluation, island: int, total: int) -> Evaluation:
        parent = None if one.parent is None else self.number(one.parent, island)
        return replace(one, agent=self.number(one.agent, island), parent=parent, total_steps=total)

    def _birth(self, one: Birth, island: int) -> Birth:
        parent, origin = self.number(one.parent, island), None
        if one.kind == "migrated":
            origin = origin_of(one.detail)
        if origin is not None and origin[1] in self.names:
            parent = self.number(origin[0], self.names.index(origin[1]))
        return replace(one, agent=self.number(one.agent, island), parent=parent)

    def _fault(self, one: Fault, island: int) -> Fault:
        return replace(one, agent=None if one.agent is None else self.number(one.agent, island))


def _same(one: Generation, known: Generation | None) -> bool:
    """True where both are one generation, which may have taken longer when it was computed again."""
    return known is not None and repr(replace(one, seconds={})) == repr(replace(known, seconds={}))


def _told_of(sizes: Sequence[int]) -> int | None:
    """Agents that each island tells of; None for all."""
    return None if sum(sizes) <= AGENTS else max(1, AGENTS // len(sizes))


def _shortened(one: Generation, most: int | None) -> Generation:
    if most is None:
        return one
    evaluations = one.evaluations[:most]
    kept = {e.agent for e in evaluations}
    births = [b for b in one.births if b.parent in kept or b.kind == "migrated"]
    return replace(one, evaluations=evaluations, births=tuple(sorted(births, key=_came_last)[-most:]))


def _came_last(one: Birth) -> bool:
    return one.kind == "migrated"


def _worst_last(one: Evaluation) -> float:
    return math.inf if math.isnan(one.fitness) else -one.fitness


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
