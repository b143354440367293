"""Laying out: how the agents of a population come to lie in its table.

Rows are sorted so that agents which compute alike are neighbours, cut into buckets of least total
cost and padded to the largest agent of their bucket; buckets that learn by the same schedule form a
group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evolab.networks.batching import cuda_graphs as graphs
from evolab.networks.batching.group import AgentGroup
from evolab.population.individual import KINDS, Individual

if TYPE_CHECKING:
    from evolab.population.population import Population

OVERHEAD = 6e6
"""What one more bucket costs, as multiply-adds: some two hundred small operations (measured on a CPU core)."""

SHARING = 3e6
"""What one more group costs, as multiply-adds: its own samples, noise and losses (measured on a CPU core)."""

WORKING_SET = 3e6
"""Activations of a bucket, in entries, that still stay in a core's second-level cache (measured)."""

ON_CUDA = 1e9
"""What one more bucket or group costs there: as many operations of 2 us each, while 2.5 multiply-adds a picosecond
go by (by reasoning, for a recent data-centre device and products of this size; not measured)."""


def lay_out(population: Population, members: Sequence[Individual]) -> list[int]:
    """Lay the table out anew for these agents: sorted, cut into buckets, padded to each bucket's largest.

    Storage that still fits is written in place, so addresses survive, and with them what is recorded
    of groups that are computed as before.

    Returns:
        for each row of the new table, the index into `members` that it holds.
    """
    places = graphs.addresses(population.table)
    order = sorted(range(len(members)), key=lambda index: (*_sort_key(population, members[index]), index))
    chosen = [members[index] for index in order]
    main = list(population.roles.values())
    work = [sum(role.recipe(population.network).cost(role, m.genes) for role in main) * 3.0 for m in chosen]
    batches = [int(m.hyperparameters.get("batch_size", 128)) for m in chosen]
    keys = [_sort_key(population, individual)[:2] for individual in chosen]
    overhead, sharing, largest = OVERHEAD, SHARING, len(chosen)
    if population.device.type == "cuda":
        overhead = sharing = ON_CUDA
    else:
        widest = max(1, *(sum(getattr(m.genes, "hidden", (64,))) for m in chosen))
        largest = max(4, int(WORKING_SET / (widest * max(batches) * 6)))
    if population.network.ragged(torch.empty(0, dtype=population.dtype, device=population.device)):
        ends = [i for i in range(1, len(keys)) if keys[i] != keys[i - 1]]
        cuts = list(zip([0, *ends], [*ends, len(keys)], strict=True))
    else:
        cuts = divide([[w * b] for w, b in zip(work, batches, strict=True)], keys, overhead, largest)
    packs = (
        gather(cuts, keys, work, batches, sharing, largest)
        if population.network.bucketed
        else [[cut] for cut in cuts]
    )
    moved = [row for pack in packs for a, b in pack for row in range(a, b)]
    order, chosen = [order[row] for row in moved], [chosen[row] for row in moved]
    _store_hyperparameters(population, chosen)
    groups: list[AgentGroup] = []
    for pack in packs:
        start = groups[-1].stop if groups else 0
        buckets, stop = [], 0
        for a, b in pack:
            buckets.append((stop, stop + b - a))
            stop += b - a
        own = chosen[start : start + stop]
        settings = [m.hyperparameters for m in own]
        genes = [m.genes for m in own]
        about = (population.table, population.hyper, population.network, population.roles)
        groups.append(AgentGroup(*about, start, genes, settings, buckets))
    fresh: dict[str, Tensor] = {}
    for name, role in population.roles.items():
        width = max(bucket.bound[name].size for group in groups for bucket in group.buckets)
        for kind in KINDS:
            if kind == ".target" and not role.has_target:
                continue
            fresh[name + kind] = torch.zeros(
                len(chosen), role.ensemble_size, width, dtype=population.dtype, device=population.device
            )
        counts = [individual.counts[name] for individual in chosen]
        fresh[f"{name}.count"] = torch.stack(
            [torch.as_tensor(count, dtype=population.dtype, device=population.device) for count in counts]
        )
    for group in groups:
        for name in population.roles:
            for kind in KINDS:
                if name + kind in fresh:
                    _pack(group, chosen, name + kind, fresh[name + kind])
    for name, value in fresh.items():
        old = population.table.get(name)
        if old is not None and old.shape == value.shape:
            old.copy_(value)
        else:
            population.table[name] = value
    for individual in chosen:
        individual.tensors = {}
    if graphs.possible(population.device) and graphs.addresses(population.table) == places:
        groups = [_kept(population, group) for group in groups]
    population.individuals, population.groups, population.memory = chosen, groups, {}
    return order


def _kept(population: Population, group: AgentGroup) -> AgentGroup:
    """The group that these rows made up before, if it is computed as this one would be; else this one."""
    for old in population.groups:
        names = population.algorithm.schedule
        schedules = [[one.settings[0].get(name) for name in names] for one in (old, group)]
        if old.start == group.start and schedules[0] == schedules[1] and old.like(group):
            old.become(group)
            return old
    return group


def divide(
    costs: Sequence[Sequence[float]], keys: Sequence[Any], overhead: float, largest: int
) -> list[tuple[int, int]]:
    """Cut sorted agents into buckets of least total cost.

    A bucket costs its overhead plus, for each agent in it, the most expensive agent's work:
    dynamic programming over the contiguous cuts.

    Args:
        costs: per agent its (layer-wise) work; the cost of a bucket takes the maximum per entry.
        keys: agents of different key never share a bucket.
        overhead: cost of one more bucket, in the same unit.
        largest: most agents in a bucket.

    Returns:
        (start, stop) of each bucket, in order.
    """
    count = len(costs)
    best = [0.0] + [float("inf")] * count
    cut = [0] * (count + 1)
    for stop in range(1, count + 1):
        worst: list[float] = []
        for start in range(stop - 1, max(-1, stop - 1 - largest), -1):
            if keys[start] != keys[stop - 1]:
                break
            entry = costs[start]
            worst = [max(a, b) for a, b in zip(worst, entry, strict=True)] if worst else list(entry)
            total = best[start] + overhead + (stop - start) * sum(worst)
            if total < best[stop]:
                best[stop], cut[stop] = total, start
    groups: list[tuple[int, int]] = []
    stop = count
    while stop:
        groups.append((cut[stop], stop))
        stop = cut[stop]
    return groups[::-1]


def gather(
    buckets: Sequence[tuple[int, int]],
    keys: Sequence[Any],
    work: Sequence[float],
    batches: Sequence[int],
    overhead: float,
    largest: int,
) -> list[list[tuple[int, int]]]:
    """Put buckets together whose agents may share a group, largest batch first.

    All buckets of a group are computed with its largest batch, so one joins where that costs less
    than a group of its own.

    Args:
        buckets: (start, stop) of each.
        keys: agents of different key never share a group.
        work: per agent, of one sample.
        batches: per agent, its batch size.
        overhead: cost of one more group, in the unit of the work.
        largest: most agents in a group of several buckets.

    Returns:
        the buckets of each group.
    """

    def batch(bucket: tuple[int, int]) -> int:
        return max(batches[slice(*bucket)])

    ranked = sorted(buckets, key=lambda bucket: (repr(keys[bucket[0]]), -batch(bucket), bucket))
    packs: list[list[tuple[int, int]]] = []
    for bucket in ranked:
        first = packs[-1][0] if packs else bucket
        agents = sum(b - a for a, b in packs[-1]) + bucket[1] - bucket[0] if packs else 0
        wasted = (batch(first) - batch(bucket)) * (bucket[1] - bucket[0]) * max(work[slice(*bucket)])
        if packs and keys[first[0]] == keys[bucket[0]] and wasted <= overhead and agents <= largest:
            packs[-1].append(bucket)
        else:
            packs.append([bucket])
    return packs


def _sort_key(population: Population, individual: Individual) -> tuple[Any, ...]:
    """Sort key: agents that cannot share a group first, then what makes neighbours alike."""
    values = individual.hyperparameters
    schedule = tuple(int(values.get(name, 1)) for name in population.algorithm.schedule)
    order = population.network.order(individual.genes)
    return (
        repr(population.network.key(individual.genes)),
        schedule,
        order,
        -int(values.get("batch_size", 0)),
    )


def _pack(group: AgentGroup, members: Sequence[Individual], name: str, store: Tensor) -> None:
    for row in range(group.start, group.stop):
        layout = group.layout(name.split(".", 1)[0], row - group.start)
        state = members[row].tensors[name]
        views = layout.parts(store[row], {key: value.shape[1:] for key, value in state.items()})
        for key, value in state.items():
            views[key].copy_(value)


def _store_hyperparameters(population: Population, members: Sequence[Individual]) -> None:
    population.hyper = {}
    roles = set(population.roles)
    acting = set(population.algorithm.acting or roles) & roles or roles  # a subclass may have named them anew
    still = {population.roles[name].rate for name in acting}  # learning rates of 0 in an agent at rest
    for name in [*members[0].hyperparameters, "steps"]:
        own = [float(m.steps if name == "steps" else m.hyperparameters[name]) for m in members]
        if name in still:
            own = [0.0 if m.resting is not None else rate for m, rate in zip(members, own, strict=True)]
        values, old = torch.tensor(own, dtype=population.dtype), population.table.get(name)
        if old is not None and old.shape == values.shape:
            old.copy_(values)
        else:
            population.table[name] = values.to(population.device)
        population.hyper[name] = population.table[name]
