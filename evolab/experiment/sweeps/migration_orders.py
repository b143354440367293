"""Islands: one search in several populations, whose best agents migrate at the end of each epoch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evolab.core import checks
from evolab.core.plain_values import plain, to_plain
from evolab.core.rng import seed_of
from evolab.core.schema import listing, mapping, record, whole, word
from evolab.data.buffers.replay import ReplayBuffer
from evolab.experiment.config.config import ExperimentConfig
from evolab.experiment.engines.migration import WAYS, migrations
from evolab.experiment.engines.orders import PERIOD, Order, Report
from evolab.experiment.sweeps.expansion import is_plain
from evolab.experiment.sweeps.job import SweepJob
from evolab.experiment.sweeps.plan import Plan, Run, planned
from evolab.storage.files import Damaged, read_json, replace_bytes
from evolab.storage.folders import FORMAT, MANIFEST
from evolab.training.generation_folders import GenerationFolders

SECTION = ("islands", "migration", "every", "transitions", "synchronous", "frequencies", "exact")

EPOCHS = ".epochs"
"""Folder of the committed epochs, a file each."""


MOST = 10_000
"""Islands of one search; the process that plans needs 3.3 ms for each and epoch (`tests/benchmarks/islands.py`)."""


def island_plan(section: Mapping[str, Any], options: Mapping[str, Any]) -> Plan:
    """The islands as runs, each with a seed of its own, that exchange agents.

    Args:
        section: how many `islands`, their `migration`, generations of an epoch, `every`, `transitions` that go with each
            agent, whether they wait for each other, `synchronous`, on processors of one type, `exact`, and generations
            from one selection to the next, that the islands take in turn, `frequencies`.
        options: of each island, and the goals of all.

    Raises:
        ValueError: one island, an unknown migration, or generations that are no whole number of epochs.
    """
    for name in section:
        if name not in SECTION:
            raise checks.unknown("part of islands", name, SECTION)
    count = checks.positive_integer("islands", section["islands"], 2)
    if count > MOST:
        raise ValueError(
            f"islands is {count}; each is a population with a folder of its own, and beyond {MOST} of them the process that "
            "plans for all would do nothing else. Lower it, and take larger populations."
        )
    every = checks.positive_integer("every", section.get("every", 10))
    migration = section.get("migration", WAYS[0])
    if migration not in WAYS:
        raise checks.unknown("migration", migration, WAYS)
    given = {**options, **(options.get("run") or {})}
    given.pop("run", None)
    seed = checks.positive_integer("seed", given.pop("seed", 0), 0)
    if checks.positive_integer("keep", given.get("keep", 3)) < 2:
        raise ValueError("keep is 1; islands read the checkpoint before the newest: keep=2 or more.")
    if given.get("evolving") is False:
        raise ValueError(
            "evolving=False: an agent that comes in competes with the others, so islands evolve."
        )
    if given.get("population") == 1:
        raise ValueError(
            "population is 1; who comes in takes the place of an agent that is not the best, so each island has two or "
            "more."
        )
    if given.get("checkpoint_every", every) != every:
        raise ValueError(
            "checkpoint_every is set by islands: each writes one at the end of an epoch. Leave it out."
        )
    if "generations" in given and given["generations"] % every:
        raise ValueError(
            f"generations is {given['generations']}; a multiple of every={every} is expected, whole epochs."
        )
    if "max_steps" in given:  # those of all islands together
        given["max_steps"] = max(1, checks.positive_integer("max_steps", given["max_steps"]) // count)
    if "minutes" in given:
        raise ValueError("islands end by generations, max_steps or target, not by the clock.")
    seeds = [seed_of(seed, "island", number) % 2**31 for number in range(count)]
    runs = planned(seeds, {**given, "checkpoint_every": every})
    named = [replace(run, name=f"island-{number}") for number, run in enumerate(runs)]
    synchronous = checks.flag("synchronous", section.get("synchronous", True))
    transitions = checks.positive_integer("transitions", section.get("transitions", 0), 0)
    if transitions:
        _refuse_transitions(named[0], transitions)
    frequencies = _frequencies(section.get("frequencies"))
    if frequencies:
        named = [
            _evolving_every(run, frequencies[place % len(frequencies)]) for place, run in enumerate(named)
        ]
    return Plan(
        named,
        migration=migration,
        seed=seed,
        synchronous=synchronous,
        transitions=transitions,
        frequencies=frequencies,
        exact=checks.flag("exact", section.get("exact", True)),
    )


def _frequencies(given: object) -> tuple[int, ...]:
    if given is None:
        return ()
    if isinstance(given, int) and not isinstance(given, bool):
        given = [given]
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise TypeError(
            f"frequencies is {given!r}; generations from one selection to the next are expected, such as (1, 4)."
        )
    return tuple(checks.positive_integer("frequencies", one) for one in given)


def _evolving_every(run: Run, interval: int) -> Run:
    """The run with a selection at the end of each so-manieth generation alone."""
    selection = replace(ExperimentConfig.from_plain(run.options, **run.own).selection, interval=interval)
    if not is_plain(selection):
        raise ValueError(
            f"frequencies need a selection that a file holds, and {type(selection).__name__} is your own. Register it, "
            "or give it an interval."
        )
    return replace(run, options={**run.options, "selection": to_plain(selection)})


def _refuse_transitions(run: Run, transitions: int) -> None:
    config = ExperimentConfig.from_plain(run.options, **run.own)
    shared = config.buffer is None or (isinstance(config.buffer, ReplayBuffer) and config.buffer.shared)
    if not (config.algorithm.replays and shared):
        raise ValueError(
            f"transitions are exchanged between replay buffers that all agents share; {config.algorithm.name} learns "
            "from other experience here. Leave transitions out."
        )
    if isinstance(config.buffer, ReplayBuffer) and transitions > config.buffer.capacity:
        raise ValueError(
            f"transitions is {transitions}, and the buffer holds {config.buffer.capacity}. Send fewer."
        )


class IslandsJob(SweepJob):
    """Orders for islands: all of them end an epoch before the next one begins.

    An epoch is committed by one file, which says where every island stands and who receives whom. It follows from the
    reports alone, so whoever sees first that all are there may write it.
    """

    def __init__(self, home: Path, plan: Plan) -> None:
        super().__init__(home, plan)
        self._committed: Mapping[str, Any] | None = None

    def _orders(self) -> list[Order]:
        """One for every island that has not ended the epoch."""
        while True:
            before = self._newest()
            epoch, reports = int(before["epoch"]), self.reports()
            if self._file(epoch + 1).exists():
                continue  # another process has committed meanwhile: these reports may be of a later epoch
            if any(report.failed(self.plan.retries) for report in reports):
                return []  # the others would wait for ever
            pairs = list(zip(self.plan.runs, reports, strict=True))
            if self._gone_back(before, pairs):
                continue
            if any(report.met(run.goals) and report.epoch <= epoch for run, report in pairs):
                return []
            waiting = {report.run: report for report in reports if report.epoch <= epoch}
            if waiting:
                return [self._next(order, before) for order in super()._orders() if order.run in waiting]
            self._commit(epoch + 1, reports)

    def _next(self, order: Order, before: Mapping[str, Any]) -> Order:
        order = replace(order, epoch=before["epoch"] + 1)
        givers = before["inbox"].get(order.run, ())
        return replace(order, inbox=tuple((giver, order.beginning) for giver in givers))

    def _gone_back(self, before: Mapping[str, Any], pairs: Sequence[tuple[Run, Report]]) -> bool:
        """True where something was taken back: what a goal cut short that has been raised since, or came too early.

        No island begins an epoch before the one before it is committed, but a crash may have lost the commit.
        """
        epoch = int(before["epoch"])
        known = before.get("islands", {})
        if any(_cut(known[run.name]["generation"], epoch, run, report) for run, report in pairs if known):
            self._file(epoch).unlink(missing_ok=True)
            self._committed = None
            return True
        back = [
            report
            for run, report in pairs
            if report.epoch > epoch + 1 or _cut(report.generation, report.epoch, run, report)
        ]
        for report in back:
            self._set_back(report, min(epoch, report.epoch - 1))
        return bool(back)

    def _newest(self) -> Mapping[str, Any]:
        """The newest epoch that is whole on every island."""
        known = self._committed
        while known is None or self._file(known["epoch"] + 1).exists():
            known = self._looked_up()
        self._committed = known
        return known

    def _looked_up(self) -> Mapping[str, Any]:
        while paths := sorted((self.home / EPOCHS).glob("*.json")):
            for _ in range(2):
                if (found := self._whole(paths[-1])) is not None:
                    return found
                # A storage may be away for a moment, and whoever is slow finds that the others have gone on meanwhile.
                time.sleep(PERIOD)
            if paths == sorted((self.home / EPOCHS).glob("*.json")):
                self._refuse_away()
                paths[-1].unlink(missing_ok=True)
        self._refuse_away()
        return {"epoch": 0, "inbox": {}}

    def _whole(self, path: Path) -> Mapping[str, Any] | None:
        """What an epoch's file says, where that is so; None otherwise."""
        try:
            found = read_json(path)
            _FORM("", found)
            for name, about in found["islands"].items():
                if _checksum(self.home / name, about["generation"]) != about["sha256"]:
                    return None
        except (Damaged, ValueError):
            return None
        return dict(found)

    def _commit(self, epoch: int, reports: list[Report]) -> None:
        """Write down where every island stands; one whose checkpoint is not whole has to end the epoch again."""
        islands: dict[str, Any] = {}
        for report in reports:
            try:
                sha = _checksum(self.home / report.run, report.generation)
            except (Damaged, ValueError):
                self._set_back(report, epoch - 1)
                return
            islands[report.run] = {"generation": report.generation, "sha256": sha}
        processors = sorted({report.processor for report in reports})
        alike = not self.plan.exact or all(run.options.get("deterministic") for run in self.plan.runs)
        if len(processors) > 1 and not alike:
            raise RuntimeError(
                f"islands were computed on {' and '.join(processors)}, where sums are not the same. Take machines of one "
                "type, or begin anew with deterministic=True; or go on with exact=False, and a result that depends on who "
                "trained which island."
            )
        scores = {one.run: math.nan if one.newest is None else one.newest for one in reports}
        inbox = migrations(self.plan.migration or WAYS[0], scores, self.plan.seed, epoch)
        about = {"format": FORMAT, "epoch": epoch, "islands": islands, "scores": scores, "inbox": inbox}
        text = json.dumps(plain(about | {"processors": processors}), allow_nan=False, indent=1) + "\n"
        (self.home / EPOCHS).mkdir(exist_ok=True)
        replace_bytes(self._file(epoch), text.encode())

    def _set_back(self, report: Report, epoch: int) -> None:
        self._refuse_away()
        if Report.read(self.home, report.run) == report:  # nobody has led it on meanwhile
            replace(report, epoch=epoch, over=None, begun=0).write(self.home)

    def _file(self, epoch: int) -> Path:
        return self.home / EPOCHS / f"{epoch:06d}.json"


def _cut(generation: int, epoch: int, run: Run, report: Report) -> bool:
    """True where an epoch ended early, by a goal that is no longer one."""
    return generation < epoch * run.length and not report.met(run.goals)


def _checksum(run: Path, generation: int) -> str:
    """Of a checkpoint's manifest, which holds those of its files."""
    found = read_json(GenerationFolders(run).generation(generation) / MANIFEST)
    if not isinstance(found, dict) or not isinstance(found.get("sha256"), str):
        raise Damaged(f"the manifest of generation {generation} in {run} is damaged.")
    return str(found["sha256"])


_FORM = record(
    {
        "format": whole(1, FORMAT),
        "epoch": whole(1),
        "islands": mapping(record({"generation": whole(), "sha256": word})),
        "inbox": mapping(listing(word)),
    }
)
