"""Convolutional networks of different channels, kernels and depth, computed side by side.

Each image goes through its own encoder (convolutions, then a latent layer); the latent vectors,
the other parts of the observation and the extra input feed a perceptron, the head. Agents whose
kernels, strides or depths differ never share a group; narrower ones are padded with channels
that sleep.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from evolab.core.layers import DiagramLayer, in_words
from evolab.core.readonly import frozen_options
from evolab.networks.activations import orthogonal
from evolab.networks.base import CALLS, CHANGED, Axes, Dense, Layout, Network, Role, Sizes, State
from evolab.networks.cnn import depth, encoder, head
from evolab.networks.cnn.encoder import EncoderGenes
from evolab.networks.cnn.genes import CNNGenes, largest
from evolab.networks.cnn.kernel import CNNKernel
from evolab.networks.cnn.module import exported
from evolab.networks.cnn.options import checked
from evolab.networks.cnn.parts import EncoderParts


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True, init=False)
class CNN(Network[CNNGenes]):
    """A convolutional network over one image: (H, W, C) or (C, H, W), bytes scaled to 0..1.

    The shorter of the image's outer axes holds the channels. What Mnih et al. 2015 used, with no other layer, is
    `CNN([32, 64, 64], kernels=[8, 4, 3], strides=[4, 2, 1], padding=0, latent=512, hidden=[])`; the residual network of
    IMPALA (Espeholt et al. 2018, the deep one) is `CNN([16, 32, 32], blocks=2, latent=256, hidden=[])`.

    Args:
        channels: of each convolution to start with, at least one; a number for a single one.
        kernels: side of each kernel; one number for all.
        strides: of each convolution; one number for all. Strides do not mutate; a new layer has 1.
        latent: length of the vector that the last feature map becomes.
        hidden: widths of the head's hidden layers; [] for outputs that read the latent vector, also later.
        activation: "relu", "elu", "gelu", "tanh", "silu" or "leaky_relu"; one for all layers.
        padding: of each convolution's input; one number for all, None for half of each kernel.
        blocks: residual blocks behind each convolution; one number for all, 0 for none anywhere. With them a convolution is
            linear, `strides` are those of the 3x3 max-pooling behind it (a new one has none), and blocks come and go.
        max_layers: most convolutions that mutations may build.
        max_blocks: most residual blocks behind a convolution that mutations may build; one is always left.
        min_channels: fewest channels that mutations may leave.
        max_channels: most channels that mutations may build.
        max_kernel: largest kernel that mutations may build.
        min_latent: shortest latent vector that mutations may leave.
        max_latent: longest latent vector that mutations may build.
        max_hidden: most hidden layers of the head that mutations may build.
        min_units: narrowest hidden layer that mutations may leave.
        max_units: widest hidden layer that mutations may build.

    Raises:
        ValueError: no layer, a size below 1, lists of different lengths, or an unknown activation.

    Removing a convolution loses its activation alone: the latent layer takes over the linear part. With residual blocks it
    loses those behind it, and pooling's choice: the middle of each window is read.
    """

    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    latent: int
    hidden: tuple[int, ...]
    activation: str
    padding: tuple[int, ...] | None
    blocks: tuple[int, ...]
    max_layers: int
    max_blocks: int
    min_channels: int
    max_channels: int
    max_kernel: int
    min_latent: int
    max_latent: int
    max_hidden: int
    min_units: int
    max_units: int

    def __init__(
        self,
        channels: int | Sequence[int] = (32, 32),
        kernels: int | Sequence[int] = 3,
        strides: int | Sequence[int] = 2,
        latent: int = 64,
        hidden: int | Sequence[int] = (64,),
        activation: str = "relu",
        *,
        padding: int | Sequence[int] | None = None,
        blocks: int | Sequence[int] = 0,
        max_layers: int = 6,
        max_blocks: int = 4,
        min_channels: int = 16,
        max_channels: int = 256,
        max_kernel: int = 7,
        min_latent: int = 8,
        max_latent: int = 128,
        max_hidden: int = 3,
        min_units: int = 16,
        max_units: int = 500,
    ) -> None:
        given = {
            "channels": channels,
            "kernels": kernels,
            "strides": strides,
            "latent": latent,
            "hidden": hidden,
            "activation": activation,
            "padding": padding,
            "blocks": blocks,
            "max_layers": max_layers,
            "max_blocks": max_blocks,
            "min_channels": min_channels,
            "max_channels": max_channels,
            "max_kernel": max_kernel,
            "min_latent": min_latent,
            "max_latent": max_latent,
            "max_hidden": max_hidden,
            "min_units": min_units,
            "max_units": max_units,
        }
        for option, value in checked(type(self).__name__, given).items():
            object.__setattr__(self, option, value)

    def genes(self, observation_space: spaces.Space) -> CNNGenes:
        """The starting architecture.

        Raises:
            TypeError: the observation is no image.
        """
        images = self.parts(observation_space).images
        layers = (self.activation,) * (len(self.channels) + 1)
        given = self.padding or ()
        less = tuple(kernel // 2 - side for kernel, side in zip(self.kernels, given, strict=False))
        one = EncoderGenes(
            self.channels,
            self.kernels,
            self.strides,
            self.latent,
            layers,
            less if any(less) else (),
            self.blocks,
        )
        return CNNGenes((one,) * len(images), self.hidden, (self.activation,) * len(self.hidden))

    def parts(self, space: spaces.Space) -> EncoderParts:
        """What the network reads of an observation.

        Raises:
            TypeError: the observation is no image.
        """
        if not isinstance(space, spaces.Box) or len(space.shape) != 3:
            raise TypeError(
                f"CNN needs images, a Box of shape (H, W, C) or (C, H, W); observations are {space}. Use "
                f"ev.MLP for vectors and ev.MultiInput for a Dict or Tuple."
            )
        return EncoderParts.of(space)

    def axes(self, role: Role, genes: CNNGenes) -> Axes:
        """Of each encoder (see `encoder.axes`), then `reading.weight` [H, L], `side.weight` [H, F], the head.

        `reading` and `side` are the columns of the first hidden layer that read a latent vector and all else.
        """
        parts = self.parts(role.observation_space)
        axes: Axes = {}
        for image, one, prefix in zip(parts.images, genes.encoders, genes.prefixes, strict=True):
            axes |= encoder.axes(image, one, prefix) | head.reading(genes, one, prefix, role)
        return axes | head.axes(parts, genes, role)

    def initialise(self, role: Role, genes: CNNGenes, generator: torch.Generator) -> State:
        """As torch.nn.Conv2d and torch.nn.Linear draw theirs."""
        parts = self.parts(role.observation_space)
        state: State = {}
        for image, one, prefix in zip(parts.images, genes.encoders, genes.prefixes, strict=True):
            state |= encoder.initialise(image, one, prefix, generator)
        state |= head.initialise(parts, genes, role, generator)
        return {name: state[name] for name in self.axes(role, genes)}

    def started(self, role: Role, state: State, generator: torch.Generator) -> State:
        """With orthogonal weights where the role wants them."""
        return state if role.gain is None else orthogonal(state, role.gain, generator)

    def dense(self, role: Role, genes: CNNGenes) -> tuple[Dense, ...]:
        """What makes the latent vectors, and the head; convolutions are none."""
        return head.dense(self.parts(role.observation_space), genes, role)

    def capacity(self, genes: Sequence[CNNGenes]) -> CNNGenes:
        """The largest of every size; kernels, strides and depths are equal."""
        return largest(genes)

    def kernel(self, role: Role, genes: Sequence[CNNGenes], layout: Layout) -> CNNKernel:
        """The batched pass for these agents."""
        return CNNKernel(role, self.parts(role.observation_space), genes, genes[0].prefixes, layout)

    def key(self, genes: CNNGenes) -> Hashable:
        """Kernels, strides, residual blocks and the depth of the head."""
        return (tuple((one.geometry, one.blocks) for one in genes.encoders), len(genes.head))

    def order(self, genes: CNNGenes) -> Any:
        """By activation, then widest first."""
        return (genes.activation, tuple(-width for width in genes.hidden))

    def cost(self, role: Role, genes: CNNGenes) -> float:
        """Of all members: the head's multiply-adds, and half the parameters for what the optimizer does to them.

        Large encoders are computed at their own size and small ones take no time, so padding costs nothing there.
        """
        axes = self.axes(role, genes)
        size = {name: prod(axis.size for axis in parameter) for name, parameter in axes.items()}
        products = ("hidden", "side", "output")
        multiplied = sum(n for name, n in size.items() if name.startswith(products) or "reading." in name)
        return role.ensemble_size * (multiplied + sum(size.values()) / 2)

    def module(self, role: Role, genes: CNNGenes, state: State) -> nn.Module:
        """`nn.Sequential` of plain layers, `Branches` first where an image is not all there is."""
        return exported(role, self.parts(role.observation_space), genes, state)

    def describe(self, genes: CNNGenes) -> str:
        """Its layers and activations: "conv 32×32 (3×3, stride 2) → 64×64, relu"."""
        return f"{in_words(genes.diagram)}, {'/'.join(dict.fromkeys(genes.activation))}"

    def diagram(self, genes: CNNGenes) -> tuple[DiagramLayer, ...]:
        """Convolutions with what follows them, latent vectors, the head."""
        return genes.diagram

    def sizes(self, genes: CNNGenes) -> Sizes:
        """Channels and latent sizes step by 8, 16 or 32, kernels by 2, widths by 16, 32 or 64."""
        found: Sizes = {}
        for one, prefix in zip(genes.encoders, genes.prefixes, strict=True):
            for index, (channels, kernel) in enumerate(zip(one.channels, one.kernels, strict=True)):
                found[f"{prefix}conv.{index}"] = (channels, self.min_channels, self.max_channels, (8, 16, 32))
                # A kernel keeps its parity: a border has two sides.
                low, high = kernel - 2 * one.paddings[index], self.max_kernel - (self.max_kernel - kernel) % 2
                low = max(low, 2 - kernel % 2)
                found[f"{prefix}kernel.{index}"] = (kernel, low, high, (2,))
            found[f"{prefix}latent"] = (one.latent, self.min_latent, self.max_latent, (8, 16, 32))
        for index, width in enumerate(genes.head):
            found[f"hidden.{index}"] = (width, self.min_units, self.max_units, (16, 32, 64))
        return found

    def resized(self, genes: CNNGenes, gene: str, size: int) -> CNNGenes:
        """`genes` with one size changed."""
        return genes.resized(gene, size)

    def activated(self, genes: CNNGenes, kind: str) -> CNNGenes | None:
        """`genes` with `kind` in every layer but the output."""
        return genes.activated(kind)

    def stacks(self, genes: CNNGenes) -> tuple[str, ...]:
        """The convolutions of each image, the residual blocks behind each of them, and the head."""
        return genes.stacks

    def deeper(self, genes: CNNGenes, stack: str = "hidden") -> CNNGenes | None:
        """One more layer at the end of a stack; a convolution of 3x3, or a residual block."""
        convolutions = self.max_layers if genes.blocks_of(stack) is None else self.max_blocks
        most = self.max_hidden if stack == "hidden" else convolutions
        return None if genes.depth(stack) >= most else genes.deeper(stack)

    def shallower(self, genes: CNNGenes, stack: str = "hidden") -> CNNGenes | None:
        """Without the last layer of a stack; one is always left."""
        return None if genes.depth(stack) <= 1 else genes.shallower(stack)

    def deepened(
        self, role: Role, genes: CNNGenes, state: State, moment: bool, stack: str = "hidden"
    ) -> State:
        """The new layer hands on what it gets."""
        state = depth.deepened(genes, state, moment, stack)
        return {name: state[name] for name in self.axes(role, genes.deeper(stack))}

    def shallowed(
        self, role: Role, genes: CNNGenes, state: State, moment: bool, stack: str = "hidden"
    ) -> State:
        """The layer that read the removed one takes over its linear part, with moments of zero; a block is left out."""
        state = depth.shallowed(self.parts(role.observation_space).images, genes, state, moment, stack)
        return {name: state[name] for name in self.axes(role, genes.shallower(stack))}

    def to_json(self, genes: CNNGenes) -> dict[str, Any]:
        """`genes` as plain values."""
        return genes.to_json()

    def from_json(self, value: dict[str, object]) -> CNNGenes:
        """The inverse of `to_json`."""
        return CNNGenes.from_json(value)
