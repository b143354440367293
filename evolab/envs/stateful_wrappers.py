"""Wrappers that remember what was before an episode: they begin anew when a run is loaded.

Gymnasium's running normalisation is refused, because here it is part of the agent; others are named.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorWrapper

from evolab.core import checks

NORMALISERS = {"NormalizeObservation": "observations", "NormalizeReward": "returns"}
"""Gymnasium's own, for single environments and for vectors, and the word for what evolab does in their place."""

Values = dict[int, dict[str, Any]]


def wrappers(env: object) -> Iterator[gymnasium.Wrapper | VectorWrapper]:
    """The wrappers around an environment, the outermost first; around a vector's environments, those of the first."""
    while isinstance(env, (gymnasium.Wrapper, VectorWrapper)):
        yield env
        env = env.env
    if isinstance(env, SyncVectorEnv):
        yield from wrappers(env.envs[0])


def refuse_normalisers(name: str, env: object) -> None:
    """Refuse Gymnasium's running normalisation, and what derives from it.

    Every environment would keep statistics of its own, and those of evaluation others than those of training.

    Raises:
        ValueError: says what does the same here.
    """
    kinds = [kind for layer in wrappers(env) for kind in type(layer).__mro__ if _gymnasium(kind)]
    words = {NORMALISERS[kind.__name__]: kind.__name__ for kind in kinds if kind.__name__ in NORMALISERS}
    if words:
        option = ", ".join(map(repr, sorted(words)))
        raise ValueError(
            f"{name} is wrapped in {' and '.join(sorted(words.values()))}, whose statistics are each environment's own: "
            "agents would be evaluated on other numbers than they learn from. Leave the wrapper out and pass "
            f"normalise={option if len(words) == 1 else f'({option})'}: the statistics are then the agent's, and are "
            "saved and exported with it."
        )


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
