"""Everything a run has recorded so far, as records and as tables that pandas users know how to ask.

A `History` is a list of `events.Generation`; every table is built from it on
access, so there is one truth. On disk it is four append-only files of JSON
lines, safe against a crash in the middle of a line.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from evolab.core import checks
from evolab.history import effects, jsonlines
from evolab.history.columns import MEASURED, change_of, frame, settings_of, whole_numbers
from evolab.history.display import change, count, html_table, number, some
from evolab.history.events import Birth, Evaluation, Generation
from evolab.history.writer import HistoryWriter

if TYPE_CHECKING:
    from os import PathLike

    from pandas import DataFrame


class History:
    """The generations of one run, in order, and the tables that answer questions about them.

    A history shows itself as a short summary in a terminal and as a table in a notebook.
    """

    def __init__(self, generations: Iterable[Generation] = ()) -> None:
        self.generations: list[Generation] = []
        for generation in generations:
            self.append(generation)

    def append(self, generation: Generation) -> None:
        """Add the newest generation.

        Raises:
            ValueError: if its number does not follow the last one.
        """
        last = self.generations[-1].number if self.generations else generation.number - 1
        if generation.number != last + 1:
            raise ValueError(
                f"generation {generation.number} was appended after generation {last}; a history takes every "
                "generation once, in order."
            )
        self.generations.append(generation)

    def show(self) -> tuple[str, str]:
        """The history in one sentence, and its newest ten generations as a table.

        Returns:
            Plain text and HTML.
        """
        generations = list(self.generations)
        if not generations:
            html = "<div>No generation yet: call <code>exp.step()</code>.</div>"
            return "no generation yet: call exp.step()", html
        measured = [g.best for g in generations if not math.isnan(g.best.fitness)]
        best, last = max(measured or [generations[0].best], key=lambda e: e.fitness), generations[-1]
        summary = (
            f"{some(len(generations), 'generation')} of {some(len(last.evaluations), 'agent')}, "
            f"best {number(best.fitness)} by agent {best.agent} in generation {best.generation}, "
            f"now {number(last.fitness)}, {last.steps_told}"
        )
        names = ("generation", "steps", "best", "median", "worst", "best agent", "last change")
        births = {b.agent: b for b in generations[-11].births} if len(generations) > 10 else {}
        rows = []
        for generation in generations[-10:]:
            known = sorted(e.fitness for e in generation.evaluations if not math.isnan(e.fitness))
            values = known or [math.nan]
            birth = births.get(generation.best.agent)
            change_of_best = "" if birth is None else change(birth.detail) or birth.kind
            fitness = map(number, (generation.fitness, values[len(values) // 2], values[0]))
            steps = count(generation.all_steps)
            cells = (generation.number, steps, *fitness, generation.best.agent, change_of_best)
            rows.append(tuple(map(str, cells)))
            births = {b.agent: b for b in generation.births}
        return summary, html_table(names, rows, ("last change",), summary, strong=len(rows) - 1)

    def survived(self) -> str:
        """How many failures of environments were survived, by kind, in one line; empty where none was."""
        kinds = Counter(
            fault.detail.partition(":")[0] if fault.kind == "raise" else fault.kind
            for generation in list(self.generations)
            for fault in generation.faults
            if fault.kind not in ("action", "diverged")  # an agent's own
        )
        listed = ", ".join(f"{times} x {kind}" for kind, times in kinds.most_common())
        return f"environments failed, and training went on: {listed}" if listed else ""

    def __repr__(self) -> str:
        tables = ".fitness, .mutations, .hyperparameters, .lineage(), .schedule()"
        return f"History({self.show()[0]})" + (f": {tables}" if self.generations else "")

    def _repr_html_(self) -> str:
        return self.show()[1]

    def __len__(self) -> int:
        return len(self.generations)

    def __iter__(self) -> Iterator[Generation]:
        return iter(list(self.generations))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return [jsonlines.to_lines(g) for g in self] == [jsonlines.to_lines(g) for g in other]

    __hash__ = None  # type: ignore[assignment]  # it grows, so it is no key

    @property
    def fitness(self) -> DataFrame:
        """One row per agent and generation: fitness and what it cost; other measures as further columns.

        Numbers that the environment puts into `info` are among these, by their names: of the last step of each of the
        episodes behind the fitness, their mean.
        """
        rows = [
            {name: getattr(e, name) for name in MEASURED}
            | {k: v for k, v in e.extra.items() if k not in MEASURED}
            for e in self._evaluations()
        ]
        return whole_numbers(frame(rows, MEASURED), "parent")

    @property
    def mutations(self) -> DataFrame:
        """One row per birth, with the parent's fitness before and the child's one generation later.

        `fitness_after` is NaN until the child was evaluated. An elite is a row of kind
        "elite" whose parent is itself; so is an agent whose values were set by hand, of kind
        "by hand". `parent_after` is the parent's own fitness in the child's generation, where it
        lived on. Both have trained equally long since then and play the same seeds, so
        `fitness_after - parent_after` is what the mutation brought and nothing else.
        """
        measured = ("change", "fitness_before", "fitness_after", "parent_after")
        names = ("generation", "agent", "parent", "kind", "detail", *measured)
        generations, nan = list(self.generations), math.nan
        known: list[dict[int, float]] = [{e.agent: e.fitness for e in g.evaluations} for g in generations]
        rows = []
        for generation, earlier, now, later in zip(generations, [{}, *known], known, [*known[1:], {}]):
            by_hand = [(birth, earlier, now, nan) for birth in generation.by_hand]
            born = [(birth, now, later, later.get(birth.parent, nan)) for birth in generation.births]
            for birth, before, after, parent_after in by_hand + born:
                about = (birth.generation, birth.agent, birth.parent, birth.kind, birth.detail)
                change = nan if birth.change is None else birth.change
                values = (change, before.get(birth.parent, nan), after.get(birth.agent, nan), parent_after)
                rows.append(dict(zip(names, about + values)))
        return frame(rows, names)

    @property
    def hyperparameters(self) -> DataFrame:
        """One row per agent and generation: every hyperparameter, `hidden` ("64x64") and `activation`."""
        names = ("generation", "agent", "hidden", "activation")
        return frame([settings_of(e) for e in self._evaluations()], names)

    @property
    def learning(self) -> DataFrame:
        """One row per agent and generation: its updates, its mean losses by name, and what it expects and earns.

        `value` is the discounted return that its critic expects at the beginning of an episode, `discounted` the
        mean discounted return of its training episodes: a critic that expects far more than is earned overestimates.
        """
        names = ("generation", "agent", "updates", "value", "discounted")
        rows = [
            {name: getattr(e, name) for name in names} | {f"loss_{name}": v for name, v in e.losses.items()}
            for e in self._evaluations()
        ]
        return frame(rows, names)

    def lineage(self, agent: int | None = None) -> DataFrame:
        """The ancestry of one agent, oldest first: one row per generation.

        Args:
            agent: id; by default the best agent of the newest generation.

        Returns:
            Columns generation, agent, parent, kind, detail, fitness. `kind` and `detail`
            say what was changed when this agent was born; the first has kind "first". What was set by
            hand is of kind "by hand" where nothing else was changed, and stands behind it where it was.

        Raises:
            ValueError: if no agent of that id was ever evaluated.
        """
        hands = {(g.number, birth.agent): birth for g in self.generations for birth in g.by_hand}
        names, rows = ("generation", "agent", "parent", "kind", "detail", "fitness"), []
        for e, birth in self.ancestry(agent):
            changed = change_of(birth, hands.get((e.generation, e.agent)))
            values = (e.generation, e.agent, birth.parent if birth else e.parent, *changed, e.fitness)
            rows.append(dict(zip(names, values)))
        return whole_numbers(frame(rows, names), "parent")

    def schedule(self, agent: int | None = None) -> DataFrame:
        """The hyperparameters that the winner's line trained with, in order, so that they can be replayed.

        Each row was in force from `start` to `steps` (environment steps of the line; updates
        where it learns from recorded data), at which the whole population had taken `total_steps`.
        `genes` is the whole architecture as JSON, where `hidden` and `activation` do not say it all.
        `Experiment.replay` and `Experiment.certify` train by it.

        Raises:
            ValueError: if no agent of that id was ever evaluated.
        """
        rows, start = [], 0
        for evaluation, _ in self.ancestry(agent):
            head = {"generation": evaluation.generation, "agent": evaluation.agent}
            end = evaluation.steps or evaluation.updates
            genes = {"genes": json.dumps(evaluation.genes)} if evaluation.genes else {}
            span = {"start": start, "steps": end, "total_steps": evaluation.total_steps}
            rows.append(head | span | settings_of(evaluation) | genes)
            start = end
        return frame(rows, ("generation", "agent", "start", "steps", "total_steps", "hidden", "activation"))

    def mutation_effects(self) -> DataFrame:
        """What each kind of mutation brought; see `evolab.history.effects.mutation_effects`."""
        known = {name for e in self._evaluations() for name in e.hyperparameters}
        return effects.mutation_effects(self.mutations, self.lineage(), known)

    def importance(self) -> DataFrame:
        """How strongly each hyperparameter goes with fitness; see `evolab.history.effects.importance`."""
        return effects.importance(self.fitness, self.hyperparameters)

    def ancestry(self, agent: int | None = None) -> list[tuple[Evaluation, Birth | None]]:
        """The records behind `lineage`: each agent of the line with the birth that made it, oldest first."""
        newest = self._newest(agent)
        if newest is None:
            return []
        index, wanted = newest
        line: list[tuple[Evaluation, Birth | None]] = []
        while index >= 0:
            evaluation = next((e for e in self.generations[index].evaluations if e.agent == wanted), None)
            if evaluation is None:  # a revived elite was last evaluated further back
                index -= 1
                continue
            births = self.generations[index - 1].births if index else ()
            birth = next((b for b in births if b.agent == wanted), None)
            line.append((evaluation, birth))
            if birth is None and births:
                break
            wanted = birth.parent if birth else wanted  # without evolution it went on itself
            index -= 1
        return line[::-1]

    def to_json_lines(self, folder: str | PathLike[str]) -> None:
        """Append to `folder` whatever is not there yet; see `evolab.history.jsonlines` for the files.

        Rows of another run, or of a later part of this run that was rolled back, are replaced.
        """
        place = checks.path("folder", folder)
        place.mkdir(parents=True, exist_ok=True)
        HistoryWriter(place).append(self.generations)

    @classmethod
    def from_json_lines(cls, folder: str | PathLike[str], until: int | None = None) -> History:
        """Read a history back, exactly, NaN included.

        Args:
            folder: where `to_json_lines` wrote.
            until: the last generation to take; by default all.

        Raises:
            FileNotFoundError: if there is no history in `folder`.
            ValueError: if a line is damaged anywhere but at the end of a file.
        """
        return cls(g for g in jsonlines.read(folder) if until is None or g.number <= until)

    def _evaluations(self) -> Iterator[Evaluation]:
        for generation in list(self.generations):  # a copy: training may append meanwhile
            yield from sorted(generation.evaluations, key=lambda e: e.agent)

    def _newest(self, agent: int | None) -> tuple[int, int] | None:
        """Index of the newest generation that evaluated `agent`, and its id."""
        if agent is None:
            last = len(self.generations) - 1
            return (last, self.generations[last].best.agent) if self.generations else None
        for index in range(len(self.generations) - 1, -1, -1):
            if any(e.agent == agent for e in self.generations[index].evaluations):
                return index, agent
        today = sorted(e.agent for e in self.generations[-1].evaluations) if self.generations else []
        raise ValueError(f"agent {agent} was never evaluated; the newest generation has agents {today}.")
