"""Actions with parts: a Dict or Tuple space of them as one flat space, and its actions taken apart again.

Inside evolab such an action is one array [..., A], all parts behind one another in the order of the space.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from gymnasium import spaces
from torch import Tensor

from evolab.core.space_trees import as_space, leading_shape, leaf_spaces, map_space
from evolab.core.trees import leaves, map_leaves

CHOICES = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


class ActionParts(spaces.Space):
    """What both kinds of joined spaces remember.

    Attributes:
        parts: the space that was joined.
    """

    parts: spaces.Space

    def __repr__(self) -> str:
        return repr(self.parts)

    def __eq__(self, other: object) -> bool:
        return bool(self.parts == (other.parts if isinstance(other, ActionParts) else other))

    __hash__ = None  # type: ignore[assignment]


class JoinedBox(ActionParts, spaces.Box):
    """Box parts behind one another.

    Args:
        parts: a Dict or Tuple, nested, of Box spaces.

    Attributes:
        wholes: [A], True in entries of whole numbers.
    """

    def __init__(self, parts: spaces.Space) -> None:
        boxes: list[Any] = [leaf for _, leaf in leaf_spaces(parts)]
        self.parts = parts
        dtype = np.result_type(*(box.dtype for box in boxes))
        self.wholes = np.concatenate(
            [np.full(box.low.size, np.dtype(box.dtype).kind in "iub") for box in boxes]
        )
        low, high = (
            np.concatenate([np.ravel(getattr(box, side)) for box in boxes]).astype(dtype)
            for side in ("low", "high")
        )
        spaces.Box.__init__(self, low, high, low.shape, dtype.type)


class JoinedChoices(ActionParts, spaces.MultiDiscrete):
    """Choices behind one another.

    Args:
        parts: a Dict or Tuple, nested, of Discrete, MultiDiscrete and MultiBinary spaces, and of Box spaces of
            whole numbers.
    """

    def __init__(self, parts: spaces.Space) -> None:
        self.parts = parts
        ends = [_ends(leaf) for _, leaf in leaf_spaces(parts)]
        low, high = (np.concatenate([pair[side] for pair in ends]) for side in (0, 1))
        spaces.MultiDiscrete.__init__(self, high - low + 1, dtype=np.int64, start=low)


def joined(space: spaces.Space) -> spaces.Space:
    """A Dict or Tuple of parts as one flat space; every other space as it is.

    Raises:
        TypeError: there are no parts, one of another kind, or choices beside real numbers.

    >>> joined(spaces.Tuple([spaces.Discrete(2), spaces.MultiBinary(2)])).nvec
    array([2, 2, 2])
    """
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        return space
    found = list(leaf_spaces(space))
    if not found:
        raise TypeError(f"action space {space} has no parts: nothing can be chosen.")
    for keys, leaf in found:
        if not isinstance(leaf, (spaces.Box, *CHOICES)):
            path = "".join(f"[{key!r}]" for key in keys)
            raise TypeError(
                f"action{path} is {leaf}; supported are Box, Discrete, MultiDiscrete and MultiBinary, and Dict and "
                "Tuple of them."
            )
    if all(isinstance(leaf, spaces.Box) for _, leaf in found):
        return JoinedBox(space)
    if any(isinstance(leaf, spaces.Box) and np.dtype(leaf.dtype).kind not in "iub" for _, leaf in found):
        raise TypeError(
            f"action space {space} has real numbers beside choices, and no algorithm here decides on both at once. "
            "Make all parts Box, or all of them choices: gymnasium.wrappers.TransformAction(env, function, space) "
            "turns one into the other."
        )
    for _, leaf in found:
        if isinstance(leaf, spaces.Box) and float(np.max(_ends(leaf)[1] - _ends(leaf)[0], initial=0)) > 2**16:
            raise TypeError(
                f"action space {space} has a Box of whole numbers that are too many to choose from."
            )
    return JoinedChoices(space)


def apart(space: spaces.Space, action: object) -> Any:
    """Actions [..., A] of a joined space in the form and the dtypes of its parts; other actions as they are.

    >>> number, bits = apart(joined(spaces.Tuple([spaces.Discrete(2), spaces.MultiBinary(2)])), np.array([1, 0, 1]))
    >>> int(number), bits
    (1, array([0, 1], dtype=int8))
    """
    if not isinstance(space, ActionParts):
        return action
    flat, start = cast("np.ndarray | Tensor", action), 0

    def one(leaf: spaces.Space) -> Any:
        nonlocal start
        size = int(np.prod(leaf.shape)) if leaf.shape else 1
        part = flat[..., start : start + size].reshape((*flat.shape[:-1], *(leaf.shape or ())))
        start += size
        return _given(leaf, part)

    return map_space(one, space.parts)


def together(space: spaces.Space, action: object) -> Any:
    """The inverse of `apart`: an action of the space's parts, or a batch of them, as one array [..., A].

    Raises:
        ValueError: it has another form than the space.

    >>> together(joined(spaces.Tuple([spaces.Discrete(2), spaces.MultiBinary(2)])), (1, [0, 1]))
    array([1, 0, 1])
    """
    if not isinstance(space, ActionParts) or isinstance(action, (np.ndarray, Tensor)):
        return action
    tree = as_space(space.parts, action, "action")
    lead = leading_shape(space.parts, tree, "action")
    flat = map_leaves(lambda leaf: np.asarray(leaf).reshape(*lead, -1), tree)
    return np.concatenate([np.asarray(leaf, space.dtype) for leaf in leaves(flat)], axis=-1)


def _given(leaf: spaces.Space, part: np.ndarray | Tensor) -> Any:
    """A part of an action as its own space has it."""
    dtype = np.dtype(leaf.dtype)
    whole = dtype.kind in "iub"
    if isinstance(part, Tensor):
        return part.round().long() if whole and part.is_floating_point() else part
    own: np.ndarray = np.rint(part) if whole and part.dtype.kind == "f" else part
    if isinstance(leaf, spaces.Box):
        own = np.clip(own, leaf.low.astype(own.dtype), leaf.high.astype(own.dtype))
    own = np.asarray(own).astype(dtype)
    return own[()] if isinstance(leaf, spaces.Discrete) else own


def _ends(leaf: spaces.Space) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value of each entry of a space of whole numbers, as int64."""
    if isinstance(leaf, spaces.Box):
        return np.ravel(leaf.low).astype(np.int64), np.ravel(leaf.high).astype(np.int64)
    if isinstance(leaf, spaces.Discrete):
        low, count = np.array([leaf.start]), np.array([leaf.n])
    elif isinstance(leaf, spaces.MultiDiscrete):
        low, count = np.ravel(leaf.start), np.ravel(leaf.nvec)
    else:  # MultiBinary
        count = np.full(int(np.prod(leaf.shape or ())), 2)
        low = np.zeros_like(count)
    return low.astype(np.int64), (low + count - 1).astype(np.int64)
