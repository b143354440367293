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


def paddings(name: str, values: int | Sequence[int], kernels: tuple[int, ...]) -> tuple[int, ...]:
    """How far each convolution's input is padded, from nothing to half of its kernel."""
    listed = tuple(values) if isinstance(values, Sequence) else (values,) * len(kernels)
    sound = len(listed) == len(kernels) and all(
        isinstance(side, int) and not isinstance(side, bool) and 0 <= side <= kernel // 2
        for side, kernel in zip(listed, kernels, strict=True)
    )
    if not sound:
        most = [kernel // 2 for kernel in kernels]
        raise ValueError(
            f"{name}: padding is {values!r}; a whole number from 0 to half the kernel is expected, here at most "
            f"{most}, one for each convolution or a single one for all. None is half of every kernel."
        )
    return listed
