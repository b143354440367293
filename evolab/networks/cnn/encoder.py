"""The convolutional part of a network: an image to a latent vector, its parameters and their first values.

Kernels are padded by half their size, or by less, by a number that stays what it is: so a kernel that gains a border of
zeros, and half as much padding, computes what it did before.

An encoder is plain (convolutions with strides, each with its activation), or it has residual blocks behind each
convolution: this has then a stride of 1 and no activation, max-pooling over 3x3 has the stride, and a block adds to the map
`convolution(activation(convolution(activation(map))))`, both of 3x3; the last map is activated.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from evolab.core.layers import BLOCK, CONVOLUTION, LINEAR, POOLING, DiagramLayer
from evolab.networks.activations import ACTIVATIONS, linear_state
from evolab.networks.base import Axes, Axis, State
from evolab.networks.observations import in_bytes


@dataclass(frozen=True)
class EncoderGenes:
    """The architecture that one image is read by.

    Attributes:
        channels: of each convolution.
        kernels: side of each convolution's kernel.
        strides: of each convolution.
        latent: length of the vector that the last feature map becomes.
        activation: by name, of each convolution and then of the latent layer.
        less: by how much each convolution is padded less than by half its kernel; () for nowhere.
        blocks: residual blocks behind each convolution, at least one; () for a plain encoder.
    """

    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    latent: int
    activation: tuple[str, ...]
    less: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()

    @property
    def paddings(self) -> tuple[int, ...]:
        """Of each convolution."""
        less = self.less or (0,) * len(self.kernels)
        return tuple(kernel // 2 - fewer for kernel, fewer in zip(self.kernels, less, strict=True))

    @property
    def geometry(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Kernels, strides and paddings: what agents must share to be computed together, beside their blocks."""
        return self.kernels, self.strides, self.paddings

    def deeper(self) -> EncoderGenes:
        """One more convolution at the end: 3x3, stride 1; linear where the last activation is not idempotent.

        With a residual block behind it the activation comes after both, once, and stays what it is.
        """
        *before, last, latent = self.activation
        kind = last if self.blocks or ACTIVATIONS[last].idempotent else "identity"
        return EncoderGenes(
            (*self.channels, self.channels[-1]),
            (*self.kernels, 3),
            (*self.strides, 1),
            self.latent,
            (*before, last, kind, latent),
            self.less and (*self.less, 0),
            self.blocks and (*self.blocks, 1),
        )

    def shallower(self) -> EncoderGenes:
        """Without the last convolution."""
        *before, _, latent = self.activation
        return EncoderGenes(
            self.channels[:-1],
            self.kernels[:-1],
            self.strides[:-1],
            self.latent,
            (*before, latent),
            self.less[:-1],
            self.blocks[:-1],
        )

    def with_blocks(self, index: int, more: int) -> EncoderGenes:
        """So many more residual blocks behind one convolution."""
        blocks = list(self.blocks)
        blocks[index] += more
        return dataclasses.replace(self, blocks=tuple(blocks))

    def diagram(self, part: str = "") -> list[DiagramLayer]:
        """Convolutions, what follows each of them, and the latent layer; all of them read one part of an observation."""
        found = []
        for index, (channels, kernel, stride) in enumerate(
            zip(self.channels, self.kernels, self.strides, strict=True)
        ):
            padding = self.paddings[index]
            note = "" if padding == kernel // 2 else f"padding {padding}" if padding else "no padding"
            found.append(
                DiagramLayer(CONVOLUTION, channels, kernel, 1 if self.blocks else stride, note, part)
            )
            if self.blocks and stride > 1:
                found.append(DiagramLayer(POOLING, channels, POOLED, stride, "", part))
            found += [DiagramLayer(BLOCK, channels, 3, 1, "", part)] * (
                self.blocks[index] if self.blocks else 0
            )
        return [*found, DiagramLayer(LINEAR, self.latent, part=part)]


@dataclass(frozen=True)
class Image:
    """Where an image lies in an observation, and which axis holds its channels.

    Attributes:
        path: keys that lead to it through Dict and Tuple spaces.
        shape: as the environment gives it.
        channels_first: True for (C, H, W), False for (H, W, C).
        scaled: True for values from 0 to 255, which are divided by 255.
        start: place of its first entry among the features of the whole observation.
    """

    path: tuple[str | int, ...]
    shape: tuple[int, ...]
    channels_first: bool
    scaled: bool
    start: int

    @staticmethod
    def of(space: spaces.Box, path: tuple[str | int, ...] = (), start: int = 0) -> Image:
        """The image of a Box of rank 3: the shorter outer axis holds the channels, the last one in a tie."""
        shape = tuple(int(size) for size in space.shape)
        return Image(path, shape, shape[0] < shape[2], in_bytes(space), start)

    @property
    def channels(self) -> int:
        """Of the image itself."""
        return self.shape[0] if self.channels_first else self.shape[2]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.shape[1:] if self.channels_first else self.shape[:2]  # type: ignore[return-value]

    @property
    def stop(self) -> int:
        """Behind its last entry among the features."""
        return self.start + self.shape[0] * self.shape[1] * self.shape[2]

    def columns(self, observation: Tensor, dtype: torch.dtype) -> Tensor:
        """[P, B, ...] images as [B, P * channels, H, W] in channels-last memory, bytes not yet scaled."""
        whole = observation.unflatten(2, self.shape) if observation.dim() == 3 else observation
        # Beside each other first, which moves whole rows of bytes: a third of a permutation's time (measured).
        if self.channels_first:
            return beside(whole, 1).to(dtype, memory_format=torch.channels_last)
        return beside(whole, -1).to(dtype).permute(0, 3, 1, 2)

    def pictures(self, observation: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """[P, B, ...] images as each agent's [B, channels, H, W] in channels-last memory, bytes not yet scaled."""
        whole = observation.unflatten(2, self.shape) if observation.dim() == 3 else observation
        if not self.channels_first:
            return [one.to(dtype).permute(0, 3, 1, 2) for one in whole]
        found = []
        for one in whole:
            laid = torch.empty(len(one), *self.size, self.channels, dtype=dtype, device=one.device)
            for channel, plane in enumerate(one.unbind(1)):  # half the time of a permutation (measured)
                laid[..., channel].copy_(plane)
            found.append(laid.permute(0, 3, 1, 2))
        return found


def beside(whole: Tensor, axis: int) -> Tensor:
    """The parts of a tensor along its first axis, joined along another."""
    return whole[0] if len(whole) == 1 else torch.cat(list(whole), axis)


Side = tuple[int, int]
"""Height and width."""

POOLED = 3
"""Side of what max-pooling looks at, padded by one."""


def maps(image: Image, genes: EncoderGenes) -> list[Side]:
    """Height and width of the image and of each feature map, behind its pooling.

    Raises:
        ValueError: a kernel is larger than what it reads, or there is nothing left to pool.
    """
    return [image.size, *(after for _, after in _steps(image, genes))]


def _steps(image: Image, genes: EncoderGenes) -> list[tuple[Side, Side]]:
    """Height and width of what each convolution gives, and of what its pooling leaves."""
    found: list[tuple[Side, Side]] = []
    size = image.size
    of_an_image = f"of an image of {image.size[0]}x{image.size[1]}"
    for index, (kernel, stride, padding) in enumerate(zip(*genes.geometry, strict=True)):
        step = 1 if genes.blocks else stride
        given = ((size[0] + 2 * padding - kernel) // step + 1, (size[1] + 2 * padding - kernel) // step + 1)
        if min(given) < 1:
            raise ValueError(
                f"CNN: a kernel of {kernel} with a padding of {padding} does not fit into {size[0]}x{size[1]}, "
                f"{of_an_image}: give smaller kernels, or no padding= option."
            )
        size = given
        if genes.blocks and stride > 1:
            if min(given) < 2:
                raise ValueError(
                    f"CNN: convolution {index + 1} of {len(genes.channels)} gives a map of {given[0]}x{given[1]}, "
                    f"{of_an_image}, and max-pooling has nothing left to halve: give fewer channels=, or strides= "
                    f"of 1 from there on."
                )
            size = ((given[0] - 1) // stride + 1, (given[1] - 1) // stride + 1)
        found.append((given, size))
    return found


def parts_of_block(prefix: str, index: int, block: int) -> tuple[str, str]:
    """What the two convolutions of a residual block are called."""
    return f"{prefix}conv.{index}.block.{block}.0", f"{prefix}conv.{index}.block.{block}.1"


def axes(image: Image, genes: EncoderGenes, prefix: str) -> Axes:
    """`conv.l.weight` [O, I, k, k], `conv.l.bias` [O], `latent.weight` [L, h * w, O], `latent.bias` [L].

    The channels come last there, as they do in a channels-last feature map: neither has to be turned round.
    The convolutions of block b are `conv.l.block.b.0` and `conv.l.block.b.1`, with weights [O, O, 3, 3].
    """
    found: Axes = {}
    source = Axis(image.channels)
    for index, (channels, kernel) in enumerate(zip(genes.channels, genes.kernels, strict=True)):
        unit, side = (
            Axis(channels, f"{prefix}conv.{index}"),
            Axis(kernel, f"{prefix}kernel.{index}", centred=True),
        )
        found[f"{prefix}conv.{index}.weight"] = (unit, source, side, side)
        found[f"{prefix}conv.{index}.bias"] = (unit,)
        source = dataclasses.replace(unit, incoming=True)
        for block in range(genes.blocks[index] if genes.blocks else 0):
            for name in parts_of_block(prefix, index, block):
                found[f"{name}.weight"] = (unit, source, Axis(3), Axis(3))
                found[f"{name}.bias"] = (unit,)
    height, width = maps(image, genes)[-1]
    area = height * width
    latent = Axis(genes.latent, f"{prefix}latent")
    found[f"{prefix}latent.weight"] = (latent, Axis(area), source)
    found[f"{prefix}latent.bias"] = (latent,)
    return found


def initialise(image: Image, genes: EncoderGenes, prefix: str, generator: torch.Generator) -> State:
    """As torch.nn.Conv2d and torch.nn.Linear draw theirs."""
    state: State = {}
    for name, parameter in axes(image, genes, prefix).items():
        if name.endswith(".weight"):
            inputs = [axis.size for axis in parameter[1:]]
            weight, bias = linear_state(torch.Size(inputs).numel(), parameter[0].size, generator)
            state[name], state[name.replace(".weight", ".bias")] = weight.unflatten(1, inputs), bias
    return state


def cost(image: Image, genes: EncoderGenes) -> float:
    """Multiply-adds for one image."""
    total, inputs, area = 0.0, image.channels, 0
    blocks = genes.blocks or (0,) * len(genes.channels)
    layers = zip(genes.channels, genes.kernels, blocks, _steps(image, genes), strict=True)
    for channels, kernel, count, (given, left) in layers:
        area = left[0] * left[1]
        total += given[0] * given[1] * channels * inputs * kernel * kernel
        total += area * 2 * count * channels * channels * 9
        inputs = channels
    return total + area * inputs * genes.latent
