"""The form of a buffer's nested fields as JSON, and the tensors that are their leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import torch
from torch import Tensor

from evolab.core.device import dtype_called
from evolab.core.trees import Tree
from evolab.data.buffers.frames import Frames

Form = TypedDict(  # noqa: UP013  # two of its keys are names of types
    "Form",
    {
        "leaf": str,
        "dtype": str,
        "shape": list[int],
        "dict": list[tuple[str, "Form"]],
        "tuple": list["Form"],
    },
    total=False,
)
"""Of a field: a leaf with its dtype and the shape of a row, or a dict or a tuple of forms."""


def named_leaves(value: Tree, frames: Any, name: str) -> list[tuple[str, Tensor, Frames | None]]:
    """The leaves of a field and of its frames, with the names that `form_of` gives them."""
    if isinstance(value, Tensor):
        return [(name, value, frames)]
    keys = list(value) if isinstance(value, dict) else range(len(value))
    parts = [(value[key], None if frames is None else frames[key]) for key in keys]
    return [leaf for index, part in enumerate(parts) for leaf in named_leaves(*part, f"{name}.{index}")]


def form_of(value: Tree, frames: Any, name: str) -> Form:
    """The form of a field as JSON: a leaf is its tensor's name, dtype and shape of a row."""
    if isinstance(value, dict):
        parts = [(key, part, None if frames is None else frames[key]) for key, part in value.items()]
        return {
            "dict": [(key, form_of(part, kept, f"{name}.{i}")) for i, (key, part, kept) in enumerate(parts)]
        }
    if isinstance(value, tuple):
        kept = [None] * len(value) if frames is None else frames
        return {"tuple": [form_of(part, kept[i], f"{name}.{i}") for i, part in enumerate(value)]}
    dtype, shape = (value.dtype, value.shape[1:]) if frames is None else (frames.stored.dtype, frames.shape)
    return {"leaf": name, "dtype": str(dtype).removeprefix("torch."), "shape": list(shape)}


def leaves_of(fields: Mapping[str, Form]) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
    """Name, dtype and shape of every leaf."""
    found: list[tuple[str, torch.dtype, tuple[int, ...]]] = []

    def walk(tree: Form) -> None:
        if "leaf" in tree:
            shape = tuple(int(size) for size in tree["shape"])
            found.append((tree["leaf"], _dtype(tree["dtype"]), shape))
            return
        for part in [part for _, part in tree["dict"]] if "dict" in tree else tree["tuple"]:
            walk(part)

    for tree in fields.values():
        walk(tree)
    return found


def planted(tree: Form, stores: Mapping[str, Tensor]) -> Tree:
    """A field of a form, from its leaves by name."""
    if "leaf" in tree:
        return stores[tree["leaf"]]
    if "dict" in tree:
        return {key: planted(part, stores) for key, part in tree["dict"]}
    return tuple(planted(part, stores) for part in tree["tuple"])


def _dtype(name: str) -> torch.dtype:
    dtype = dtype_called(name)
    if dtype is None:
        raise ValueError(f"{name!r} is no dtype.")
    return dtype
