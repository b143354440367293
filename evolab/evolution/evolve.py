"""One step of evolution: select, copy, mutate, lay out anew, record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike

from evolab.core import registry
from evolab.core.rng import numpy_stream, torch_stream
from evolab.core.trees import Tree, map_leaves
from evolab.data.buffers.base import Buffer
from evolab.evolution.mutation.mutations import Mutations
from evolab.evolution.selection.base import Selection
from evolab.history.events import Birth
from evolab.population.individual import Individual
from evolab.population.population import Population


def evolve(
    population: Population,
    fitness: ArrayLike,
    selection: Selection | str,
    mutations: Mutations,
    *,
    generation: int = 0,
    buffer: Buffer | None = None,
    generator: np.random.Generator | None = None,
) -> list[Birth]:
    """Replace the population, in place, by its selected and mutated offspring.

    Args:
        population: of P agents.
        fitness: [P], in units of return; NaN never wins.
        selection: who survives; an object or its name.
        mutations: what changes in the newborn.
        generation: number of the generation that ends; part of the random stream's key.
        buffer: experience, which follows its agents where they don't share it; the change of each newborn's
            policy is measured on observations from it.
        generator: of every draw; None for the population's own stream of this generation.

    Returns:
        one record per agent of the new population, in the order of its rows.

    Raises:
        ValueError: fitness has another length than the population, or no selection has this name.
        TypeError: what came is no selection, or no mutations.
    """
    selection = registry.resolve("selection", selection, Selection)  # type: ignore[type-abstract]
    if not isinstance(mutations, Mutations):
        raise TypeError(f"mutations is {mutations!r}; ev.Mutations(...) is expected.")
    fitness = np.asarray(fitness, dtype=np.float64)
    if fitness.shape != (len(population),):
        raise ValueError(f"fitness has shape {fitness.shape}; (P,) = ({len(population)},) is expected.")
    stream = generator or numpy_stream(population.seed, generation, population.table.next_id, "evolution")
    probes = _probes(population, buffer, generation)
    before = _outputs(population, probes)
    # Selections count slots; the rows of the table are in an order of their own.
    rows = sorted(range(len(population)), key=lambda row: (population.individuals[row].slot, row))
    selected = selection.select(fitness[rows], stream, generation)
    parents = [population.individual(row) for row in rows]
    offspring: list[Individual] = []
    births: list[Birth] = []
    for slot, row in enumerate(selected.parents):
        parent = parents[row]
        if slot in selected.survivors:
            parent.slot = slot
            kind = "elite" if slot == selected.elite else "none"
            offspring.append(parent)
            how = "survives unchanged" if parent.resting is None else "rests unchanged"
            births.append(Birth(generation, parent.id, parent.id, kind, how))
            continue
        child = parent.child(population.table.new_id())
        child.slot = slot
        origin = parents[selected.hyperparameters[slot]]
        child.hyperparameters = dict(origin.hyperparameters)
        kind, detail = "none", ""
        if slot in selected.mutated:
            kind, detail = mutations.mutate(
                child, population.network, population.roles, population.search_space, stream
            )
        offspring.append(child)
        if origin.id != parent.id:
            detail += f"{', ' if detail else ''}hyperparameters of {origin.id}"
        births.append(Birth(generation, child.id, parent.id, kind, detail))
    order = population.table.replace(offspring)
    origins = [rows[selected.parents[slot]] for slot in order]
    if buffer is not None:
        buffer.follow(origins)
    return _with_change(population, [births[slot] for slot in order], before, probes, origins)


def _probes(population: Population, buffer: Buffer | None, generation: int) -> Tree | None:
    """Observations [B, ...] on which changes of policies are measured; None where there are none."""
    if buffer is None:
        return None
    stream = torch_stream(population.seed, generation, "probes", device=buffer.device or "cpu")
    return buffer.observations(64, stream)


def _outputs(population: Population, probes: Tree | None) -> torch.Tensor | None:
    """[P, B, O]: raw outputs of every policy on common observations [B, ...]."""
    if probes is None:
        return None
    name = next(iter(population.roles))
    parts = []
    with torch.no_grad():
        for group in population.groups:
            shared = map_leaves(
                lambda leaf, n=len(group): leaf.to(population.device).unsqueeze(0).expand(n, *leaf.shape),
                probes,
            )
            parts.append(group.network(name)(population.table.seen(shared, group.rows)))
    return torch.cat(parts)


def _with_change(
    population: Population,
    births: Sequence[Birth],
    before: torch.Tensor | None,
    probes: Tree | None,
    rows: Sequence[int],
) -> list[Birth]:
    after = _outputs(population, probes)
    if before is None or after is None or before.dim() != after.dim():
        return list(births)
    moved = (
        (after - before[torch.as_tensor(rows, device=before.device)]).abs().flatten(1).amax(1).cpu().tolist()
    )
    untouched = ("elite", "none", "hyperparameters")
    return [
        birth if birth.kind in untouched else replace(birth, change=change)
        for birth, change in zip(births, moved, strict=True)
    ]
