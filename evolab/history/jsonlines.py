"""Generations as lines of JSON and back: five files that survive a crash and need no pickle.

`fitness.jsonl`, `hyperparameters.jsonl`, `mutations.jsonl` and `learning.jsonl` hold one row per agent
and generation, for any JSON reader. `generations.jsonl` is written last, one
line per generation, and names the agents that belong to it: rows that no such line
claims (a crash, a rolled-back generation) are never read. NaN and the infinities are
written as strings, since JSON has no such numbers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evolab.core import checks
from evolab.core.layers import DiagramLayer
from evolab.core.plain_values import from_special, plain
from evolab.history.events import Birth, Evaluation, Fault, Generation

ROWS = ("fitness", "hyperparameters", "mutations", "learning")
SETTINGS = ("hyperparameters", "hidden", "activation", "genes")
LEARNING = ("losses", "value", "discounted", "layers")
"""In a file of their own, `learning.jsonl`, which runs of earlier versions do not have and their readers do not read."""
SIZE = "parameters"
"""What `Evaluation.network_size` is called in the files, where readers of evolab 0.1 look for it."""


def to_lines(generation: Generation) -> dict[str, list[str]]:
    """The lines of one generation, by file; equal lines mean equal generations, NaN included."""
    evaluations = [_record(e) for e in generation.evaluations]
    settings, learning = (
        [
            {"generation": e["generation"], "agent": e["agent"]} | {name: e.pop(name) for name in names}
            for e in evaluations
        ]
        for names in (SETTINGS, LEARNING)
    )
    for row in learning:
        if not row["layers"]:
            del row["layers"]  # fully connected ones, as most are
    for row in evaluations:
        row[SIZE] = row.pop("network_size")
    births = [_record(b) for b in generation.births]
    rows = {"fitness": evaluations, "hyperparameters": settings, "mutations": births, "learning": learning}
    return {name: [_line(row) for row in table] for name, table in rows.items()} | {
        "generations": [_head(generation)]
    }


def read(folder: str | os.PathLike[str]) -> list[Generation]:
    """The generations that a `HistoryWriter` wrote.

    Raises:
        FileNotFoundError: if `folder` holds no history.
        ValueError: if a line is damaged anywhere but at the end of a file, or a row is missing.
    """
    folder = checks.path("folder", folder)
    if not (folder / "generations.jsonl").exists():
        raise FileNotFoundError(f"{folder} holds no history: generations.jsonl is not there.")
    texts = {}
    for name in (*ROWS, "generations"):
        path = folder / f"{name}.jsonl"
        texts[name] = path.read_text("utf-8") if path.exists() else ""
    return from_lines(texts, folder)


def from_lines(texts: Mapping[str, str], folder: str | os.PathLike[str] = "history") -> list[Generation]:
    """The generations in the content of the files.

    Args:
        texts: content by name, without suffix.
        folder: where it is from, for the errors.

    Raises:
        ValueError: as `read`.
    """
    folder = checks.path("folder", folder)
    # Later rows win: a generation that was trained again after a crash replaces the first attempt.
    tables = {
        name: {
            (row["generation"], row["agent"]): row
            for row in _lines(texts.get(name, ""), folder / f"{name}.jsonl")
        }
        for name in ROWS
    }
    found = []
    for head in _lines(texts["generations"], folder / "generations.jsonl"):
        number = head["number"]
        try:
            evaluations = tuple(
                _evaluation(
                    tables["fitness"][number, agent]
                    | tables["hyperparameters"][number, agent]
                    | tables["learning"].get((number, agent), {})
                )
                for agent in head.pop("evaluations")
            )
            births = tuple(_birth(tables["mutations"][number, agent]) for agent in head.pop("births"))
        except KeyError as missing:
            raise ValueError(f"{folder}: generation {number} lacks the row {missing}.") from None
        faults = tuple(Fault(**_known(Fault, f)) for f in head.pop("faults"))
        for name in ("seconds", "losses", "mutation_weights"):
            head[name] = _numbers(head[name])
        head["confirmed"] = from_special(head["confirmed"])
        rows = {"evaluations": evaluations, "births": births, "faults": faults}
        found.append(Generation(**_known(Generation, head | rows)))
    return found


def _evaluation(row: dict[str, Any]) -> Evaluation:
    read: dict[str, Any] = row | {"network_size": row[SIZE]}
    for name in ("fitness", "length", "value", "discounted"):
        if name in row:
            read[name] = from_special(row[name])
    for name in ("hyperparameters", "extra", "losses"):
        if name in row:
            read[name] = _numbers(row[name])
    for name in ("hidden", "activation"):
        read[name] = tuple(row[name])
    read["layers"] = tuple(DiagramLayer(*layer) for layer in row.get("layers", ()))
    return Evaluation(**_known(Evaluation, read))


def _birth(row: dict[str, object]) -> Birth:
    return Birth(**_known(Birth, row | {"change": from_special(row["change"])}))


def _known(record: type, row: Mapping[str, object]) -> dict[str, Any]:
    """What a record has a place for: a later version may write more."""
    fields = record.__dataclass_fields__  # type: ignore[attr-defined]
    return {name: value for name, value in row.items() if name in fields}


def _head(generation: Generation) -> str:
    """The line that claims a generation: everything but the agents' own rows."""
    head = _record(generation)
    if not generation.changes:
        del head["changes"]  # which readers of evolab 0.1 do not know
    head["evaluations"] = [e.agent for e in generation.evaluations]
    head["births"] = [b.agent for b in generation.births]
    head["faults"] = [_record(f) for f in generation.faults]
    return _line(head)


def _line(row: Mapping[str, object]) -> str:
    return json.dumps(plain(row), allow_nan=False, ensure_ascii=False)


def _record(record: Generation | Evaluation | Birth | Fault) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def _numbers(values: Mapping[str, object]) -> dict[str, Any]:
    return {name: from_special(value) for name, value in values.items()}


def _lines(text: str, path: Path) -> Iterable[dict[str, Any]]:
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if not line:
            continue
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            if index == len(lines) - 1:
                return  # a crash cut this line short; its generation was never claimed
            raise ValueError(f"{path}, line {index + 1} is damaged: {error}.") from None
