"""Learning: how the updates of a table's agents come out of a buffer, a rollout or a batch.

Every group makes the updates that its agents owe for the steps they took; an update itself is
the algorithm's.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from evolab.core.device import products
from evolab.core.experience import Batch, Episodes, to_batch
from evolab.core.trees import map_leaves
from evolab.networks.batching import cuda_graphs as graphs
from evolab.networks.batching.group import AgentGroup
from evolab.networks.kernels.sharing import cores_for_kernels
from evolab.population.table import Table

LONGEST = 8
"""Longest period of delays whose updates are recorded, each phase of it apart."""

AT_ONCE = 8
"""Updates whose samples are drawn together: what an agent with eight environments owes for one vector step."""

Losses = Mapping[str, Tensor]


class Learner:
    """What has a table's agents learn.

    Args:
        table: of the agents.
        warmed_up: they have learnt before: steps before the first update are then answered as others are.
    """

    def __init__(self, table: Table, warmed_up: bool = False) -> None:
        self.table, self.warmed_up = table, warmed_up
        self.unrecordable = False  # once an update could not be recorded as a CUDA graph

    def restart(self, warmed_up: bool) -> None:
        """Begin a generation: no step is unanswered."""
        self.warmed_up = warmed_up
        for group in self.table.groups:
            group.updates, group.credit = 0, 0.0

    def learn(
        self, source: Any, noise: Any = None, updates: int | None = None, ratio: float = 1.0
    ) -> dict[str, Tensor]:
        """Updates of every agent, and their mean losses; see `Population.learn`."""
        table = self.table
        shared = (
            cores_for_kernels()
            if table.network.computes_unpadded(table.spec.like)
            else contextlib.nullcontext()
        )
        with shared, products(table.device, table.spec.precision):
            found = Collected(table)
            if hasattr(source, "batches"):
                self._from_rollout(table.groups, source, found)
                source.consumed()
            elif hasattr(source, "sample"):
                self._from_buffer(source, updates, ratio, found)
            else:
                self._from_batch(source, noise, found)
            return found.means()

    def learn_alone(self, row: int, source: Any, noise: Any = None) -> dict[str, float]:
        """One update of one agent; see `Agent.learn`."""
        table = self.table
        group, found = table.solo(row), Collected(table)
        if hasattr(source, "batches"):
            self._from_rollout([group], source, found)
            return {name: float(loss[row]) for name, loss in found.means().items()}
        if hasattr(source, "sample"):
            self._check(source)
            sample = source.sample(group.rows, group.batch, table.generator)
        else:
            sample = to_batch(source, table.device).cut(None, group.batch)
        batch = self.batch_of(group, sample)
        if noise is not None:
            noise = map_leaves(lambda x: x[None, : batch.reward.shape[1]], noise)
        group.updates = table.individuals[row].updates  # delays are the agent's own
        self._update(group, batch, noise, found)
        return {name: float(loss[row]) for name, loss in found.means().items()}

    # Where batches come from ------------------------------------------------------------------

    def _from_buffer(self, source: Any, updates: int | None, ratio: float, found: Collected) -> None:
        self._check(source)
        for group in self.table.groups:
            due = self._due(group, updates, ratio)
            if due and self._recordable(source):
                self._replay(group, source, due, found)
                continue
            for batch in self._batches(source, group, due):
                self._update(group, batch, None, found)
        self.warmed_up = True

    def _from_rollout(self, groups: Sequence[AgentGroup], source: Any, found: Collected) -> None:
        self._check_rollout(source)
        for group in groups if source.full else ():
            whole = self.batch_of(group, source.taken(group.rows))
            for batch in source.batches(self.table.algorithm, group, whole, self.table.generator):
                self._update(group, batch, None, found)

    def _from_batch(self, source: Any, noise: Any, found: Collected) -> None:
        whole = to_batch(source, self.table.device)
        leading, agents = whole.reward.shape, self.table.size
        if leading[0] != agents or len(leading) != 2 + isinstance(whole, Episodes):
            raise ValueError(f"reward has shape {tuple(leading)}; [P, B] with P = {agents} is expected.")
        for group in self.table.groups:
            batch = self.batch_of(group, whole.cut(group.rows, group.batch))
            length, own = min(group.batch, leading[1]), noise
            if noise is not None:
                own = map_leaves(lambda x, rows=group.rows, n=length: x[rows, :n], noise)
            self._update(group, batch, own, found)

    def _batches(self, source: Any, group: AgentGroup, updates: int) -> Iterator[Any]:
        """One batch per update; drawn some at a time where the source can."""
        if not hasattr(source, "samples"):
            for _ in range(updates):
                yield self.batch_of(group, source.sample(group.rows, group.batch, self.table.generator))
            return
        for start in range(0, updates, AT_ONCE):
            count = min(AT_ONCE, updates - start)
            drawn = source.samples(group.rows, group.batch, count, self.table.generator)
            if isinstance(drawn, Batch):
                yield from self.batch_of(group, drawn, leading=3).apart()
            else:
                for sample in drawn:
                    yield self.batch_of(group, sample)

    def batch_of(self, group: AgentGroup, sample: Any, leading: int = 2) -> Any:
        """What was drawn for a group, on the table's device and in the algorithm's ranges.

        Args:
            group: whose samples they are.
            sample: fields [P, B, ...] of the group, or [U, P, B, ...] for several updates.
            leading: axes before an observation's own, 2 or 3.
        """
        table = self.table
        if isinstance(sample, Episodes):
            return sample.placed(table.spec.like, group.weight)
        reward = sample.reward.to(table.device, table.dtype)
        return Batch(
            observation=map_leaves(lambda leaf: leaf.to(table.device), sample.observation),
            action=table.actions.to_unit(sample.action.to(table.device), leading),
            reward=reward,
            next_observation=map_leaves(lambda leaf: leaf.to(table.device), sample.next_observation),
            terminated=sample.terminated.to(table.device, table.dtype),
            weight=group.weight(reward.shape[-1], reward),
            grain=table.actions.grain,
        )

    # Updates ----------------------------------------------------------------------------------

    def _due(self, group: AgentGroup, updates: int | None, ratio: float) -> int:
        """Updates that a group owes for the steps its agents took; one where nobody took any."""
        if updates is not None:
            group.credit = 0.0
            return updates
        if not self.warmed_up:  # the warm-up's steps are not answered by a burst of updates
            group.credit = min(group.credit, max(float(group.learn_step), 1.0))
        if group.credit == 0 and not any(other.credit for other in self.table.groups):
            return 1
        due = int(group.credit * ratio // group.learn_step)
        group.credit -= due * group.learn_step / ratio
        return due

    def _update(self, group: AgentGroup, batch: Any, noise: Any, found: Collected) -> None:
        """One update of a group; its noise is drawn where none is given."""
        if noise is None:
            noise = self.table.algorithm.draw(group, batch, self.table.generator)
        group.updates += 1
        found.add(group, group.update(self.table.algorithm, batch, noise))
        for individual in self.table.individuals[group.rows]:
            individual.updates += 1

    def _recordable(self, source: Any) -> bool:
        """True where updates from this source can be recorded: by rules that say so, on data that lie on the device."""
        if self.unrecordable or not graphs.possible(self.table.device):
            return False
        if not getattr(source, "recordable", False):
            return False
        said = bool(vars(type(self.table.algorithm)).get("recordable"))  # not of a class that it derives from
        return said and source.example.device == self.table.spec.like.device

    def _replay(self, group: AgentGroup, source: Any, due: int, found: Collected) -> None:
        """The updates that a group owes, some at a time as one recording."""
        table = self.table
        source.tell()
        delays = [name for name in table.algorithm.schedule if name != "learn_step"]
        period = math.lcm(*(max(1, int(group.settings[0].get(name, 1))) for name in delays))
        for done in range(0, due, AT_ONCE):
            count, before = min(AT_ONCE, due - done), group.updates

            def work(count: int = count, before: int = before) -> dict[str, Tensor]:
                group.updates = before
                made: dict[str, list[Tensor]] = {}
                for batch in self._batches(source, group, count):
                    group.updates += 1
                    noise = table.algorithm.draw(group, batch, table.generator)
                    for name, loss in group.update(table.algorithm, batch, noise).items():
                        made.setdefault(name, []).append(loss)
                return {name: torch.stack(losses) for name, losses in made.items()}

            try:
                if period > LONGEST:
                    losses = work()
                else:
                    key = count, before % period, source.place
                    losses = group.recordings.run(key, work, table.generator, group.forget)
            except graphs.Unrecordable as problem:
                warnings.warn(str(problem), stacklevel=4)
                self.unrecordable = True
                table.renew_generator(group.start, "unrecorded")
                losses = work()
            group.updates = before + count
            for name, several in losses.items():  # a delayed policy has fewer of them
                for loss in several:
                    found.add(group, {name: loss})
            for individual in table.individuals[group.rows]:
                individual.updates += count

    # Checks -----------------------------------------------------------------------------------

    def _check(self, source: Any) -> None:
        algorithm = self.table.algorithm
        if algorithm.on_policy:
            raise TypeError(
                f"{algorithm.name} learns from its own newest steps alone: pass an ev.RolloutBuffer, not a "
                f"{type(source).__name__}."
            )
        # Recorded data stay as few as they are: a batch beyond them draws some twice. Experience will grow.
        least = 1 if algorithm.offline else self.table.largest_batch
        if len(source) < least:
            raise ValueError(
                f"the buffer holds {len(source)} transitions, fewer than the largest batch size {least}. "
                f"Fill it first: exp.fill({max(1000, least)})."
            )

    def _check_rollout(self, source: Any) -> None:
        algorithm, agents, before = self.table.algorithm, self.table.size, self.table.replaced
        if not algorithm.on_policy:
            raise TypeError(
                f"{algorithm.name} learns from a replay buffer; pass an ev.ReplayBuffer, not a rollout."
            )
        if source.full and source.shape[0] != agents:
            raise ValueError(
                f"the rollout is of {source.shape[0]} agents; the population has {agents}. Use one for each."
            )
        if not source.full or before is None:
            return
        own = min(one.steps - start for one, start in zip(self.table.individuals, before, strict=True))
        if own < len(source):
            raise ValueError(
                f"the rollout holds steps of agents that have been replaced: {len(source)} of each, of which "
                f"today's took {own}. Pass buffer= to ev.evolve, or call buffer.clear() after it."
            )


class Collected:
    """The losses of several updates of several groups."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._losses: dict[str, dict[int, list[Tensor]]] = {}  # by name and first row

    def add(self, group: AgentGroup, losses: Losses) -> None:
        """Note the losses of one update, [P] each of the group."""
        for name, loss in losses.items():
            self._losses.setdefault(name, {}).setdefault(group.start, []).append(loss)

    def means(self) -> dict[str, Tensor]:
        """[P] by name; NaN where an agent made no update."""
        merged: dict[str, Tensor] = {}
        for name, groups in self._losses.items():
            means = merged[name] = self._table.spec.like.new_full((self._table.size,), float("nan"))
            for start, losses in groups.items():
                means[start : start + len(losses[0])] = torch.stack(losses).mean(0)
        return merged
