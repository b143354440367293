"""The head of a convolutional network: what reads the latent vectors and all else, described and drawn.

Where it has no hidden layer, the outputs read them.
"""

from __future__ import annotations

import torch

from evolab.networks.activations import linear_state
from evolab.networks.base import Axes, Axis, Dense, Role, State
from evolab.networks.cnn.encoder import EncoderGenes
from evolab.networks.cnn.genes import CNNGenes
from evolab.networks.cnn.parts import EncoderParts


def _first(genes: CNNGenes, role: Role) -> Axis:
    return Axis(genes.head[0], "hidden.0") if genes.head else Axis(role.outputs)


def reading(genes: CNNGenes, one: EncoderGenes, prefix: str, role: Role) -> Axes:
    """`reading.weight` [H, L]: the columns of the first layer that read one latent vector."""
    return {
        f"{prefix}reading.weight": (_first(genes, role), Axis(one.latent, f"{prefix}latent", incoming=True))
    }


def axes(parts: EncoderParts, genes: CNNGenes, role: Role) -> Axes:
    """`side.weight` [H, F], the columns of the first layer that read all else, its bias and the layers behind it."""
    first = _first(genes, role)
    found: Axes = {"side.weight": (first, Axis(parts.width + role.extra))} if parts.width + role.extra else {}
    if not genes.head:
        return found | {"output.bias": (first,)}
    found["hidden.0.bias"] = (first,)
    source = Axis(genes.head[0], "hidden.0", incoming=True)
    for index, width in enumerate(genes.head[1:], 1):
        unit = Axis(width, f"hidden.{index}")
        found[f"hidden.{index}.weight"] = (unit, source)
        found[f"hidden.{index}.bias"] = (unit,)
        source = Axis(width, f"hidden.{index}", incoming=True)
    return found | {"output.weight": (Axis(role.outputs), source), "output.bias": (Axis(role.outputs),)}


def initialise(parts: EncoderParts, genes: CNNGenes, role: Role, generator: torch.Generator) -> State:
    """As torch.nn.Linear draws its own; an entry for "side.weight" also where it has no columns."""
    sizes = [*genes.head, role.outputs]
    layers = [*(f"hidden.{index}" for index in range(len(genes.head))), "output"]
    names = [f"{prefix}reading.weight" for prefix in genes.prefixes]
    widths = [one.latent for one in genes.encoders] + [parts.width + role.extra]
    weight, bias = linear_state(sum(widths), sizes[0], generator)
    state = {
        **dict(zip([*names, "side.weight"], weight.split(widths, 1), strict=True)),
        f"{layers[0]}.bias": bias,
    }
    for index, name in enumerate(layers[1:], 1):
        drawn = linear_state(sizes[index - 1], sizes[index], generator)
        state[f"{name}.weight"], state[f"{name}.bias"] = drawn
    return state


def dense(parts: EncoderParts, genes: CNNGenes, role: Role) -> tuple[Dense, ...]:
    """The fully connected layers: what makes each latent vector, what reads all of them, and those behind it."""
    latent = [Dense((f"{prefix}latent.weight",), f"{prefix}latent.bias") for prefix in genes.prefixes]
    read = [f"{prefix}reading.weight" for prefix in genes.prefixes]
    read += ["side.weight"] if parts.width + role.extra else []
    layers = [*(f"hidden.{index}" for index in range(len(genes.head))), "output"]
    behind = [Dense((f"{name}.weight",), f"{name}.bias") for name in layers[1:]]
    return (*latent, Dense(tuple(read), f"{layers[0]}.bias"), *behind)
