"""Learning: how a population's updates come out of a buffer, a rollout or a batch.

Every group makes the updates that its agents owe for the steps they took; an update itself is
the algorithm's.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evolab.core.device import products
from evolab.core.experience import Batch, Episodes, to_batch
from evolab.core.rng import torch_stream
from evolab.core.trees import map_leaves
from evolab.networks.batching import cuda_graphs as graphs
from evolab.networks.batching.group import AgentGroup
from evolab.networks.kernels.sharing import cores_for_kernels

if TYPE_CHECKING:
    from evolab.core.experience import Batch
    from evolab.population.population import Population

LONGEST = 8
"""Longest period of a schedule whose updates are recorded, each phase of it apart."""

AT_ONCE = 8
"""Updates whose samples are drawn together: what an agent with eight environments owes for one vector step."""


def learn(
    population: Population, source: Any, noise: Any = None, updates: int | None = None, ratio: float = 1.0
) -> dict[str, Tensor]:
    """Updates of every agent, and their mean losses; see `Population.learn`."""
    ragged = population.network.ragged(population.hyper["steps"])
    shared = cores_for_kernels() if ragged else contextlib.nullcontext()
    with shared, products(population.device, population.precision):
        return _learn(population, source, noise, updates, ratio)


def _learn(
    population: Population, source: Any, noise: Any, updates: int | None, ratio: float
) -> dict[str, Tensor]:
    totals: dict[str, list[Tensor]] = {}
    if hasattr(source, "batches"):
        _from_rollout(population, population.groups, source, totals)
        source.consumed()
        return _merged(population, totals)
    if not hasattr(source, "sample"):
        _from_batch(population, source, noise, totals)
        return _merged(population, totals)
    _check_buffer(population, source)
    for group in population.groups:
        due = _due(population, group, updates, ratio)
        if due and _recordable(population, source):
            _replay(population, group, source, due, totals)
            continue
        for batch in _batches(population, source, group, due):
            _update(population, group, batch, _noise(population, group, batch), totals)
    population.learnt = True
    return _merged(population, totals)


def _recordable(population: Population, source: Any) -> bool:
    """True where updates from this source can be recorded: by rules that say so, on data that lie on the device."""
    if population.unrecordable or not graphs.possible(population.device):
        return False
    if not getattr(source, "recordable", False):
        return False
    said = bool(vars(type(population.algorithm)).get("recordable"))  # not of a class that it derives from
    return said and source.example.device == population.hyper["steps"].device


def _replay(
    population: Population, group: AgentGroup, source: Any, due: int, totals: dict[str, list[Tensor]]
) -> None:
    """The updates that a group owes, some at a time as one recording."""
    source.tell()
    delays = [name for name in population.algorithm.schedule if name != "learn_step"]
    period = math.lcm(*(max(1, int(group.settings[0].get(name, 1))) for name in delays))
    for done in range(0, due, AT_ONCE):
        count, before = min(AT_ONCE, due - done), group.updates

        def work(count: int = count, before: int = before) -> dict[str, Tensor]:
            group.updates = before
            made: dict[str, list[Tensor]] = {}
            for batch in _batches(population, source, group, count):
                group.updates += 1
                losses = group.update(population.algorithm, batch, _noise(population, group, batch))
                for name, loss in losses.items():
                    made.setdefault(name, []).append(loss)
            return {name: torch.stack(losses) for name, losses in made.items()}

        try:
            if period > LONGEST:
                found = work()
            else:
                key = count, before % period, source.place
                found = group.recordings.run(key, work, population.generator, group.forget)
        except graphs.Unrecordable as problem:
            warnings.warn(str(problem), stacklevel=4)
            population.unrecordable = True
            # The old generator still waits for a recording to end.
            population.generator = torch_stream(
                population.seed, population.next_id, group.start, "unrecorded", device=population.device
            )
            found = work()
        group.updates = before + count
        for name, losses in found.items():
            totals.setdefault(name, []).extend((group, loss) for loss in losses)  # type: ignore[misc]
        for individual in population.individuals[group.rows]:
            individual.updates += count


def _noise(population: Population, group: AgentGroup, batch: Any) -> Any:
    return population.algorithm.draw(group, batch, population.generator)


def learn_one(population: Population, row: int, source: Any, noise: Any = None) -> dict[str, float]:
    """One update of one agent; see `Agent.learn`."""
    group = population.solo(row)
    if hasattr(source, "batches"):
        totals: dict[str, list[Any]] = {}
        _from_rollout(population, [group], source, totals)
        return {name: float(loss[row]) for name, loss in _merged(population, totals).items()}
    if hasattr(source, "sample"):
        _check_buffer(population, source)
        sample = source.sample(group.rows, group.batch, population.generator)
    else:
        sample = to_batch(source, population.device).cut(None, group.batch)
    batch = population.batch_of(group, sample)
    if noise is not None:
        noise = map_leaves(lambda x: x[None, : batch.reward.shape[1]], noise)
    else:
        noise = _noise(population, group, batch)
    group.updates = population.individuals[row].updates + 1
    losses = group.update(population.algorithm, batch, noise)
    population.individuals[row].updates += 1
    return {name: float(loss[0]) for name, loss in losses.items()}


def _batches(population: Population, source: Any, group: AgentGroup, updates: int) -> Iterator[Any]:
    """One batch per update; drawn some at a time where the source can."""
    if not hasattr(source, "samples"):
        for _ in range(updates):
            yield population.batch_of(group, source.sample(group.rows, group.batch, population.generator))
        return
    for start in range(0, updates, AT_ONCE):
        count = min(AT_ONCE, updates - start)
        drawn = source.samples(group.rows, group.batch, count, population.generator)
        if isinstance(drawn, Batch):
            yield from population.batch_of(group, drawn, leading=3).apart()
        else:
            for sample in drawn:
                yield population.batch_of(group, sample)


def _due(population: Population, group: AgentGroup, updates: int | None, ratio: float) -> int:
    if updates is not None:
        group.credit = 0.0
        return updates
    if not population.learnt:  # the warm-up's steps are not answered by a burst of updates
        group.credit = min(group.credit, max(float(group.learn_step), 1.0))
    if group.credit == 0 and not any(other.credit for other in population.groups):
        return 1
    due = int(group.credit * ratio // group.learn_step)
    group.credit -= due * group.learn_step / ratio
    return due


def _from_rollout(
    population: Population, groups: Sequence[AgentGroup], source: Any, totals: dict[str, list[Tensor]]
) -> None:
    source.check(population)
    for group in groups if source.full else ():
        whole = population.batch_of(group, source.taken(group.rows))
        for batch in source.batches(population.algorithm, group, whole, population.generator):
            _update(population, group, batch, None, totals)


def _check_buffer(population: Population, source: Any) -> None:
    if population.algorithm.on_policy:
        raise TypeError(
            f"{population.algorithm.name} learns from its own newest steps alone: pass an ev.RolloutBuffer, not a "
            f"{type(source).__name__}."
        )
    # Recorded data stay as few as they are: a batch beyond them draws some twice. Experience will grow.
    largest = 1 if population.algorithm.offline else max(group.batch for group in population.groups)
    if len(source) < largest:
        raise ValueError(
            f"the buffer holds {len(source)} transitions, fewer than the largest batch size {largest}. "
            f"Fill it first: exp.fill({max(1000, largest)})."
        )


def _from_batch(population: Population, source: Any, noise: Any, totals: dict[str, list[Tensor]]) -> None:
    whole = to_batch(source, population.device)
    leading = whole.reward.shape
    if leading[0] != len(population) or len(leading) != 2 + isinstance(whole, Episodes):
        raise ValueError(f"reward has shape {tuple(leading)}; [P, B] with P = {len(population)} is expected.")
    for group in population.groups:
        batch, length = (
            population.batch_of(group, whole.cut(group.rows, group.batch)),
            min(group.batch, leading[1]),
        )
        if noise is None:
            drawn = _noise(population, group, batch)
        else:
            drawn = map_leaves(lambda x, c=group, n=length: x[c.rows, :n], noise)
        _update(population, group, batch, drawn, totals)


def _update(
    population: Population, group: AgentGroup, batch: Batch, noise: Any, totals: dict[str, list[Tensor]]
) -> None:
    group.updates += 1
    for name, loss in group.update(population.algorithm, batch, noise).items():
        totals.setdefault(name, []).append((group, loss))  # type: ignore[arg-type]
    for individual in population.individuals[group.rows]:
        individual.updates += 1


def _merged(population: Population, totals: Mapping[str, list[Any]]) -> dict[str, Tensor]:
    merged: dict[str, Tensor] = {}
    for name, parts in totals.items():
        by_group: dict[int, list[Tensor]] = {}
        for group, loss in parts:
            by_group.setdefault(group.start, []).append(loss)
        means = torch.full((len(population),), float("nan"), dtype=population.dtype, device=population.device)
        for start, losses in by_group.items():
            means[start : start + len(losses[0])] = torch.stack(losses).mean(0)
        merged[name] = means
    return merged
