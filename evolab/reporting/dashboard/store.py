"""A run as a page needs it: small rows, made once per generation and thinned to a budget.

The dashboard, its saved state and the report draw from the same rows. A row has three
levels of detail: 2 everything (hover, tables), 1 what the family tree needs, 0 fitness
alone. Old generations lose detail first, then density, so that 64 agents over 1 000
generations still fit into one message; what the family tree needs of them follows compressed.
"""

from __future__ import annotations

import base64
import bisect
import json
import math
import zlib
from collections.abc import Sequence
from typing import Any

from evolab.history.effects import counted_as
from evolab.history.events import Evaluation, Generation
from evolab.reporting.dashboard.short_numbers import changes, quantile, short

BUDGET = (22_000, 18_000, 13_000)  # bytes of the compact state for rows of level 2, 1 and 0
POINTS = 300
LINE = 1_200  # generations of the winner's ancestry that are shown each; of older ones every n-th
METRICS = 6  # measures beside fitness, such as the environment's own numbers, that are shown
LOSSES = 4  # of one agent that are shown
PAST = 400_000  # characters of the compressed past
Row = dict[str, Any]


class Store:
    """The rows, the winner's line and what each kind of mutation brought, kept up to date cheaply."""

    def __init__(self) -> None:
        self._lines: list[str] = []  # rows of level 1 as JSON: they never change
        self.generations: list[Generation] = []
        self._by_id: list[dict[int, Evaluation]] = []
        self._births: list[dict[int, Any]] = []
        self._gains: dict[str, list[float]] = {}
        self._counts: dict[str, int] = {}
        self.kinds: list[str] = ["first"]  # a row names a kind by its place in here
        self.losses: list[
            str
        ] = []  # of single agents: what a row's `l` has behind value and discounted return

    def absorb(self, generations: Sequence[Generation]) -> bool:
        """Take over what is new; True if anything was."""
        fresh = generations[len(self.generations) :]
        for generation in fresh:
            by_id = {e.agent: e for e in generation.evaluations}
            new = (n for e in generation.evaluations for n in e.losses if n not in self.losses)
            self.losses = [*self.losses, *dict.fromkeys(new)][:LOSSES]
            if self.generations:
                before = self._by_id[-1]
                for birth in self.generations[-1].births:
                    child, parent = by_id.get(birth.agent), before.get(birth.parent)
                    for key in counted_as(birth, self.names()):
                        if child and parent and math.isfinite(child.fitness - parent.fitness):
                            # Sorted on arrival: quartiles of 64 000 gains then cost nothing.
                            bisect.insort(self._gains.setdefault(key, []), child.fitness - parent.fitness)
            self.generations.append(generation)
            for birth in generation.births:
                if birth.kind not in self.kinds:
                    self.kinds.append(birth.kind)
                for key in counted_as(birth, self.names()):
                    self._counts[key] = self._counts.get(key, 0) + 1
            self._by_id.append(by_id)
            self._births.append({b.agent: b for b in generation.births})
        return bool(fresh)

    def names(self) -> list[str]:
        """Hyperparameters, in the order of every row's `h`."""
        return list(self.generations[-1].best.hyperparameters) if self.generations else []

    def row(self, index: int, level: int = 2) -> Row:
        """One generation, agents best first."""
        generation = self.generations[index]
        evaluations = generation.evaluations
        row: Row = {
            "n": generation.number,
            "t": generation.all_steps,
            "f": [short(e.fitness) for e in evaluations],
        }
        if level < 2:
            row["q"] = self._spread(evaluations)
        if level == 0:
            return row
        births = self._births[index - 1] if index else {}
        found = [births.get(e.agent) for e in evaluations]
        row["id"] = [e.agent for e in evaluations]
        row["p"] = [b.parent if b else -1 for b in found]
        row["k"] = [self.kinds.index(b.kind if b else "first") for b in found]
        if level == 1:
            return row
        row["d"] = [(b.detail if b else "")[:120] for b in found]
        row["c"] = [short(b.change) if b else None for b in found]
        row["h"] = [[short(value) for value in e.hyperparameters.values()] for e in evaluations]
        row["a"] = [list(e.hidden) for e in evaluations]
        row |= self._layers(evaluations)
        row["v"] = [_activations(e.activation) for e in evaluations]
        row["m"] = [e.network_size for e in evaluations]
        row["s"] = [e.steps for e in evaluations]
        row["l"] = [self._learned(e) for e in evaluations]
        row["x"] = [short(sum(generation.seconds.values())), short(generation.confirmed)]
        return row

    def _layers(self, evaluations: Sequence[Evaluation]) -> Row:
        """Where hidden sizes do not say it all: `w` has each agent's layers in words, `g` their places among all of `y`."""
        if not any(e.layers for e in evaluations):
            return {}
        known = list(dict.fromkeys(layer for e in evaluations for layer in e.layers))
        return {
            "w": [e.architecture for e in evaluations],
            "g": [[known.index(layer) for layer in e.layers] for e in evaluations],
            "y": [list(layer) for layer in known],
        }

    def _spread(self, evaluations: Sequence[Evaluation]) -> dict[str, list[Any]]:
        """Lowest and highest value by the hyperparameter's place, and "m" for the networks' sizes, where they differ."""
        columns: dict[str, list[Any]] = {"m": [e.network_size for e in evaluations]}
        for place, values in enumerate(zip(*(e.hyperparameters.values() for e in evaluations))):
            if not any(value is None or isinstance(value, str | bool) for value in values):
                columns[str(place)] = list(values)
        ends = {key: [min(values), max(values)] for key, values in columns.items()}
        return {key: [short(low, 4), short(high, 4)] for key, (low, high) in ends.items() if low < high}

    def rows(self, after: int, budget: int = 60_000) -> list[Row] | None:
        """Every row after generation `after`, or None if that is more than `budget` bytes."""
        first = self.generations[0].number if self.generations else 1
        start = max(0, after + 1 - first)
        found, size = [], 0
        for index in range(start, len(self.generations)):
            found.append(self.row(index))
            size += len(json.dumps(found[-1]))
            if size > budget:
                return None
        return found

    def compact(self) -> list[Row]:
        """Rows from oldest to newest within `BUDGET`: the newest in full, older with less, then thinned."""
        found: list[Row] = []
        index = len(self.generations) - 1
        for level in (2, 1):
            size = 0
            while index >= 0 and len(found) < POINTS:
                row = self.row(index, level)
                size += len(json.dumps(row))
                if size > BUDGET[2 - level] and found:  # the newest is told whole, whatever it takes
                    break
                found.append(row)
                index -= 1
        if index >= 0:
            width = len(json.dumps(self.row(index, 0)))
            room = max(2, min(POINTS, BUDGET[2] // max(width, 1)))
            stride = math.ceil((index + 1) / room)
            found.extend(self.row(i, 0) for i in range(index, -1, -stride))
        return found[::-1]

    def past(self) -> str:
        """Older generations as the family tree needs them: JSON rows of level 1, compressed, in base64.

        Those that `compact` has no room for; the oldest are left out where even that is too much.
        """
        for index in range(len(self._lines), len(self.generations)):
            self._lines.append(json.dumps(self.row(index, 1), separators=(",", ":")))
        whole = sum("id" in row for row in self.compact())
        lines = self._lines[: len(self.generations) - whole]
        while lines:
            packed = base64.b64encode(zlib.compress(f"[{','.join(lines)}]".encode(), 6)).decode()
            if len(packed) <= PAST:
                return packed
            lines = lines[len(lines) - max(1, int(0.95 * len(lines) * PAST / len(packed))) :]
        return ""

    def line(self) -> dict[str, Any]:
        """The winner's ancestry: numbers, steps, ids, fitness; and [index, value] where a setting changed.

        `h` are the hyperparameters, `a` the hidden sizes, `w` the newest layers in words, `m` the networks' size, `l` what
        learning was like.
        """
        members: list[tuple[Evaluation, int]] = []
        wanted = self.generations[-1].best.agent if self.generations else None
        for index in range(len(self.generations) - 1, -1, -1):
            evaluation = self._by_id[index].get(wanted) if wanted is not None else None
            if wanted is None:
                break
            if evaluation is None:  # a revived elite was last evaluated further back
                continue
            members.append((evaluation, self.generations[index].all_steps))
            birth = self._births[index - 1].get(evaluation.agent) if index else None
            wanted = birth.parent if birth else None
        members.reverse()
        old = max(0, len(members) - LINE)
        kept = [
            (e, t) for i, (e, t) in enumerate(members) if i >= old or i % math.ceil(len(members) / LINE) == 0
        ]
        found = [e for e, _ in kept]
        return {
            "n": [e.generation for e in found],
            "t": [t for _, t in kept],
            "id": [e.agent for e in found],
            "f": [short(e.fitness) for e in found],
            "h": changes([[short(v) for v in e.hyperparameters.values()] for e in found]),
            "a": changes([list(e.hidden) for e in found]),
            "w": found[-1].architecture if found and found[-1].layers else "",
            "m": changes([e.network_size for e in found]),
            "l": [[i, self._learned(found[i])] for i in range(0, len(found), len(found) // 100 + 1)],
            **self._shares([e for e, _ in members]),
        }

    def confirmed(self) -> dict[str, list[Any]]:
        """Means over fresh episodes, where the best agent of a generation was confirmed; at most `POINTS` of them."""
        found = [g for g in self.generations if g.confirmed is not None and math.isfinite(g.confirmed)]
        best = max(found, key=lambda g: g.confirmed or 0.0, default=None)
        stride = math.ceil(len(found) / POINTS)
        kept = [g for i, g in enumerate(found) if (len(found) - 1 - i) % stride == 0 or g is best]
        return {
            "n": [g.number for g in kept],
            "t": [g.all_steps for g in kept],
            "f": [short(g.confirmed) for g in kept],
        }

    def learning(self) -> dict[str, Any]:
        """Losses over generations; of the best agent episode lengths, updates per step, other measures; and faults.

        At most `POINTS` generations.
        """
        stride = math.ceil(len(self.generations) / POINTS) if self.generations else 1
        kept = self.generations[::-1][::stride][::-1]
        names = list(dict.fromkeys(name for g in kept for name in g.losses))[:8]
        measured = list(dict.fromkeys(name for g in kept for name in g.best.extra))[:METRICS]
        faults: dict[str, int] = {}
        for fault in (f for g in self.generations for f in g.faults):
            faults[fault.kind] = faults.get(fault.kind, 0) + 1
        return {
            "n": [g.number for g in kept],
            "losses": {name: [short(g.losses.get(name), 4) for g in kept] for name in names},
            "length": [short(g.best.length, 4) for g in kept],
            "ratio": [short(g.best.updates / g.best.steps, 3) if g.best.steps else None for g in kept],
            "own": self.losses,
            "value": [short(g.best.value, 4) for g in kept],
            "earned": [short(g.best.discounted, 4) for g in kept],
            "metrics": {name: [short(g.best.extra.get(name), 4) for g in kept] for name in measured},
            "faults": faults,
        }

    def _shares(self, members: Sequence[Evaluation]) -> dict[str, Any]:
        """How often each kind occurs in the whole ancestry, before thinning."""
        counts: dict[str, int] = {}
        offset = self.generations[0].number if self.generations else 1
        for evaluation in members[1:]:
            birth = self._births[evaluation.generation - offset - 1].get(evaluation.agent)
            for key in counted_as(birth, self.names()) if birth else ():
                counts[key] = counts.get(key, 0) + 1
        return {"kinds": counts, "length": max(0, len(members) - 1)}

    def _learned(self, evaluation: Evaluation) -> list[Any]:
        """Value, discounted return, and the losses in the order of `losses`."""
        own = [evaluation.value, evaluation.discounted, *(evaluation.losses.get(n) for n in self.losses)]
        return [short(value, 4) for value in own]

    def effects(self) -> list[list[Any]]:
        """Per kind, and per "hyperparameters/lr": count, measured, quartiles of the gain, how many gained."""
        found = []
        for key, count in sorted(self._counts.items(), key=lambda item: -item[1]):
            gains = self._gains.get(key, [])
            quartiles = [short(quantile(gains, q)) for q in (0.25, 0.5, 0.75)] if gains else [None] * 3
            positive = len(gains) - bisect.bisect_right(gains, 0.0)
            found.append([key, count, len(gains), *quartiles, positive])
        return found

    def unborn(self) -> dict[str, list[Any]]:
        """The children of the newest generation, which are being trained now."""
        births = self.generations[-1].births if self.generations else ()
        return {
            "id": [b.agent for b in births],
            "p": [b.parent for b in births],
            "k": [self.kinds.index(b.kind) for b in births],
            "d": [b.detail[:120] for b in births],
        }


def _activations(names: Sequence[str]) -> str:
    return names[0] if len(set(names)) == 1 else ",".join(names)
