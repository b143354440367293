"""Laying out: how the agents of a population come to lie in its table.

Rows are sorted so that agents which compute alike are neighbours, cut into bands of least total
cost and padded to the largest agent of their band; bands that learn by the same schedule form a
chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evolab.networks.batching import cuda_graphs as graphs
from evolab.networks.batching.group import Chunk
from evolab.population.individual import KINDS, Member

if TYPE_CHECKING:
    from evolab.population.population import Population

OVERHEAD = 6e6
"""What one more band costs, as multiply-adds: some two hundred small operations (measured on a CPU core)."""

SHARING = 3e6
"""What one more chunk costs, as multiply-adds: its own samples, noise and losses (measured on a CPU core)."""

WORKING_SET = 3e6
"""Activations of a band, in entries, that still stay in a core's second-level cache (measured)."""

ON_CUDA = 1e9
"""What one more band or chunk costs there: as many operations of 2 us each, while 2.5 multiply-adds a picosecond
go by (by reasoning, for a recent data-centre device and products of this size; not measured)."""


def lay_out(population: Population, members: Sequence[Member]) -> list[int]:
    """Lay the table out anew for these agents: sorted, cut into bands, padded to each band's largest.

    Storage that still fits is written in place, so addresses survive, and with them what is recorded
    of chunks that are computed as before.

    Returns:
        for each row of the new table, the index into `members` that it holds.
    """
    places = graphs.addresses(population.table)
    order = sorted(range(len(members)), key=lambda index: (*_group(population, members[index]), index))
    chosen = [members[index] for index in order]
    main = list(population.roles.values())
    work = [sum(role.recipe(population.network).cost(role, m.genes) for role in main) * 3.0 for m in chosen]
    batches = [int(m.hyperparameters.get("batch_size", 128)) for m in chosen]
    keys = [_group(population, member)[:2] for member in chosen]
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
    groups = (
        gather(cuts, keys, work, batches, sharing, largest)
        if population.network.banded
        else [[cut] for cut in cuts]
    )
    moved = [row for group in groups for a, b in group for row in range(a, b)]
    order, chosen = [order[row] for row in moved], [chosen[row] for row in moved]
    _store_hyperparameters(population, chosen)
    chunks: list[Chunk] = []
    for group in groups:
        start = chunks[-1].stop if chunks else 0
        bands, stop = [], 0
        for a, b in group:
            bands.append((stop, stop + b - a))
            stop += b - a
        own = chosen[start : start + stop]
        settings = [m.hyperparameters for m in own]
        genes = [m.genes for m in own]
        about = (population.table, population.hyper, population.network, population.roles)
        chunks.append(Chunk(*about, start, genes, settings, bands))
    fresh: dict[str, Tensor] = {}
    for name, role in population.roles.items():
        width = max(band.bound[name].size for chunk in chunks for band in chunk.bands)
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
    if graphs.possible(population.device) and graphs.addresses(population.table) == places:
        chunks = [_kept(population, chunk) for chunk in chunks]
    population.members, population.chunks, population.memory = chosen, chunks, {}
    return order


def _kept(population: Population, chunk: Chunk) -> Chunk:
    """The chunk that these rows made up before, if it is computed as this one would be; else this one."""
    for old in population.chunks:
        names = population.algorithm.schedule
        schedules = [[one.settings[0].get(name) for name in names] for one in (old, chunk)]
        if old.start == chunk.start and schedules[0] == schedules[1] and old.like(chunk):
            old.become(chunk)
            return old
    return chunk


def divide(
    costs: Sequence[Sequence[float]], keys: Sequence[Any], overhead: float, largest: int
) -> list[tuple[int, int]]:
    """Cut sorted agents into bands of least total cost.

    A band costs its overhead plus, for each agent in it, the most expensive agent's work:
    dynamic programming over the contiguous cuts.

    Args:
        costs: per agent its (layer-wise) work; the cost of a band takes the maximum per entry.
        keys: agents of different key never share a band.
        overhead: cost of one more band, in the same unit.
        largest: most agents in a band.

    Returns:
        (start, stop) of each band, in order.
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
    chunks: list[tuple[int, int]] = []
    stop = count
    while stop:
        chunks.append((cut[stop], stop))
        stop = cut[stop]
    return chunks[::-1]


def gather(
    bands: Sequence[tuple[int, int]],
    keys: Sequence[Any],
    work: Sequence[float],
    batches: Sequence[int],
    overhead: float,
    largest: int,
) -> list[list[tuple[int, int]]]:
    """Put bands together whose agents may share a chunk, largest batch first.

    All bands of a chunk are computed with its largest batch, so one joins where that costs less
    than a chunk of its own.

    Args:
        bands: (start, stop) of each.
        keys: agents of different key never share a chunk.
        work: per agent, of one sample.
        batches: per agent, its batch size.
        overhead: cost of one more chunk, in the unit of the work.
        largest: most agents in a chunk of several bands.

    Returns:
        the bands of each chunk.
    """

    def batch(band: tuple[int, int]) -> int:
        return max(batches[slice(*band)])

    ranked = sorted(bands, key=lambda band: (repr(keys[band[0]]), -batch(band), band))
    groups: list[list[tuple[int, int]]] = []
    for band in ranked:
        first = groups[-1][0] if groups else band
        agents = sum(b - a for a, b in groups[-1]) + band[1] - band[0] if groups else 0
        wasted = (batch(first) - batch(band)) * (band[1] - band[0]) * max(work[slice(*band)])
        if groups and keys[first[0]] == keys[band[0]] and wasted <= overhead and agents <= largest:
            groups[-1].append(band)
        else:
            groups.append([band])
    return groups


def _group(population: Population, member: Member) -> tuple[Any, ...]:
    """Sort key: agents that cannot share a chunk first, then what makes neighbours alike."""
    values = member.hyperparameters
    schedule = tuple(int(values.get(name, 1)) for name in population.algorithm.schedule)
    order = population.network.order(member.genes)
    return (repr(population.network.key(member.genes)), schedule, order, -int(values.get("batch_size", 0)))


def _pack(chunk: Chunk, members: Sequence[Member], name: str, store: Tensor) -> None:
    for row in range(chunk.start, chunk.stop):
        layout = chunk.layout(name.split(".", 1)[0], row - chunk.start)
        state = members[row].tensors[name]
        views = layout.parts(store[row], {key: value.shape[1:] for key, value in state.items()})
        for key, value in state.items():
            views[key].copy_(value)


def _store_hyperparameters(population: Population, members: Sequence[Member]) -> None:
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
