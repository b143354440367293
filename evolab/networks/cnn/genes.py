"""The genes of convolutional networks, and every way to change one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from evolab.core.layers import DiagramLayer, linear
from evolab.core.option_types import check_declared
from evolab.networks.activations import ACTIVATIONS
from evolab.networks.cnn.encoder import EncoderGenes


@dataclass(frozen=True)
class CNNGenes:
    """The architecture of one agent.

    Attributes:
        encoders: of each image.
        head: widths of the head's hidden layers.
        head_activation: of each of them, by name.
    """

    encoders: tuple[EncoderGenes, ...]
    head: tuple[int, ...]
    head_activation: tuple[str, ...]

    @property
    def hidden(self) -> tuple[int, ...]:
        """Channels, latent sizes and widths, in the order of the computation."""
        return (*(n for one in self.encoders for n in (*one.channels, one.latent)), *self.head)

    @property
    def activation(self) -> tuple[str, ...]:
        """Of every layer, in the order of the computation."""
        return (*(kind for one in self.encoders for kind in one.activation), *self.head_activation)

    @property
    def diagram(self) -> tuple[DiagramLayer, ...]:
        """The encoder of each image, by its number where there are several, and the head."""
        names = [""] if len(self.encoders) == 1 else [f"image {index}" for index in range(len(self.encoders))]
        found = [layer for one, name in zip(self.encoders, names, strict=True) for layer in one.diagram(name)]
        return (*found, *linear(self.head))

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What the names of each encoder's parameters begin with; nothing where there is one encoder."""
        count = len(self.encoders)
        return ("",) if count == 1 else tuple(f"image{index}." for index in range(count))

    def encoder_of(self, name: str) -> int:
        """The index of the encoder that a gene, a stack or a parameter belongs to."""
        return 0 if len(self.encoders) == 1 else int(name.split(".", 1)[0].removeprefix("image"))

    @property
    def stacks(self) -> tuple[str, ...]:
        """The convolutions of each image, the residual blocks behind each of them, and the head."""
        found = []
        for one, prefix in zip(self.encoders, self.prefixes, strict=True):
            found += [f"{prefix}conv", *(f"{prefix}blocks.{index}" for index in range(len(one.blocks)))]
        return (*found, "hidden")

    def blocks_of(self, stack: str) -> int | None:
        """The index of the convolution whose residual blocks a stack "blocks.1" is; None for others."""
        *_, kind, place = ("", *stack.split("."))
        return int(place) if kind == "blocks" else None

    def depth(self, stack: str) -> int:
        """How many layers a stack has."""
        if stack == "hidden":
            return len(self.head)
        one, index = self.encoders[self.encoder_of(stack)], self.blocks_of(stack)
        return len(one.channels) if index is None else one.blocks[index]

    def with_encoder(self, index: int, one: EncoderGenes) -> CNNGenes:
        """Another encoder in one place."""
        return dataclasses.replace(self, encoders=with_item(self.encoders, index, one))

    def resized(self, gene: str, size: int) -> CNNGenes:
        """One size changed, by its label such as "conv.0", "image1.kernel.2", "latent" or "hidden.0"."""
        *_, kind, place = ("", *gene.split("."))
        if kind == "hidden":
            return dataclasses.replace(self, head=with_item(self.head, int(place), size))
        index = self.encoder_of(gene)
        one = self.encoders[index]
        if kind == "conv":
            changed = dataclasses.replace(one, channels=with_item(one.channels, int(place), size))
        elif kind == "kernel":
            changed = dataclasses.replace(one, kernels=with_item(one.kernels, int(place), size))
        else:
            changed = dataclasses.replace(one, latent=size)
        return self.with_encoder(index, changed)

    def activated(self, kind: str) -> CNNGenes:
        """`kind` in every layer."""
        encoders = [
            dataclasses.replace(one, activation=(kind,) * len(one.activation)) for one in self.encoders
        ]
        return CNNGenes(tuple(encoders), self.head, (kind,) * len(self.head))

    def deeper(self, stack: str) -> CNNGenes:
        """One more layer at the end of a stack; linear where the last activation is not idempotent."""
        if stack != "hidden":
            return self._restacked(stack, 1)
        last = self.head_activation[-1]
        kind = last if ACTIVATIONS[last].idempotent else "identity"
        return CNNGenes(self.encoders, (*self.head, self.head[-1]), (*self.head_activation, kind))

    def shallower(self, stack: str) -> CNNGenes:
        """Without the last layer of a stack."""
        if stack != "hidden":
            return self._restacked(stack, -1)
        return CNNGenes(self.encoders, self.head[:-1], self.head_activation[:-1])

    def _restacked(self, stack: str, more: int) -> CNNGenes:
        index, blocks = self.encoder_of(stack), self.blocks_of(stack)
        one = self.encoders[index]
        if blocks is not None:
            return self.with_encoder(index, one.with_blocks(blocks, more))
        return self.with_encoder(index, one.deeper() if more > 0 else one.shallower())

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "encoders": [
                {
                    key: list(part) if isinstance(part, tuple) else part
                    for key, part in vars(one).items()
                    if part != ()  # `less` and `blocks`, as a rule, which older versions do not know
                }
                for one in self.encoders
            ],
            "head": list(self.head),
            "head_activation": list(self.head_activation),
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> CNNGenes:
        """The inverse of `to_json`."""
        check_declared(CNNGenes, value)
        encoders = tuple(_encoder(one, f"encoders[{index}]") for index, one in enumerate(value["encoders"]))
        genes = CNNGenes(encoders, tuple(value["head"]), tuple(value["head_activation"]))
        _check_layers("head", (genes.head,), genes.head_activation)
        return genes


def _encoder(value: object, key: str) -> EncoderGenes:
    if not isinstance(value, dict):
        raise ValueError(f"{key} is {value!r}; a mapping is expected.")
    check_declared(EncoderGenes, value, key)
    one = EncoderGenes(
        tuple(value["channels"]),
        tuple(value["kernels"]),
        tuple(value["strides"]),
        value["latent"],
        tuple(value["activation"]),
        tuple(value.get("less", ())),
        tuple(value.get("blocks", ())),
    )
    _check_layers(key, (one.channels, one.kernels, one.strides), one.activation[:-1])
    if one.less and (len(one.less) != len(one.kernels) or min(one.less) < 0 or min(one.paddings) < 0):
        raise ValueError(f"{key}.less is {list(one.less)}; kernels {list(one.kernels)} cannot be padded so.")
    if one.blocks and (len(one.blocks) != len(one.channels) or min(one.blocks) < 1):
        raise ValueError(
            f"{key}.blocks is {list(one.blocks)}; at least 1 behind each of {len(one.channels)} convolutions is expected."
        )
    _check_layers(f"{key}.latent", ((one.latent,),), one.activation[-1:])
    return one


def _check_layers(key: str, sizes: Iterable[tuple[int, ...]], activation: tuple[str, ...]) -> None:
    """Refuse layers of no size, of an unknown activation, or of which there are not as many as of activations."""
    sound = all(len(one) == len(activation) and min(one, default=1) >= 1 for one in sizes)
    if not sound or not {*activation} <= {*ACTIVATIONS}:
        raise ValueError(
            f"{key}: sizes {list(map(list, sizes))} and activations {list(activation)} do not describe layers."
        )


def with_item(values: tuple[object, ...], index: int, value: object) -> tuple[Any, ...]:
    """`values` with another one in one place."""
    return (*values[:index], value, *values[index + 1 :])


def largest(genes: Sequence[CNNGenes]) -> CNNGenes:
    """The largest of every size; kernels, strides and depths must be equal."""

    def widest(shapes: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
        return tuple(max(sizes) for sizes in zip(*shapes, strict=True))

    encoders = [
        dataclasses.replace(
            one,
            channels=widest(other.encoders[index].channels for other in genes),
            latent=max(other.encoders[index].latent for other in genes),
        )
        for index, one in enumerate(genes[0].encoders)
    ]
    return dataclasses.replace(genes[0], encoders=tuple(encoders), head=widest(one.head for one in genes))
