"""Shorthands for the parts of a run: names and plain values that stand for objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evolab import checks
from evolab.mutations.mutation import Mutations
from evolab.selections import MFPBT, Selection, Tournament, Truncation
from evolab.sources.replay import ReplayBuffer

SELECTIONS: dict[str, type[Selection]] = {"Tournament": Tournament, "Truncation": Truncation, "MFPBT": MFPBT}


def selection_named(selection: Any) -> Selection:
    """The selection that a name or an object stands for.

    Raises:
        ValueError: no such selection.
        TypeError: neither a name nor a selection.
    """
    if isinstance(selection, Selection):
        return selection
    if not isinstance(selection, str):
        raise TypeError(
            f"selection is {selection!r}; ev.Tournament(...) or another evolab selection is expected."
        )
    found = {name.lower(): name for name in SELECTIONS}.get(selection.lower())
    if found is None:
        raise checks.unknown("selection", selection, SELECTIONS)
    return SELECTIONS[found]()


def mutations_of(mutations: Any) -> Mutations:
    """Mutations from an object, from a mapping of its options, or from None, the defaults.

    Raises:
        TypeError: something else came, or an unknown option.
    """
    if mutations is None or isinstance(mutations, Mapping):
        return Mutations(**(mutations or {}))
    if not isinstance(mutations, Mutations):
        raise TypeError(f"mutations is {mutations!r}; ev.Mutations(...) is expected.")
    return mutations


def buffer_of(buffer: Any) -> ReplayBuffer | None:
    """A buffer from an object or from its capacity; None stays None.

    Raises:
        TypeError: something else came.
    """
    if isinstance(buffer, int) and not isinstance(buffer, bool):
        return ReplayBuffer(buffer)
    if buffer is not None and not isinstance(buffer, ReplayBuffer):
        raise TypeError(f"buffer is {buffer!r}; ev.ReplayBuffer(...) or a capacity is expected.")
    return buffer
