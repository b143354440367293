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
from evolab.population.individual import KINDS, Individual


def resize(individual: Individual, context: Context, gene: str, size: int) -> None:
    """Give one gene another size, in every tensor that it shapes."""
    genes = context.network.resized(individual.genes, gene, size)
    grows = size > context.network.sizes(individual.genes)[gene][0]
    for role_name, role in context.roles.items():
        network = role.recipe(context.network)
        old_axes, new_axes = network.axes(role, individual.genes), network.axes(role, genes)
        if not any(axis.gene == gene for axes in old_axes.values() for axis in axes):
            continue
        state = individual.tensors[role_name]
        if any(axis.gene == gene and axis.centred for axes in old_axes.values() for axis in axes):
            _reframe(individual.tensors, role_name, old_axes, new_axes)
        elif grows:
            fresh = [network.initialise(role, genes, context.generator) for _ in range(role.ensemble_size)]
            for kind in KINDS:
                if role_name + kind not in individual.tensors:
                    continue
                grown = individual.tensors[role_name + kind]
                for name, axes in old_axes.items():
                    if any(axis.gene == gene for axis in axes):
                        news = torch.stack([one[name] for one in fresh]).to(grown[name])
                        shape = [axis.size for axis in new_axes[name]]
                        outgoing = [d for d, axis in enumerate(axes) if axis.gene == gene and axis.incoming]
                        grown[name] = _grown(
                            grown[name], news, shape, outgoing, moment=kind in (".mean", ".square")
                        )
        else:
            keep = _important(state, old_axes, gene, size)  # [M, size]
            for kind in KINDS:
                if role_name + kind not in individual.tensors:
                    continue
                shrunk = individual.tensors[role_name + kind]
                for name, axes in old_axes.items():
                    for dimension, axis in enumerate(axes):
                        if axis.gene == gene:
                            shrunk[name] = _kept(shrunk[name], keep, dimension)
    individual.genes = genes


def _grown(old: Tensor, fresh: Tensor, shape: list[int], outgoing: list[int], moment: bool) -> Tensor:
    """`old` [M, ...] in the corner of a larger tensor; new entries are zero going out, fresh coming in."""
    grown = torch.zeros_like(fresh) if moment else fresh.clone()
    for dimension in outgoing:
        grown.narrow(
            dimension + 1, old.shape[dimension + 1], shape[dimension] - old.shape[dimension + 1]
        ).zero_()
    grown[tuple(slice(0, n) for n in old.shape)] = old
    return grown


def _reframe(tensors: dict[str, dict[str, Tensor]], role: str, old: Axes, new: Axes) -> None:
    """Put a border of zeros around what is centred, or cut it off."""
    for kind in KINDS:
        for name, axes in old.items() if role + kind in tensors else ():
            border: list[int] = []
            for before, after in zip(
                reversed(axes), reversed(new[name]), strict=True
            ):  # F.pad counts from the last
                border += [(after.size - before.size) // 2] * 2 if before.centred else [0, 0]
            if any(border):
                tensors[role + kind][name] = F.pad(tensors[role + kind][name], border)


def _important(state: dict[str, Tensor], axes: dict, gene: str, count: int) -> Tensor:
    """[M, count]: the units with the largest outgoing weight, in their old order."""
    total: Tensor | None = None
    for name, parameter in axes.items():
        for dimension, axis in enumerate(parameter):
            if axis.gene == gene and axis.incoming:
                weight = state[name].abs().movedim(dimension + 1, 1).flatten(2).sum(2)  # [M, units]
                total = weight if total is None else total + weight
    assert total is not None
    return total.topk(count, dim=1).indices.sort(dim=1).values


def _kept(value: Tensor, keep: Tensor, dimension: int) -> Tensor:
    return torch.stack([one.index_select(dimension, index) for one, index in zip(value, keep, strict=True)])
