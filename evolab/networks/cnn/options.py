"""Checks of the options that describe a stack of convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from evolab.core import checks

IMAGE = (1, 2, 3, 4)
"""Channels of an image: grey, with opacity, colours, colours with opacity or four frames."""


def positive_sizes(name: str, option: str, values: int | Sequence[int]) -> tuple[int, ...]:
    """The values as a tuple of whole numbers of at least 1."""
    listed = checks.sizes(values)
    if not listed:
        raise ValueError(f"{name}: {option} is {values!r}; whole numbers of at least 1 are expected.")
    return listed


def convolutions(name: str, channels: int | Sequence[int]) -> tuple[int, ...]:
    """The channels of each convolution.

    Raises:
        ValueError: not whole numbers of at least 1, or a single number that can only mean the channels of the image.
    """
    if isinstance(channels, Real) and channels in IMAGE:
        raise ValueError(
            f"{name}: channels is {channels!r}; those of each convolution are expected, such as [32, 32]. The image's "
            f"own follow from the observation space. A single convolution with so few is channels=[{channels}]."
        )
    return positive_sizes(name, "channels", channels)


def checked_limits(name: str, options: Mapping[str, Any]) -> dict[str, int]:
    """The limits of mutations among the options: whole numbers of at least 1; a head may have no hidden layer."""
    return {
        option: checks.positive_integer(
            f"{name}: {option}", value, minimum=0 if option == "max_hidden" else 1
        )
        for option, value in options.items()
        if option.startswith(("min_", "max_"))
    }


def each(name: str, option: str, values: int | Sequence[int], channels: tuple[int, ...]) -> tuple[int, ...]:
    """One value per convolution; a single one stands for all."""
    listed = positive_sizes(name, option, values)
    if isinstance(values, Real):
        return listed * len(channels)
    if len(listed) != len(channels):
        raise ValueError(
            f"{name}: {option} has {len(listed)} values for {len(channels)} convolutions; one for each, or a "
            f"single number for all, is expected."
        )
    return listed


def paddings(name: str, values: int | Sequence[int], kernels: tuple[int, ...]) -> tuple[int, ...]:
    """How far each convolution's input is padded, from nothing to half of its kernel."""
    listed = tuple(values) if isinstance(values, Iterable) else (values,) * len(kernels)
    sound = len(listed) == len(kernels) and all(
        isinstance(side, Integral) and not isinstance(side, bool) and 0 <= side <= kernel // 2
        for side, kernel in zip(listed, kernels, strict=True)
    )
    if not sound:
        most = [kernel // 2 for kernel in kernels]
        raise ValueError(
            f"{name}: padding is {values!r}; a whole number from 0 to half the kernel is expected, here at most "
            f"{most}, one for each convolution or a single one for all. None is half of every kernel."
        )
    return tuple(int(side) for side in listed)
