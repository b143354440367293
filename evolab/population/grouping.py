"""Grouping: in which order agents lie in the table, and which of them are computed together.

Agents that compute alike become neighbours, neighbours are cut into buckets of least total cost, and
buckets that update at the same times form a group. Nothing here touches a tensor: an order and its
cuts follow from genes, hyperparameters and what an update costs.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evolab.networks.base import Network, Role
from evolab.population.individual import Individual

OVERHEAD = 6e6
"""What one more bucket costs, as multiply-adds: some two hundred small operations (measured on a CPU core)."""

SHARING = 3e6
"""What one more group costs, as multiply-adds: its own samples, noise and losses (measured on a CPU core)."""

WORKING_SET = 3e6
"""Activations of a bucket, in entries, that still stay in a core's second-level cache (measured)."""

ON_CUDA = 1e9
"""What one more bucket or group costs there: as many operations of 2 us each, while 2.5 multiply-adds a picosecond
go by (by reasoning, for a recent data-centre device and products of this size; not measured)."""

UPDATE = 3.0
"""Multiply-adds of an update, as a multiple of a forward pass's: forward, and backward by inputs and by weights."""

Span = tuple[int, int]
"""Start and stop of neighbours."""

Key = tuple[str, tuple[int, ...]]
"""Agents of different key never share a group: their networks cannot, or they update at different times."""


@dataclass(frozen=True)
class Demand:
    """What grouping has to know of one agent.

    Attributes:
        key: which agents it may share a group with.
        order: where its network stands among those.
        work: multiply-adds of an update, per sample.
        batch: B, samples per update.
        units: of its hidden layers.
    """

    key: Key
    order: Any
    work: float
    batch: int
    units: int


def arrange(
    individuals: Sequence[Individual],
    network: Network,
    roles: Mapping[str, Role],
    timing: Sequence[str],
    like: Tensor,
) -> tuple[list[int], list[list[Span]]]:
    """The order and the groups of least cost.

    Args:
        individuals: P agents.
        network: theirs.
        roles: theirs, by name.
        timing: whole-number hyperparameters that decide when an agent updates.
        like: a tensor on the device and in the precision of the parameters.

    Returns:
        for each row, the index of its agent in `individuals`; for each group, the spans of its
        buckets, counted in these rows.
    """
    demands = [_demand(one, network, roles, timing) for one in individuals]
    order = sorted(
        range(len(demands)), key=lambda i: (*demands[i].key, demands[i].order, -demands[i].batch, i)
    )
    sorted_demands = [demands[index] for index in order]
    bucket_cost, group_cost, largest = _prices(sorted_demands, like.device)
    keys = [one.key for one in sorted_demands]
    if network.computes_unpadded(like):  # each at its own width: nothing is padded, so cutting gains nothing
        ends = [row for row in range(1, len(keys)) if keys[row] != keys[row - 1]]
        buckets = list(zip([0, *ends], [*ends, len(keys)], strict=True))
    else:
        costs = [one.work * one.batch for one in sorted_demands]
        buckets = divide(costs, keys, bucket_cost, largest)
    packs = [[bucket] for bucket in buckets]
    if network.bucketed:
        packs = gather(buckets, sorted_demands, group_cost, largest)
    rows = [row for pack in packs for span in pack for row in range(*span)]
    return [order[row] for row in rows], _renumbered(packs)


def _demand(
    individual: Individual, network: Network, roles: Mapping[str, Role], timing: Sequence[str]
) -> Demand:
    genes, values = individual.genes, individual.hyperparameters
    forward = sum(role.recipe(network).cost(role, genes) for role in roles.values())
    return Demand(
        key=(repr(network.key(genes)), tuple(int(values.get(name, 1)) for name in timing)),
        order=network.order(genes),
        work=UPDATE * forward,
        batch=int(values.get("batch_size", 128)),
        units=sum(genes.hidden),
    )


def _prices(demands: Sequence[Demand], device: torch.device) -> tuple[float, float, int]:
    """What one more bucket costs, and one more group; the most agents in a bucket."""
    if device.type == "cuda":
        return ON_CUDA, ON_CUDA, len(demands)
    entries = max(1, *(one.units for one in demands)) * max(one.batch for one in demands) * 6
    return OVERHEAD, SHARING, max(4, int(WORKING_SET / entries))


def _renumbered(packs: Sequence[Sequence[Span]]) -> list[list[Span]]:
    """The same buckets one behind the other."""
    groups: list[list[Span]] = []
    start = 0
    for pack in packs:
        groups.append([])
        for a, b in pack:
            groups[-1].append((start, start + b - a))
            start += b - a
    return groups


def divide(costs: Sequence[float], keys: Sequence[Hashable], overhead: float, largest: int) -> list[Span]:
    """Cut sorted agents into buckets of least total cost.

    A bucket costs its overhead plus, for each agent in it, the most expensive agent's work:
    dynamic programming over the contiguous cuts.

    Args:
        costs: per agent, its work.
        keys: agents of different key never share a bucket.
        overhead: cost of one more bucket, in the same unit.
        largest: most agents in a bucket.
    """
    count = len(costs)
    best = [0.0] + [float("inf")] * count
    cut = [0] * (count + 1)
    for stop in range(1, count + 1):
        worst = 0.0
        for start in range(stop - 1, max(-1, stop - 1 - largest), -1):
            if keys[start] != keys[stop - 1]:
                break
            worst = max(worst, costs[start])
            total = best[start] + overhead + (stop - start) * worst
            if total < best[stop]:
                best[stop], cut[stop] = total, start
    buckets: list[Span] = []
    stop = count
    while stop:
        buckets.append((cut[stop], stop))
        stop = cut[stop]
    return buckets[::-1]


def gather(
    buckets: Sequence[Span], demands: Sequence[Demand], overhead: float, largest: int
) -> list[list[Span]]:
    """Put buckets together whose agents may share a group, largest batch first.

    All buckets of a group are computed with its largest batch, so one joins where that costs less
    than a group of its own.

    Args:
        buckets: as `divide` gives them.
        demands: of every agent.
        overhead: cost of one more group, in the unit of the work.
        largest: most agents in a group of several buckets.
    """

    def batch(bucket: Span) -> int:
        return max(one.batch for one in demands[slice(*bucket)])

    def key(bucket: Span) -> Key:
        return demands[bucket[0]].key

    packs: list[list[Span]] = []
    for bucket in sorted(buckets, key=lambda bucket: (repr(key(bucket)), -batch(bucket), bucket)):
        agents = bucket[1] - bucket[0]
        if packs and key(packs[-1][0]) == key(bucket):
            work = max(one.work for one in demands[slice(*bucket)])
            wasted = (batch(packs[-1][0]) - batch(bucket)) * agents * work
            together = agents + sum(b - a for a, b in packs[-1])
            if wasted <= overhead and together <= largest:
                packs[-1].append(bucket)
                continue
        packs.append([bucket])
    return packs
