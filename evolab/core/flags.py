"""What is true of each of many environments, bool, or counted; asked once or several times a step, of few of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor


def as_flags(values: ArrayLike | Tensor) -> np.ndarray:
    """Truth values as an array; one that is bool already is not copied."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "b":
        return values
    return np.asarray(values.cpu() if isinstance(values, Tensor) else values).astype(bool)


def as_numbers(values: ArrayLike | Tensor) -> np.ndarray:
    """Numbers of each environment as an array; those of a device are waited for."""
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)


def any_of(flags: np.ndarray) -> bool:
    """True where some flag is; at a third of what `any` takes of few."""
    return bool(np.count_nonzero(flags))


def all_of(flags: np.ndarray) -> bool:
    """True where every flag is; at a third of what `all` takes of few."""
    return int(np.count_nonzero(flags)) == flags.size
