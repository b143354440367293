"""Laying out: how the agents of a population come to lie in its table.

Rows are sorted so that agents which compute alike are neighbours, cut into chunks of least
total cost, and padded to the largest agent of their chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evolab.chunk import Chunk, divide
from evolab.member import KINDS, Member

if TYPE_CHECKING:
    from evolab.population import Population

OVERHEAD = 6e6
"""What one more chunk costs, as multiply-adds: a few hundred small operations (measured on a CPU core)."""

WORKING_SET = 3e6
"""Activations of a chunk, in entries, that still stay in a core's second-level cache (measured)."""


def lay_out(population: Population, members: Sequence[Member]) -> list[int]:
    """Lay the table out anew for these agents: sorted, cut into chunks, padded to each chunk's largest.

    Storage that still fits is written in place, so addresses survive.

    Returns:
        for each row of the new table, the index into `members` that it holds.
    """
    order = sorted(range(len(members)), key=lambda index: (*_group(population, members[index]), index))
    chosen = [members[index] for index in order]
    genes = [member.genes for member in chosen]
    main = list(population.roles.values())
    costs = [
        [
            sum(role.recipe(population.network).cost(role, m.genes) for role in main)
            * int(m.hyperparameters.get("batch_size", 128))
            * 3.0
        ]
        for m in chosen
    ]
    keys = [_group(population, member)[:2] for member in chosen]
    widest = max(1, *(sum(getattr(g, "hidden", (64,))) for g in genes))
    batch = max(int(m.hyperparameters.get("batch_size", 128)) for m in chosen)
    largest = max(1, int(WORKING_SET / (widest * batch * 6)))
    cuts = divide(costs, keys, OVERHEAD, max(largest, 4))
    _store_hyperparameters(population, chosen)
    chunks = [
        Chunk(
            population.table,
            population.hyper,
            population.network,
            population.roles,
            a,
            genes[a:b],
            [m.hyperparameters for m in chosen[a:b]],
        )
        for a, b in cuts
    ]
    fresh: dict[str, Tensor] = {}
    for name, role in population.roles.items():
        width = max(chunk.bound[name].layout.size for chunk in chunks)
        for kind in KINDS:
            if kind == ".target" and not role.has_target:
                continue
            fresh[name + kind] = torch.zeros(
                len(chosen), role.members, width, dtype=population.dtype, device=population.device
            )
        counts = [member.counts[name] for member in chosen]
        fresh[f"{name}.count"] = torch.stack(
            [torch.as_tensor(count, dtype=population.dtype, device=population.device) for count in counts]
        )
    for chunk in chunks:
        for name in population.roles:
            for kind in KINDS:
                if name + kind in fresh:
                    _pack(chunk, chosen, name + kind, fresh[name + kind])
    for name, value in fresh.items():
        old = population.table.get(name)
        if old is not None and old.shape == value.shape:
            old.copy_(value)
        else:
            population.table[name] = value
    for member in chosen:
        member.tensors = {}
    population.members, population.chunks, population.memory = chosen, chunks, {}
    return order


def _group(population: Population, member: Member) -> tuple[Any, ...]:
    """Sort key: agents that cannot share a chunk first, then what makes neighbours alike."""
    values = member.hyperparameters
    schedule = tuple(int(values.get(name, 1)) for name in population.algorithm.schedule)
    order = population.network.order(member.genes)
    return (repr(population.network.key(member.genes)), schedule, order, -int(values.get("batch_size", 0)))


def _pack(chunk: Chunk, members: Sequence[Member], name: str, store: Tensor) -> None:
    layout = chunk.bound[name.split(".", 1)[0]].layout
    for row in range(chunk.start, chunk.stop):
        state = members[row].tensors[name]
        views = layout.parts(store[row], {key: value.shape[1:] for key, value in state.items()})
        for key, value in state.items():
            views[key].copy_(value)


def _store_hyperparameters(population: Population, members: Sequence[Member]) -> None:
    names = list(members[0].hyperparameters)
    population.hyper = {}
    for name in names:
        values = torch.tensor([float(m.hyperparameters[name]) for m in members], dtype=population.dtype)
        population.hyper[name] = population.table[name] = values.to(population.device)
    steps = torch.tensor([float(m.steps) for m in members], dtype=population.dtype).to(population.device)
    population.hyper["steps"] = population.table["steps"] = steps
