"""Exchange between runs: who sends its best agent to whom, and how that agent is read from the giver's checkpoint."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from evolab.core import checks
from evolab.core.rng import numpy_stream
from evolab.data.buffers.base import Buffer
from evolab.data.buffers.replay import ReplayBuffer
from evolab.evolution.immigration import Immigrant
from evolab.population import serialisation
from evolab.population.population import Population
from evolab.storage.files import Damaged
from evolab.storage.folders import Saved, drafting
from evolab.training.run_folder import RunFolder

OUTBOX = "outbox"
"""Folder, in that of a run, of what others may ask for."""

KEPT = 64
"""Outboxes of a run that stay."""

WAYS = ("ring", "random", "best")
"""From the neighbour; from anybody, drawn anew each time; from the best of all."""


def migrations(way: str, scores: Mapping[str, float], seed: int, epoch: int) -> dict[str, list[str]]:
    """Who receives the best agent of whom: a function of the scores and of the stream (seed, "migration", epoch).

    Args:
        way: "ring", "random" or "best".
        scores: of each island's best agent, in the islands' order; one that is not finite gives nothing.
        seed: of all islands together.
        epoch: that has ended.

    Returns:
        the givers of each island.

    >>> migrations("ring", {"a": 1.0, "b": 2.0, "c": 3.0}, 0, 1)
    {'a': ['c'], 'b': ['a'], 'c': ['b']}
    >>> migrations("best", {"a": 1.0, "b": 3.0, "c": math.nan}, 0, 1)
    {'a': ['b'], 'b': [], 'c': ['b']}
    """
    if way not in WAYS:
        raise checks.unknown("migration", way, WAYS)
    names = list(scores)
    sound = [name for name in names if math.isfinite(scores[name])]
    found: dict[str, list[str]] = {name: [] for name in names}
    if len(names) < 2 or not sound:
        return found
    if way == "best":
        best = max(sound, key=lambda name: scores[name])
        return {name: [best] if name != best else [] for name in names}
    around: Sequence[str] = names
    if way == "random":  # a ring through all of them in a drawn order: everybody gives once
        around = [names[place] for place in numpy_stream(seed, "migration", epoch).permutation(len(names))]
    for place, name in enumerate(around):
        giver = around[place - 1]
        found[name] = [giver] if giver in sound else []
    return found


def best_of(folder: Path, generation: int, population: Population) -> Immigrant:
    """The best agent of a run at the end of a generation, from its checkpoint.

    Args:
        folder: of the run.
        generation: its checkpoint has to be there.
        population: that it is to enter, of the same algorithm and network.

    Raises:
        Damaged: the checkpoint is not whole, or knows no best agent.
        FileNotFoundError: it is not there.
    """
    saved = _outbox(folder, generation) or Saved(RunFolder(folder).generation(generation), "generation")
    where = str(saved.path / "state.json")
    kept, tensors = saved.json("state.json"), saved.tensors("population.safetensors")
    if not isinstance(kept, dict) or not isinstance(kept.get("best"), dict):
        raise Damaged(f"{where}: no best agent is there.")
    with serialisation.naming(where):
        spec = serialisation.spec_of(
            kept["population"], population.algorithm, population.network, str(population.device)
        )
        individual = serialisation.individual_of(spec, kept["best"], "best/", tensors, where)
    fitness = individual.fitness[-1] if individual.fitness else math.nan
    return Immigrant(individual, fitness, _ORIGIN.format(individual.id, folder.name, generation))


def send(folder: Path, generation: int, buffer: Buffer, transitions: int = 0) -> None:
    """Leave what others may ask for where it outlives the checkpoint: the best agent, and the newest transitions.

    Args:
        folder: of the run.
        generation: its checkpoint has just been written.
        buffer: of the run.
        transitions: how many.
    """
    saved = Saved(RunFolder(folder).generation(generation), "generation")
    kept, tensors = saved.json("state.json"), saved.tensors("population.safetensors")
    about = {name: kept[name] for name in ("population", "best")}
    with drafting(_outbox_path(folder, generation), "outbox", owned=True) as draft:
        draft.json("state.json", about)
        best = {name: value for name, value in tensors.items() if name.startswith("best/")}
        draft.tensors("population.safetensors", best)
        if transitions and isinstance(buffer, ReplayBuffer):
            draft.tensors("transitions.safetensors", buffer.newest(transitions))
    old = sorted((folder / OUTBOX).iterdir())[:-KEPT]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)


def transitions_of(folder: Path, generation: int) -> dict[str, Tensor]:
    """The newest transitions of a run at the end of a generation, for `ReplayBuffer.take_in`.

    Raises:
        FileNotFoundError: they are not there.
    """
    return Saved(_outbox_path(folder, generation), "outbox").tensors("transitions.safetensors")


def _outbox(folder: Path, generation: int) -> Saved | None:
    path = _outbox_path(folder, generation)
    return Saved(path, "outbox") if path.exists() else None


def _outbox_path(folder: Path, generation: int) -> Path:
    return folder / OUTBOX / f"{generation:06d}"


_ORIGIN = "agent {} of {}, generation {}"


def origin_of(detail: str) -> tuple[int, str] | None:
    """Who an agent was that came from elsewhere: its id there, and the run; None where the words do not say it.

    >>> origin_of("agent 5 of island-2, generation 20")
    (5, 'island-2')
    >>> origin_of("agent 5 of island-2, generation 20, hyperparameters of 7")
    (5, 'island-2')
    """
    found = re.fullmatch(r"agent (\d+) of (\S+), generation \d+(, hyperparameters of \d+)?", detail)
    return None if found is None else (int(found[1]), found[2])
