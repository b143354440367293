"""Spaces of stored data: parsed from Minari's JSON, inferred from arrays, compared with an environment's."""

from __future__ import annotations

import json
from typing import Any, TypeGuard

import numpy as np
from gymnasium import Space, spaces

from evolab.core.actions import bounds
from evolab.core.spaces import from_json
from evolab.core.trees import Tree
from evolab.data.datasets.columns import DatasetError


def parse(text: object, name: str, key: str) -> Space | None:
    """The gymnasium space that Minari's JSON describes; None where there is no description.

    Raises:
        DatasetError: the description is damaged, or of a kind that evolab can't learn from.
    """
    if text is None:
        return None
    try:
        return from_json(json.loads(text) if isinstance(text, str) else text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{name}: {key!r} in metadata.json describes no space that evolab reads "
            f"({error or type(error).__name__}). "
            "Expected Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of these."
        ) from error


def is_stored_as_jpeg(space: Space | None) -> TypeGuard[spaces.Box]:
    """True where Minari stores the space's samples as JPEG: bytes of 0 to 255, at least 32 x 32."""
    return (
        isinstance(space, spaces.Box)
        and len(space.shape) in (2, 3)
        and min(space.shape[:2]) >= 32
        and space.dtype == np.uint8
        and bool((space.low == 0).all() and (space.high == 255).all())
    )


def infer(tree: Tree, ranges: dict[str, tuple[float, float]], path: str, actions: bool) -> Space:
    """The smallest plain space that holds the data.

    Whole numbers [N] are Discrete up to the largest seen; uint8 of at least two axes is
    an image; several whole numbers of an action are choices each, up to its column's largest, or a Box where some are
    negative; floats are a Box without bounds, or for actions -1 to 1, and in columns that go beyond it up to their
    largest in both directions. A space seen through data is a lower bound: an action that never occurs is missing from it.

    Args:
        tree: the arrays.
        ranges: smallest and largest value by leaf path.
        path: the path of `tree`.
        actions: True for actions.
    """
    if isinstance(tree, dict):
        return spaces.Dict({k: infer(v, ranges, f"{path}/{k}", actions) for k, v in tree.items()})
    if isinstance(tree, tuple):
        return spaces.Tuple([infer(v, ranges, f"{path}/{i}", actions) for i, v in enumerate(tree)])
    assert isinstance(tree, np.ndarray)
    low, high = ranges[path]
    shape = tree.shape[1:]
    if tree.dtype.kind == "f":
        if not actions:
            return spaces.Box(-np.inf, np.inf, shape, np.float32)
        bound = np.maximum(1.0, np.abs(_by_column(tree)).max(0)).astype(np.float32)
        return spaces.Box(-bound, bound, shape, np.float32)
    if tree.dtype == np.uint8 and len(shape) >= 2:
        return spaces.Box(0, 255, shape, np.uint8)
    if not shape:
        start = min(0, int(low))
        return spaces.Discrete(int(high) - start + 1, start=start)
    kind = np.int64 if tree.dtype.kind == "b" else tree.dtype.type
    if not actions:
        return spaces.Box(int(low), int(high), shape, kind)
    least, most = _by_column(tree)
    return (
        spaces.MultiDiscrete(most.astype(np.int64) + 1) if low >= 0 else spaces.Box(least, most, shape, kind)
    )


def _by_column(tree: np.ndarray) -> np.ndarray:
    """Smallest and largest finite value of each entry of a row, [2, ...]: a small range may stand beside a large one."""
    step = max(1, 2**20 // max(1, int(np.prod(tree.shape[1:]))))
    ends = []
    for start in range(0, len(tree), step):
        block = np.asarray(tree[start : start + step])
        if block.dtype.kind == "f":
            block = np.where(np.isfinite(block), block, 0)
        ends.append((block.min(0), block.max(0)))
    found = np.array(ends)
    return np.stack([found[:, 0].min(0), found[:, 1].max(0)])


def fitted(tree: Tree, space: Space, path: str, casts: dict[str, str]) -> Tree:
    """The columns as the space has them, where only the form differs: what a file cannot say of one number.

    One number a row is [N] where the space's shape is (), [N, 1] where it is (1,); whole numbers that are stored
    as floats become whole where the space has choices, and are noted in `casts`. What differs otherwise
    is left to `require_fit`.
    """
    nested = isinstance(space, spaces.Dict | spaces.Tuple)
    if nested and isinstance(tree, (dict, tuple)):
        own, have = _parts(space), _parts(tree)
        if own.keys() != have.keys():
            return tree
        parts = {key: fitted(part, own[key], f"{path}/{key}", casts) for key, part in have.items()}
        return parts if isinstance(tree, dict) else tuple(parts.values())
    if nested or not isinstance(tree, np.ndarray):
        return tree
    shape: tuple[int, ...] = tuple(space.shape or ())
    if (tree.shape[1:], shape) in (((1,), ()), ((), (1,))):
        tree = tree.reshape(len(tree), *shape)
    choices = isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
    if choices and tree.dtype.kind == "f" and bool((np.asarray(tree) == np.rint(tree)).all()):
        casts[path] = f"{tree.dtype} -> int64"
        tree = np.asarray(tree).astype(np.int64)
    return tree


def require_fit(
    tree: Tree,
    space: Space,
    ranges: dict[str, tuple[float, float]],
    name: str,
    path: str,
    whose: str,
    bounded: bool,
) -> None:
    """Pass data that fit the space.

    Args:
        tree: the arrays, [N, ...].
        space: the environment's space.
        ranges: smallest and largest value by leaf path.
        name: what messages call the source.
        path: the key.
        whose: "the environment's actions are", for the message.
        bounded: True where every value must lie within the space (actions).

    Raises:
        DatasetError: structure, shape or dtype differ, or values lie outside.
    """
    nested = isinstance(space, spaces.Dict | spaces.Tuple)
    if nested or isinstance(tree, (dict, tuple)):
        wanted = _parts(space if nested else ())
        have = _parts(tree if isinstance(tree, (dict, tuple)) else ())
        if wanted.keys() != have.keys():
            parts = ", ".join(map(str, have)) or "one array"
            raise DatasetError(
                f"{name}: {path!r} has the parts {parts}, but {whose} {text(space)}. Choose other data."
            )
        for key, part in have.items():
            require_fit(part, wanted[key], ranges, name, f"{path}/{key}", whose, bounded)
        return
    assert isinstance(tree, np.ndarray)
    low, high = ranges[path]
    have_text = f"{path!r} is {tree.dtype} of shape {tree.shape[1:]} in [{low:g}, {high:g}]"
    discrete = isinstance(space, spaces.Discrete)
    shape = () if discrete else tuple(space.shape or ())
    whole = discrete or np.dtype(space.dtype).kind in "iub"
    scalar = discrete and tree.shape[1:] == (1,)  # floats of one number a row: the dtype is what is wrong
    if tree.shape[1:] != shape and not (scalar and tree.dtype.kind == "f"):
        raise DatasetError(
            f"{name}: {have_text}, but {whose} {text(space)}. Choose the environment that the data come from."
        )
    if whole and tree.dtype.kind == "f":
        cure = f"Convert {path!r} to integers if it holds whole numbers, or choose other data."
        raise DatasetError(
            f"{name}: {path!r} is {tree.dtype} in [{low:g}, {high:g}], but {whose} {text(space)}. {cure}"
        )
    if bounded or discrete:
        least, most = bounds(space)
        slack = (
            0.0
            if whole
            else 1e-4 * float(np.max(np.where(np.isfinite(most - least), most - least, 1.0), initial=1.0))
        )
        if low < np.min(least) - slack or high > np.max(most) + slack:
            cure = "Pass clip=True to clip them, or choose other data." if not whole else "Choose other data."
            raise DatasetError(
                f"{name}: {have_text}, outside what {whose.removesuffix(' are')} allow, {text(space)}. {cure}"
            )


def _parts(whole: Any) -> dict[Any, Any]:
    """What a dict or tuple, or a space of one, holds by key or place."""
    return dict(whole.items() if isinstance(whole, dict | spaces.Dict) else enumerate(whole))


def text(space: Space) -> str:
    """The space on one line; numpy breaks long bounds."""
    return " ".join(str(space).split())
