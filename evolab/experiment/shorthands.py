"""Shorthands for the parts of a run: names and plain values that stand for objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from evolab.core import checks, registry
from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.buffers.rollout import RolloutBuffer
from evolab.evolution.mutation.mutations import Mutations
from evolab.evolution.selection import Selection


def selection_named(selection: Any) -> Selection:
    """The selection that a name or an object stands for.

    Raises:
        ValueError: no such selection.
        TypeError: neither a name nor a selection.
    """
    return registry.resolve("selection", selection, Selection)  # type: ignore[type-abstract]


def mutations_of(mutations: Any) -> Mutations:
    """Mutations from an object, from a mapping of its options, or from None, the defaults.

    Raises:
        TypeError: something else came.
        ValueError: an unknown option.
    """
    if mutations is None or isinstance(mutations, Mapping):
        known = [option.name for option in fields(Mutations)]
        for name in mutations or {}:
            if name not in known:
                raise checks.unknown("option of Mutations", name, known)
        return Mutations(**(mutations or {}))
    if not isinstance(mutations, Mutations):
        raise TypeError(f"mutations is {mutations!r}; ev.Mutations(...) is expected.")
    return mutations


def buffer_of(buffer: Any, on_policy: bool = False) -> ReplayBuffer | RolloutBuffer | None:
    """A buffer from an object, from its options, or from its capacity or horizon; None stays None.

    Args:
        buffer: what the user gave.
        on_policy: True where a rollout is wanted.

    Raises:
        TypeError: something else came, or the kind that the algorithm does not learn from.
    """
    kind: Any = RolloutBuffer if on_policy else ReplayBuffer
    if isinstance(buffer, int) and not isinstance(buffer, bool):
        return kind(buffer)  # type: ignore[no-any-return]
    if isinstance(buffer, Mapping):
        return kind(**buffer)  # type: ignore[no-any-return]
    if buffer is not None and not isinstance(buffer, kind):
        what = "a horizon" if on_policy else "a capacity"
        raise TypeError(f"buffer is {buffer!r}; ev.{kind.__name__}(...) or {what} is expected.")
    return buffer  # type: ignore[no-any-return]
