"""The parameters of a transformer: their axes, and their first values."""

from __future__ import annotations

import torch

from evolab.networks.base import Axes, Axis, State
from evolab.networks.gpt.genes import GPTGenes

SPREAD = 0.02
"""Standard deviation of GPT-2's first weights, at its width of 768."""


def axes(genes: GPTGenes, width: int, vocabulary: int, block: int, outputs: int | None) -> Axes:
    """`token` [V, D], `position` [T, D], the blocks, `norm`, and `output` where it is not tied.

    Args:
        genes: of the agent.
        width: D, of the residual stream.
        vocabulary: V, number of tokens.
        block: T, longest sequence.
        outputs: O, of a last layer of its own, which has a bias where its outputs are no tokens; None where
            the outputs are products with the token embeddings.
    """
    stream = Axis(width)
    found: Axes = {"token": (Axis(vocabulary), stream), "position": (Axis(block), stream)}
    for index, units in enumerate(genes.hidden):
        prefix, gene = f"block.{index}.", f"hidden.{index}"
        found[f"{prefix}norm1.scale"] = found[f"{prefix}norm1.shift"] = (stream,)
        found[f"{prefix}attend.weight"] = (Axis(3 * width), stream)
        found[f"{prefix}attend.bias"] = (Axis(3 * width),)
        found[f"{prefix}merge.weight"] = (stream, stream)
        found[f"{prefix}merge.bias"] = (stream,)
        found[f"{prefix}norm2.scale"] = found[f"{prefix}norm2.shift"] = (stream,)
        found[f"{prefix}expand.weight"] = (Axis(units, gene), stream)
        found[f"{prefix}expand.bias"] = (Axis(units, gene),)
        found[f"{prefix}reduce.weight"] = (stream, Axis(units, gene, incoming=True))
        found[f"{prefix}reduce.bias"] = (stream,)
    found["norm.scale"] = found["norm.shift"] = (stream,)
    if outputs is not None:
        found["output.weight"] = (Axis(outputs), stream)
        if outputs != vocabulary:
            found["output.bias"] = (Axis(outputs),)
    return found


def drawn(axes: Axes, depth: int, pretrained: State, generator: torch.Generator) -> State:
    """First values as GPT-2 draws them: normal, smaller where a product is added to the residual stream.

    The spread is GPT-2's at its own width and grows as the width shrinks, so that products keep their size.

    Args:
        axes: of the parameters.
        depth: number of blocks.
        pretrained: values that are taken where a name and its shape are the same.
        generator: of the others.
    """
    spread = SPREAD * (768 / axes["token"][1].size) ** 0.5
    state: State = {}
    for name, parameter in axes.items():
        shape = [axis.size for axis in parameter]
        known = pretrained.get(name)
        if known is not None and list(known.shape) == shape:
            state[name] = known.clone()
        elif name.endswith((".bias", ".shift")):
            state[name] = torch.zeros(shape)
        elif name.endswith(".scale"):
            state[name] = torch.ones(shape)
        else:
            added = name.endswith(("merge.weight", "reduce.weight"))
            size = spread / (2 * depth) ** 0.5 if added else spread
            state[name] = torch.empty(shape).normal_(0, size, generator=generator)
    return state
