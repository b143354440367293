"""Wrappers that remember what was before an episode: they begin anew when a run is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorWrapper

from evolab.core import checks

NORMALISERS = ("NormalizeObservation", "NormalizeReward")
"""Gymnasium's own, for single environments and for vectors; its other wrappers begin anew with every episode."""

Values = dict[int, dict[str, Any]]


def wrappers(env: object) -> Iterator[gymnasium.Wrapper | VectorWrapper]:
    """The wrappers around an environment, the outermost first."""
    while isinstance(env, (gymnasium.Wrapper, VectorWrapper)):
        yield env
        env = env.env


def normalisers(env: object) -> list[str]:
    """The wrappers with running averages, by name; subclasses count."""
    return [
        type(layer).__name__
        for layer in wrappers(env)
        if any(kind.__name__ in NORMALISERS and _gymnasium(kind) for kind in type(layer).__mro__)
    ]


def has_own(env: object) -> bool:
    """True where a wrapper is not Gymnasium's."""
    return any(not _gymnasium(type(layer)) for layer in wrappers(env))


def values(env: object) -> Values:
    """The numbers, texts, lists and arrays that wrappers of the user's own hold, by layer and name."""
    return {depth: _held(layer) for depth, layer in enumerate(wrappers(env)) if not _gymnasium(type(layer))}


def changed(env: object, before: Values) -> list[str]:
    """The wrappers whose values are others than `before`, with their names.

    Args:
        env: after a second reset with the same seed as the first.
        before: what `values` gave after the first.
    """
    now, found = values(env), []
    for depth, layer in enumerate(wrappers(env)):
        if depth in now:
            names = [name for name, value in now[depth].items() if value != before.get(depth, {}).get(name)]
            if names:
                found.append(f"{type(layer).__name__} ({', '.join(names)})")
    return found


def notice_memory(name: str, remembering: list[str]) -> None:
    """Say which wrappers of an environment remember, where some do."""
    if remembering:
        checks.notice(
            f"{name}: {', '.join(remembering)} remembers what was before an episode. Every environment remembers for "
            "itself, those of evaluation too, and begins anew when the run is loaded: a resumed run is not bit for bit "
            "what it would have been."
        )


def _held(layer: object) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in vars(layer).items():
        if name == "env":
            continue
        parts = (
            vars(value).items() if type(value).__module__ != "builtins" and hasattr(value, "__dict__") else ()
        )
        for key, part in [(name, value), *((f"{name}.{key}", part) for key, part in parts)]:
            if isinstance(part, (bool, int, float, str)):
                found[key] = part
            elif isinstance(part, (np.ndarray, np.generic)):
                found[key] = (part.shape, part.tobytes()) if part.dtype.kind in "biuf" else None
            elif isinstance(part, (list, tuple, set, dict)):
                found[key] = len(part)
    return found


def _gymnasium(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "gymnasium"
