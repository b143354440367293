"""Checks of the options that describe a stack of convolutions."""

from __future__ import annotations

from collections.abc import Sequence


def positive_sizes(name: str, option: str, values: int | Sequence[int]) -> tuple[int, ...]:
    """The values as a tuple of whole numbers of at least 1."""
    listed = list(values) if isinstance(values, Sequence) else [values]
    if not listed or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in listed):
        raise ValueError(f"{name}: {option} is {values!r}; whole numbers of at least 1 are expected.")
    return tuple(listed)


def each(name: str, option: str, values: int | Sequence[int], channels: tuple[int, ...]) -> tuple[int, ...]:
    """One value per convolution; a single one stands for all."""
    listed = positive_sizes(name, option, values)
    if isinstance(values, int):
        return listed * len(channels)
    if len(listed) != len(channels):
        raise ValueError(
            f"{name}: {option} has {len(listed)} values for {len(channels)} convolutions; one for each, or a "
            f"single number for all, is expected."
        )
    return listed
