"""Checks of the options that describe a stack of convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from evolab.core import checks
from evolab.networks.activations import check_activation

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


def checked_limits(name: str, options: Mapping[str, object]) -> dict[str, int]:
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


def residual_blocks(name: str, blocks: int | Sequence[int], channels: tuple[int, ...]) -> tuple[int, ...]:
    """Residual blocks behind each convolution; () for 0 or none, a plain network."""
    none = isinstance(blocks, Integral) and not isinstance(blocks, bool) and blocks == 0
    if none or (isinstance(blocks, Sequence) and len(blocks) == 0):
        return ()
    return each(name, "blocks", blocks, channels)


def checked(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a convolutional network, one for each convolution where they are lists, with limits that hold them.

    Args:
        name: of the network.
        given: all of them, as the user gave them.

    Raises:
        ValueError: says which is wrong, and what is expected.
    """
    limits = checked_limits(name, given)
    channels = convolutions(name, given["channels"])
    kernels = each(name, "kernels", given["kernels"], channels)
    latent = checks.positive_integer(f"{name}: latent", given["latent"])
    headless = isinstance(given["hidden"], Sequence) and len(given["hidden"]) == 0
    widths: tuple[int, ...] = () if headless else positive_sizes(name, "hidden", given["hidden"])
    blocks = residual_blocks(name, given["blocks"], channels)
    check_activation(name, given["activation"])
    padding = given["padding"]
    return {
        **given,
        "channels": channels,
        "kernels": kernels,
        "strides": each(name, "strides", given["strides"], channels),
        "latent": latent,
        "hidden": widths,
        "padding": None if padding is None else paddings(name, padding, kernels),
        "blocks": blocks,
        "max_layers": max(limits["max_layers"], len(channels)),
        "max_blocks": max(limits["max_blocks"], *blocks, 1),
        "min_channels": min(limits["min_channels"], *channels),
        "max_channels": max(limits["max_channels"], *channels),
        "max_kernel": max(limits["max_kernel"], *kernels),
        "min_latent": min(limits["min_latent"], latent),
        "max_latent": max(limits["max_latent"], latent),
        "max_hidden": max(limits["max_hidden"], len(widths)) if widths else 0,
        "min_units": min((limits["min_units"], *widths)),
        "max_units": max((limits["max_units"], *widths)),
    }
