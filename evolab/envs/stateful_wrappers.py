"""Environments and wrappers that remember what was before an episode: they begin anew when a run is loaded.

Gymnasium's running normalisation is refused, because here it is part of the agent; others are named, as far as can be
seen from outside: by numbers, texts, lists, arrays and generators that they hold, by what a seeded reset shows, and by
whether global generators are drawn from. What is kept elsewhere, such as in a library or a file, cannot be seen.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import SyncVectorEnv, VectorWrapper

from evolab.core import checks
from evolab.core.rng import global_states
from evolab.core.trees import Tree, leaves, map_leaves

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
    """True where a wrapper, or the environment inside of them, is not Gymnasium's."""
    return any(not _gymnasium(type(layer)) for layer in _layers(env))


class SeededReset:
    """What an environment holds after a seeded reset, to be compared with what it holds after the next.

    Args:
        env: that has been reset.
        observation: that this gave.
        globally: what `global_states` gave before.
    """

    def __init__(self, env: object, observation: Tree, globally: Mapping[str, object]) -> None:
        self._held = values(env)
        self._first = map_leaves(np.array, observation)
        self._globally = globally

    def told(self, env: object, observation: Tree) -> list[str]:
        """What is to be said of it, a sentence each.

        Args:
            env: the same, which has been stepped and was reset with the same seed.
            observation: that this gave.
        """
        found = []
        if names := changed(env, self._held):
            found.append(
                f"{', '.join(names)} remembers what was before an episode. Every environment remembers for itself, those "
                "of evaluation too, and begins anew when the run is loaded: where that changes what agents see or earn, "
                "a resumed run is not bit for bit what it would have been."
            )
        drawn = [name for name, state in global_states().items() if state != self._globally[name]]
        if drawn:
            found.append(
                f"it draws from {' and '.join(drawn)}, which no seed reaches: such a run can neither be repeated nor "
                "resumed bit for bit. Draw from self.np_random."
            )
        if not found and not same(self._first, observation):
            found.append(
                "reset(seed=...) shows something else each time: such a run can neither be repeated nor resumed bit for "
                "bit. Call super().reset(seed=seed), and draw from self.np_random."
            )
        return found


def same(one: Tree, other: Tree) -> bool:
    """True where all numbers of two observations are equal, those that are none included."""
    pairs = zip(leaves(one), leaves(map_leaves(np.asarray, other)), strict=True)
    return all(
        np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f" == np.asarray(b).dtype.kind)
        for a, b in pairs
    )


def values(env: object) -> Values:
    """What the user's own wrappers and environment hold, by layer and name."""
    return {depth: _held(layer) for depth, layer in enumerate(_layers(env)) if not _gymnasium(type(layer))}


def changed(env: object, before: Values) -> list[str]:
    """The wrappers and the environment whose values are others than `before`, with their names.

    Args:
        env: after a second reset with the same seed as the first.
        before: what `values` gave after the first.
    """
    now, found = values(env), []
    for depth, layer in enumerate(_layers(env)):
        if depth in now:
            then = before.get(depth, {})
            # What an environment did not hold at first is often what its last step has left, and nobody reads.
            fresh = not isinstance(layer, (gymnasium.Wrapper, VectorWrapper))
            names = [
                name
                for name, value in now[depth].items()
                if value != then.get(name) and not (fresh and then.get(name) is None and not _drawn(value))
            ]
            if names:
                found.append(f"{type(layer).__name__} ({', '.join(dict.fromkeys(names))})")
    return found


def notice_memory(name: str, told: list[str]) -> None:
    """Say what an environment remembers."""
    for sentence in told:
        checks.notice(f"{name}: {sentence}")


def _layers(env: object) -> Iterator[object]:
    """The wrappers around an environment, the outermost first, and the environment itself."""
    inner: object = env
    for layer in wrappers(env):
        yield layer
        inner = layer.env
    if not isinstance(inner, SyncVectorEnv):
        yield inner
    elif inner.envs:
        yield inner.envs[0].unwrapped


def _held(layer: object) -> dict[str, Any]:
    found: dict[str, Any] = {}
    own = {
        f"{kind.__name__}.{name}": value
        for kind in type(layer).__mro__
        if not _gymnasium(kind) and kind.__module__ != "builtins"
        for name, value in vars(kind).items()
        if not name.startswith("__") and isinstance(value, (bool, int, float, str, list, dict, set))
    }
    for name, value in {**own, **vars(layer)}.items():
        if name == "env":
            continue
        if (state := _state(value)) is not None:
            found[name] = state
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
            elif (state := _state(part)) is not None:
                found[key.replace("._np_random", "")] = state
    return found


GENERATOR = "a generator"


def _state(value: object) -> tuple[str, str] | None:
    """The state of a random generator; None for everything else."""
    if isinstance(value, np.random.Generator):
        return GENERATOR, repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return GENERATOR, repr(value.get_state(legacy=False))
    if isinstance(value, random.Random):
        return GENERATOR, repr(value.getstate())
    return (GENERATOR, repr(value.get_state().tolist())) if isinstance(value, torch.Generator) else None


def _drawn(value: object) -> bool:
    """True for the state of a generator."""
    return isinstance(value, tuple) and value[:1] == (GENERATOR,)


def _gymnasium(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "gymnasium"
