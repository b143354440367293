"""Nested observations: dicts and tuples, as the space is, whose leaves are arrays or tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Tree: TypeAlias = "np.ndarray | Tensor | dict[Any, Tree] | tuple[Tree, ...]"
"""An array or a tensor, or a dict or tuple of trees; an observation is one, () that of networks that read none."""


def map_leaves(function: Callable[..., object], tree: Tree, *others: Tree) -> Any:
    """A tree of the same form with `function(leaf, *leaves of the others)` in the place of every leaf.

    >>> map_leaves(lambda a, b: a + b, {"x": 1, "y": (2,)}, {"x": 10, "y": (20,)})
    {'x': 11, 'y': (22,)}
    """
    if isinstance(tree, dict):
        return {
            key: map_leaves(function, part, *(other[key] for other in others)) for key, part in tree.items()
        }
    if isinstance(tree, tuple):
        return tuple(map_leaves(function, *parts) for parts in zip(tree, *others, strict=True))
    return function(tree, *others)


def map_named_leaves(function: Callable[..., object], tree: Tree, path: str) -> Any:
    """A tree of the same form with `function(path, leaf)` in the place of every leaf."""
    if isinstance(tree, dict):
        return {key: map_named_leaves(function, part, f"{path}/{key}") for key, part in tree.items()}
    if isinstance(tree, tuple):
        return tuple(map_named_leaves(function, part, f"{path}/{i}") for i, part in enumerate(tree))
    return function(path, tree)


def named_leaves(tree: Tree, path: str) -> Iterator[tuple[str, Any]]:
    """Every leaf with its path, such as ("observations/camera", array)."""
    if isinstance(tree, (dict, tuple)):
        for key, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from named_leaves(part, f"{path}/{key}")
    else:
        yield path, tree


def leaves(tree: Tree) -> list[Any]:
    """Every leaf, in order."""
    return [leaf for _, leaf in named_leaves(tree, "")]


def first_leaf(tree: Tree) -> Any:
    """The first leaf: what the leading axes of an observation are read from."""
    return next(iter(named_leaves(tree, "")))[1]


def to_tensor(tree: Tree, device: torch.device) -> Any:
    """Arrays to tensors on `device`; dicts and tuples keep their form."""
    if isinstance(tree, (dict, tuple)):
        return map_leaves(lambda leaf: to_tensor(leaf, device), tree)
    if isinstance(tree, Tensor):
        return tree.to(device)
    return torch.from_numpy(np.ascontiguousarray(tree)).to(device)
