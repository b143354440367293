"""Choices that were stored as floats, as arrays of other libraries have them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from evolab.core.trees import Tree

MOST_CHOICES = 255  # floats beyond it are hardly choices


def choices_of(
    actions: Tree, space: Space, ranges: Mapping[str, tuple[float, float]]
) -> Discrete | MultiDiscrete | None:
    """The space of actions that are whole numbers from 0 and stored as floats, where nobody has said what they are.

    Args:
        actions: as they are stored.
        space: they are seen in.
        ranges: smallest and largest value by leaf path.
    """
    if not (isinstance(actions, np.ndarray) and actions.dtype.kind == "f" and isinstance(space, Box)):
        return None
    low, high = ranges["actions"]
    largest = np.zeros(actions.shape[1:])
    if not 0 <= low < high <= MOST_CHOICES:
        return None
    for start in range(0, len(actions), 2**20):
        block = np.asarray(actions[start : start + 2**20])
        if not bool((block == np.rint(block)).all()):
            return None
        largest = np.maximum(largest, block.max(0))
    inferred = (-space.low == space.high).all() and (space.high == np.maximum(1, largest)).all()
    if not inferred:
        return None
    if largest.size == 1:
        return Discrete(int(high) + 1)
    return MultiDiscrete(largest.astype(np.int64) + 1)


def note_of(choices: Discrete | MultiDiscrete) -> str:
    """What a report says of them."""
    counts = int(choices.n) if isinstance(choices, Discrete) else choices.nvec.tolist()
    return (
        f"actions are whole numbers from 0 to {np.max(counts) - 1} stored as floats, and taken as real numbers; if they "
        f"are choices, pass the environment or action_space=gymnasium.spaces.{type(choices).__name__}({counts})"
    )
