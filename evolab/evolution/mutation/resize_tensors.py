"""Another size of one gene, in every tensor that it shapes.

A new unit has weights into it as freshly initialised and none out of it, so the function is
the same. Where units go, those with the least outgoing weight go, in each network its own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from evolab.evolution.mutation.context import Context
from evolab.networks.base import Axes
from evolab.population.individual import KINDS, MOMENTS, Individual


def resize(individual: Individual, context: Context, gene: str, size: int) -> None:
    """Give one gene another size, in every tensor that it shapes."""
    genes = context.network.resized(individual.genes, gene, size)
    grows = size > context.network.sizes(individual.genes)[gene][0]
    for role_name, role in context.roles.items():
        network = role.recipe(context.network)
        old, new = network.axes(role, individual.genes), network.axes(role, genes)
        shaped = [axis for axes in old.values() for axis in axes if axis.gene == gene]
        kinds = {
            kind: individual.tensors[role_name + kind]
            for kind in KINDS
            if role_name + kind in individual.tensors
        }
        if any(axis.centred for axis in shaped):
            for state in kinds.values():
                _reframe(state, old, new)
        elif shaped and grows:
            drawn = [network.initialise(role, genes, context.generator) for _ in range(role.ensemble_size)]
            for kind, state in kinds.items():
                _grow(state, drawn, old, new, gene, moment=kind in MOMENTS)
        elif shaped:
            keep = _important(kinds[""], old, gene, size)  # [M, size]
            for state in kinds.values():
                _shrink(state, keep, old, gene)
    individual.genes = genes


def _grow(
    state: dict[str, Tensor], drawn: list[dict[str, Tensor]], old: Axes, new: Axes, gene: str, moment: bool
) -> None:
    """Every tensor in the corner of a larger one; new entries are zero going out, freshly drawn coming in."""
    for name, axes in old.items():
        if any(axis.gene == gene for axis in axes):
            value = state[name]  # [M, ...]
            fresh = torch.stack([one[name] for one in drawn]).to(value)
            grown = torch.zeros_like(fresh) if moment else fresh
            for dimension, axis in enumerate(axes):
                if axis.gene == gene and axis.incoming:
                    here = value.shape[dimension + 1]
                    grown.narrow(dimension + 1, here, new[name][dimension].size - here).zero_()
            grown[tuple(slice(0, n) for n in value.shape)] = value
            state[name] = grown


def _shrink(state: dict[str, Tensor], keep: Tensor, old: Axes, gene: str) -> None:
    """Keep the units [M, size] of every tensor's dimensions that the gene shapes."""
    for name, axes in old.items():
        for dimension, axis in enumerate(axes):
            if axis.gene == gene:
                kept = zip(state[name], keep, strict=True)
                state[name] = torch.stack([one.index_select(dimension, index) for one, index in kept])


def _reframe(state: dict[str, Tensor], old: Axes, new: Axes) -> None:
    """Put a border of zeros around what is centred, or cut it off."""
    for name, axes in old.items():
        border: list[int] = []
        # F.pad counts from the last.
        for before, after in zip(reversed(axes), reversed(new[name]), strict=True):
            border += [(after.size - before.size) // 2] * 2 if before.centred else [0, 0]
        if any(border):
            state[name] = F.pad(state[name], border)


def _important(state: dict[str, Tensor], axes: Axes, gene: str, count: int) -> Tensor:
    """[M, count]: the units with the largest outgoing weight, in their old order."""
    total: Tensor | None = None
    for name, parameter in axes.items():
        for dimension, axis in enumerate(parameter):
            if axis.gene == gene and axis.incoming:
                weight = state[name].abs().movedim(dimension + 1, 1).flatten(2).sum(2)  # [M, units]
                total = weight if total is None else total + weight
    assert total is not None
    return total.topk(count, dim=1).indices.sort(dim=1).values
