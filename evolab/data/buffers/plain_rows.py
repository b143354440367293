"""Steps of plain arrays on their way into storage on a CPU: numpy writes a few rows at a third of what torch takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

UNKNOWN = {torch.bfloat16}
"""Numbers that numpy does not have."""


class SharedArrays:
    """The arrays that share the memory of tensors, by name; None for what numpy cannot write."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, np.ndarray | None]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedArrays, ()  # the tensors of a copy lie elsewhere

    def of(self, name: str, store: object) -> np.ndarray | None:
        """The array over the memory of the tensor that has this name now."""
        known = self._known.get(name)
        if known is None or known[0] is not store:
            writable = isinstance(store, Tensor) and store.is_cpu and store.dtype not in UNKNOWN
            known = self._known[name] = store, store.numpy() if writable else None  # type: ignore[attr-defined]
        return known[1]


def write_plain(
    arrays: SharedArrays,
    fields: Mapping[str, object],
    frames: Mapping[str, object],
    rows: Mapping[str, object],
    lead: Sequence[int],
    at: slice,
) -> bool:
    """Write arrays [*lead, ...] of all fields into consecutive rows; False, and nothing is written, where one is not.

    Args:
        arrays: of the fields, from one step to the next.
        fields: where rows are written to.
        frames: of the fields; what has some is not written as it is.
        rows: what is written, by name.
        lead: axes that make up the rows.
        at: the rows.
    """
    pairs = []
    for name, leaf in rows.items():
        into = arrays.of(name, fields[name])
        if into is None or type(leaf) is not np.ndarray or frames[name] is not None:
            return False
        if leaf.shape != (*lead, *into.shape[1:]) or at.stop > len(into) or leaf.dtype.kind not in "fiub":
            return False
        pairs.append((into, leaf))
    for into, leaf in pairs:
        into[at] = leaf.reshape(-1, *into.shape[1:])
    return True
