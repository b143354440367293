"""One more or one fewer layer, convolution or residual block, in the parameters: how the function stays, or nearly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from evolab.networks.activations import identity_layer, merged_output
from evolab.networks.base import State
from evolab.networks.cnn.encoder import EncoderGenes, Image, maps, parts_of_block
from evolab.networks.cnn.genes import CNNGenes


def deepened(genes: CNNGenes, state: State, moment: bool, stack: str) -> State:
    """Tensors [M, ...] with one more layer at the end of a stack, which hands on what it gets."""
    if stack == "hidden":
        bias = torch.zeros_like(state["output.weight"][:, 0, :])  # [M, H]
        name = f"hidden.{len(genes.head)}"
        return state | {f"{name}.weight": identity_layer(bias, moment), f"{name}.bias": bias}
    index, blocks = genes.encoder_of(stack), genes.blocks_of(stack)
    one, prefix = genes.encoders[index], genes.prefixes[index]
    if blocks is None:
        return _convolution_added(one, prefix, state, moment)
    return _block_added(one, prefix, blocks, state, moment)


def shallowed(images: Sequence[Image], genes: CNNGenes, state: State, moment: bool, stack: str) -> State:
    """Tensors [M, ...] without the last layer of a stack; those of a residual block are left where they are."""
    if stack == "hidden":
        return state | merged_output(state, f"hidden.{len(genes.head) - 1}", moment)
    if genes.blocks_of(stack) is not None:
        return state
    index = genes.encoder_of(stack)
    return _convolution_removed(images[index], genes.encoders[index], genes.prefixes[index], state, moment)


def _convolution_added(genes: EncoderGenes, prefix: str, state: State, moment: bool) -> State:
    """`state` with a last convolution that hands its input on: a kernel of zeros around the identity."""
    index = len(genes.channels)
    bias = torch.zeros_like(state[f"{prefix}conv.{index - 1}.bias"])  # [M, O]
    name = f"{prefix}conv.{index}"
    state = state | {f"{name}.weight": _handed_on(bias, moment), f"{name}.bias": bias}
    return state | (_block(prefix, index, 0, bias, moment) if genes.blocks else {})


def _block_added(genes: EncoderGenes, prefix: str, index: int, state: State, moment: bool) -> State:
    """`state` with one more residual block behind a convolution, which adds nothing yet."""
    bias = torch.zeros_like(state[f"{prefix}conv.{index}.bias"])
    return state | _block(prefix, index, genes.blocks[index], bias, moment)


def _handed_on(bias: Tensor, moment: bool) -> Tensor:
    """Kernels [M, O, O, 3, 3] of zeros around the identity; zeros for a moment."""
    return F.pad(identity_layer(bias, moment)[..., None, None], (1, 1, 1, 1))


def _block(prefix: str, index: int, block: int, bias: Tensor, moment: bool) -> State:
    """A block whose second convolution is zero. The first is not: a gradient has to come through one of them."""
    first, second = parts_of_block(prefix, index, block)
    weight = _handed_on(bias, moment)
    return {
        f"{first}.weight": weight,
        f"{first}.bias": bias.clone(),
        f"{second}.weight": torch.zeros_like(weight),
        f"{second}.bias": bias.clone(),
    }


def _convolution_removed(image: Image, genes: EncoderGenes, prefix: str, state: State, moment: bool) -> State:
    """`state` without its last convolution, whose linear part the latent layer takes over.

    Only the activation is lost, and the blocks behind it; of a pooling's windows, all but their middles. Behind a stride
    the latent layer reads a larger map than before. Its moments start anew.
    """
    name = f"{prefix}conv.{len(genes.channels) - 1}"
    before, after = maps(image, genes)[-2:]
    kernel, stride, padding = (part[-1] for part in genes.geometry)
    beyond = [b - ((a - 1) * stride - 2 * padding + kernel) for b, a in zip(before, after, strict=True)]
    weights, biases = [], []
    for one, filters, shift in zip(
        state[f"{prefix}latent.weight"], state[f"{name}.weight"], state[f"{name}.bias"], strict=True
    ):
        read = one.transpose(1, 2).unflatten(2, after)  # [L, O, h, w]
        # A linear layer behind a convolution is one linear layer: its weights, convolved the other way.
        merged = F.conv_transpose2d(read, filters, None, stride, padding, beyond)
        weights.append(merged.flatten(2).transpose(1, 2))
        biases.append((read.sum((2, 3)) * shift).sum(1))
    weight, bias = torch.stack(weights), torch.stack(biases)
    new = {
        f"{prefix}latent.weight": torch.zeros_like(weight) if moment else weight,
        f"{prefix}latent.bias": torch.zeros_like(bias) if moment else state[f"{prefix}latent.bias"] + bias,
    }
    return {key: value for key, value in state.items() if not key.startswith(f"{name}.")} | new
