"""Options of islands: one search in several populations whose best agents migrate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

FILE = "sweep.json"
"""What a sweep, or islands, are made of, in their folder."""


@dataclass(frozen=True)
class IslandOptions:
    """What an experiment takes beside its other options where it is several populations.

    Args:
        islands: train so many populations as one search; the options above are those of each, `max_steps` and `fill` are
            of all. None for one population, and none of the options below.
        migration: who receives the best agent of whom at the end of an epoch: "ring", "random" or "best".
        every: generations of an epoch; `step` is one epoch of all islands.
        transitions: newest ones of an island that go with each agent into the replay of the island that it comes to.
        frequencies: generations from one selection to the next, that the islands take in turn: with (1, 4) every second one
            evolves rarely, and finds what pays late. An agent that comes from an island that evolves more often brings
            its weights alone, and takes the hyperparameters of the best there. None for every generation on all islands.
        synchronous: islands wait for each other at the end of each epoch, which makes a run reproducible; False takes what
            the others have sent last.
        exact: refuse islands that wait for each other on processors of different types, where sums are not the same; False
            takes them, and the result then depends on who trained which island. `deterministic=True` needs neither.
        engine: "local" is this process, one island after the other; "folder" is processes that meet in the folder, "ray"
            actors of Ray. The results are the same.
        workers: how many; None for one for each core.
        threads: of each worker.
    """

    islands: int | None = None
    migration: str = "ring"
    every: int = 10
    transitions: int = 0
    frequencies: Sequence[int] | None = None
    synchronous: bool = True
    exact: bool = True
    engine: str = "local"
    workers: int | None = None
    threads: int = 1

    @classmethod
    def names(cls) -> list[str]:
        """Every option."""
        return [field.name for field in fields(cls)]

    @classmethod
    def split(cls, options: Mapping[str, object]) -> tuple[IslandOptions, dict[str, Any]]:
        """Those of islands, and the others."""
        mine: dict[str, Any] = {name: value for name, value in options.items() if name in cls.names()}
        return cls(**mine), {name: value for name, value in options.items() if name not in mine}


def for_one(options: Mapping[str, object]) -> dict[str, Any]:
    """Options of an experiment of one population.

    Raises:
        ValueError: one that only islands have.
    """
    given = {name: value for name, value in options.items() if name != "islands"}
    for name in given:
        if name in IslandOptions.names():
            raise ValueError(
                f"{name} is an option of islands. Say how many: Experiment(..., islands=4, {name}=...)."
            )
    return given
