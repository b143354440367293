"""Packing: agents as values into the flat, padded rows of a table, and out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from evolab.core.machine_memory import zeros
from evolab.networks.base import Layout, State
from evolab.networks.batching.group import AgentGroup
from evolab.population.individual import Individual
from evolab.population.normalisation import NAME
from evolab.population.spec import Spec


def packed(spec: Spec, groups: Sequence[AgentGroup], individuals: Sequence[Individual]) -> dict[str, Tensor]:
    """The agents' tensors as rows [P, M, N] by name, padded with zeros, and Adam's step counts [P].

    Args:
        spec: of the agents.
        groups: that the rows make up, in order; they say how each row is laid out.
        individuals: the agent of each row.
    """
    tensors: dict[str, Tensor] = {}
    for name, role in spec.roles.items():
        layouts = [group.layout(name, inside) for group in groups for inside in range(len(group))]
        shape = len(individuals), role.ensemble_size, max(layout.size for layout in layouts)
        for kind in spec.kinds(name):
            rows = tensors[kind] = zeros(shape, spec.dtype, spec.device)
            for row, layout, individual in zip(rows, layouts, individuals, strict=True):
                _fill(row, layout, individual.tensors[kind])
        counts = [
            torch.as_tensor(one.counts[name], dtype=spec.dtype, device=spec.device) for one in individuals
        ]
        tensors[f"{name}.count"] = torch.stack(counts)
    for name, fresh in spec.normaliser.fresh.items():
        known = [one.tensors.get(NAME, {}).get(name, fresh) for one in individuals]
        tensors[f"{NAME}.{name}"] = torch.stack([rows.to(spec.device) for rows in known])
    return tensors


def _fill(row: Tensor, layout: Layout, state: State) -> None:
    """Write one agent's parameters [M, *shape] into its row [M, N]; what they do not reach stays as it is."""
    shapes = {name: tuple(value.shape[1:]) for name, value in state.items()}
    alike = all(value.dtype == row.dtype and value.device == row.device for value in state.values())
    if alike and tuple(shapes) == layout.names and tuple(shapes.values()) == layout.shapes:
        # Without padding they lie one behind another: one copy in the place of many.
        torch.cat([value.flatten(1) for value in state.values()], 1, out=row[:, : layout.size])
        return
    for name, view in layout.parts(row, shapes).items():
        view.copy_(state[name])


def unpack(
    spec: Spec, group: AgentGroup, row: int, tensors: Mapping[str, Tensor], individual: Individual
) -> None:
    """Give an agent its tensors and counts: views into its row of the table, without the padding."""
    inside = row - group.start
    for name, role in spec.roles.items():
        axes = role.recipe(spec.network).axes(role, individual.genes)
        shapes = {key: tuple(axis.size for axis in parameter) for key, parameter in axes.items()}
        layout = group.layout(name, inside)
        for kind in spec.kinds(name):
            individual.tensors[kind] = layout.parts(group.flat(kind)[inside], shapes)
        individual.counts[name] = tensors[f"{name}.count"][row]
    if spec.normaliser.fresh:
        individual.tensors[NAME] = {name: tensors[f"{NAME}.{name}"][row] for name in spec.normaliser.fresh}
