"""Learning: how the updates of a table's agents come out of a buffer, a rollout or a batch.

Every group makes the updates that its agents owe for the steps they took; an update itself is
the algorithm's.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor

from evolab.core import checks
from evolab.core.experience import MASKS, Batch, Drawn, Episodes, to_batch
from evolab.core.masks import of_outputs
from evolab.core.space_trees import check_episodes
from evolab.core.trees import Tree, map_leaves
from evolab.data.buffers.base import Buffer
from evolab.networks.batching.group import AgentGroup
from evolab.networks.kernels.core_sharing import cores_for_kernels
from evolab.population.batched_updates import Collected, Waiting
from evolab.population.recorded_updates import RecordedUpdates
from evolab.population.recurrent_state import along, at_hand
from evolab.population.sampling import sampling_of, weighed
from evolab.population.table import Table

WANTED = {True: ("its own newest steps alone", "RolloutBuffer"), False: ("a replay buffer", "ReplayBuffer")}
"""What algorithms learn from that are on-policy, and those that are not."""

Losses = Mapping[str, Tensor]


class Learner:
    """What has a table's agents learn.

    Args:
        table: of the agents.
        warmed_up: they have learnt before: steps before the first update are then answered as others are.
    """

    def __init__(self, table: Table, warmed_up: bool = False) -> None:
        self.table, self.warmed_up = table, warmed_up
        self._recorded = RecordedUpdates(table)
        self.told = False  # once a batch was larger than what is stored
        self._diverged: set[int] = set()  # agents that this was said of

    def restart(self, warmed_up: bool) -> None:
        """Begin a generation: no step is unanswered."""
        self.warmed_up = warmed_up
        for group in self.table.groups:
            group.pace.restart()

    def learn(
        self,
        source: Buffer | Drawn | Episodes,
        noise: Tree | None = None,
        updates: int | None = None,
        ratio: float = 1.0,
    ) -> dict[str, Tensor]:
        """Updates of every agent, and their mean losses; see `Population.learn`."""
        table = self.table
        compiled = table.network.computes_unpadded(table.spec.like)
        with cores_for_kernels() if compiled else contextlib.nullcontext(), table.spec.products():
            found = Collected(table)
            if isinstance(source, Buffer):
                self._from_buffer(source, updates, ratio, found)
            else:
                self._from_batch(source, noise, found)
            return found.means()

    def learn_alone(
        self, row: int, source: Buffer | Drawn | Episodes, noise: Tree | None = None
    ) -> dict[str, float]:
        """One update of one agent; see `Agent.learn`."""
        table = self.table
        group, found = table.solo(row), Collected(table)
        if isinstance(source, Buffer):
            self._check(source)
            batches = self._batches(source, group, 1)
        else:
            whole = self._taken(source, 1)
            batches = iter([self.batch_of(group, whole.cut(None, group.batch))])
        group.pace.go_on_from(table.individuals[row].updates)  # delays are the agent's own
        for batch in batches:
            own = noise
            if noise is not None:
                own = map_leaves(lambda x, n=batch.reward.shape[1]: x[None, :n], noise)
            self._update(group, batch, own, found)
        return {name: float(loss[row]) for name, loss in found.means().items()}

    # Where batches come from ------------------------------------------------------------------

    def _from_buffer(self, source: Buffer, updates: int | None, ratio: float, found: Collected) -> None:
        self._check(source)
        if not source.ready(self.table.least_experience):
            return
        waiting = Waiting(self.table, found)
        for group in self.table.groups:
            due = self._due(group, updates, ratio)
            whole = self._samples(group, source) == group.batch
            if due and not whole:
                self._tell(group, source)
            if due and whole and self._recorded.possible(source, group):
                self._replay(group, source, due, found)
                continue
            for seen in self._drawn(source, group, due):
                if waiting.take(group, seen, None):
                    if isinstance(seen, Batch) and seen.error is not None:
                        waiting.make()  # the next ones are drawn by what comes out of these
                else:
                    for batch in self._apart(group, seen):
                        found.add(group, self._by_algorithm(group, batch, None))
                        self._count(group, 1)
        waiting.make()
        source.consumed()
        for row in source.take_diverged():
            self._tell_diverged(row)
        self.warmed_up = True

    def _from_batch(self, source: Drawn | Episodes, noise: Tree | None, found: Collected) -> None:
        whole = self._taken(source, 2)
        leading, agents = whole.reward.shape, self.table.size
        if leading[0] != agents:
            raise ValueError(f"reward has shape {tuple(leading)}; [P, B] with P = {agents} is expected.")
        for group in self.table.groups:
            batch = self.batch_of(group, whole.cut(group.rows, group.batch))
            length, own = min(group.batch, leading[1]), noise
            if noise is not None:
                own = map_leaves(lambda x, rows=group.rows, n=length: x[rows, :n], noise)
            self._update(group, batch, own, found)

    def _taken(self, source: Drawn | Episodes, leading: int) -> Batch | Episodes:
        """What the caller gave, of so many leading axes: [P, B] for all agents, [B] for one."""
        whole = to_batch(source, self.table.device)
        tokens, shape = isinstance(whole, Episodes), tuple(whole.reward.shape)
        if len(shape) != leading + tokens:
            axes = "P, B"[-1 if leading == 1 else 0 :] + (", T" if tokens else "")
            ending = f" with P = {self.table.size}" if leading == 2 else " for one agent"
            raise ValueError(f"reward has shape {shape}; [{axes}]{ending} is expected.")
        if isinstance(whole, Episodes):
            check_episodes(self.table.spec.observation_space, whole)
        return whole

    def _batches(self, source: Buffer, group: AgentGroup, updates: int) -> Iterator[Any]:
        """One batch per update, as the algorithm sees them."""
        for seen in self._drawn(source, group, updates):
            yield from self._apart(group, seen)

    def _drawn(self, source: Buffer, group: AgentGroup, updates: int) -> Iterator[Any]:
        """What a buffer gives for so many updates, one or several at a time, as the algorithm sees it."""
        size, how = self._samples(group, source), sampling_of(self.table, group)
        asked = group.rows, size, updates, self.table.generator
        for drawn in source.batches(*asked) if how is None else source.batches(*asked, how):
            yield self.batch_of(group, drawn, leading=3 if _of_several(drawn) else 2)

    def _apart(self, group: AgentGroup, seen: Batch | Episodes) -> Iterator[Any]:
        """One batch per update."""
        table = self.table
        for batch in seen.apart() if _of_several(seen) else (seen,):
            yield from table.algorithm.minibatches(group, batch, table.generator)

    def _samples(self, group: AgentGroup, source: Buffer) -> int:
        """B: samples of each agent of a group per update."""
        return self.table.algorithm.samples(group.batch, len(source))

    def _tell(self, group: AgentGroup, source: Buffer) -> None:
        """Say once that a batch is cut to what is stored."""
        if not self.told:
            self.told = True
            checks.notice(
                f"batch_size is {group.batch} in agent {self.table.ids[group.start + group.sizes.index(group.batch)]}, "
                f"and {len(source)} transitions are stored: an update takes as many as there are. A larger buffer "
                "keeps more; a narrower range in search_space asks for fewer."
            )

    def _tell_diverged(self, row: int) -> None:
        """Say once of an agent that it has no priorities any more."""
        id = self.table.ids[row]
        if id not in self._diverged:
            self._diverged.add(id)
            checks.notice(
                f"agent {id}: its temporal-difference errors are not finite, and give no priorities: those that it has "
                "stay. A lower learning rate, or the reward in smaller units, keeps an agent from diverging."
            )

    def batch_of(self, group: AgentGroup, sample: Batch | Episodes, leading: int = 2) -> Any:
        """What was drawn for a group, on the table's device, in the algorithm's ranges and as its networks see it.

        Args:
            group: whose samples they are.
            sample: fields [P, B, ...] of the group, or [U, P, B, ...] for several updates.
            leading: axes before an observation's own, 2 or 3.
        """
        table = self.table
        if isinstance(sample, Episodes):
            return sample.placed(table.spec.like, group.weight)
        reward = sample.reward.to(table.device, table.dtype)
        if sample.error is not None:  # kernels write into it: what the buffer reads has their precision
            sample.error = sample.error.to(table.device, table.dtype)
        told = {name: getattr(sample, name) for name in MASKS if getattr(sample, name) is not None}
        batch = dataclasses.replace(
            sample,
            observation=map_leaves(lambda leaf: leaf.to(table.device), sample.observation),
            action=table.actions.to_unit(sample.action.to(table.device), leading),
            reward=reward,
            next_observation=map_leaves(lambda leaf: leaf.to(table.device), sample.next_observation),
            terminated=sample.terminated.to(table.device, table.dtype),
            weight=weighed(group, sample, reward),
            grain=table.actions.grain,
            remembered=along(table, group.rows, sample),
            **at_hand(sample, table.device, table.dtype),
            discount=None if sample.discount is None else sample.discount.to(table.device, table.dtype),
            **{name: of_outputs(table.actions, mask.to(table.device).bool()) for name, mask in told.items()},
        )
        statistics = table.statistics(group.rows)
        scaled = table.spec.normaliser.scaled
        return scaled(statistics, group.hyper["learns"], batch, leading) if statistics else batch

    # Updates ----------------------------------------------------------------------------------

    def _due(self, group: AgentGroup, updates: int | None, ratio: float) -> int:
        """Updates that a group owes for the steps its agents took; one where none took any."""
        if updates is not None:
            group.pace.forgive()
            return updates
        if not self.warmed_up:  # the warm-up's steps are not answered by a burst of updates
            group.pace.forgive(but=max(float(group.pace.learn_step), 1.0))
        if not any(other.pace.credit for other in self.table.groups):
            return 1
        return group.pace.due(ratio)

    def _update(self, group: AgentGroup, batch: object, noise: Tree | None, found: Collected) -> None:
        """One update of a group, by kernels where they can; its noise is drawn where none is given."""
        alone = Waiting(self.table, found)
        if alone.take(group, batch, noise):
            return alone.make()
        found.add(group, self._by_algorithm(group, batch, noise))
        self._count(group, 1)

    def _by_algorithm(self, group: AgentGroup, batch: Any, noise: Tree | None) -> Losses:
        """One update of a group as its algorithm writes it out."""
        if noise is None:
            noise = self.table.algorithm.draw(group, batch, self.table.generator)
        group.pace.count()
        return group.update(self.table.algorithm, batch, noise)

    def _count(self, group: AgentGroup, updates: int) -> None:
        for individual in self.table.individuals[group.rows]:
            individual.learned(updates)

    def _replay(self, group: AgentGroup, source: Buffer, due: int, found: Collected) -> None:
        """The updates that a group owes, some at a time as one recording."""

        def work(count: int) -> dict[str, Tensor]:
            made: dict[str, list[Tensor]] = {}
            for batch in self._batches(source, group, count):
                for name, loss in self._by_algorithm(group, batch, None).items():
                    made.setdefault(name, []).append(loss)
            return {name: torch.stack(losses) for name, losses in made.items()}

        for losses in self._recorded.make(group, source, due, work):
            for name, several in losses.items():  # a delayed policy has fewer of them
                for loss in several:
                    found.add(group, {name: loss})
        self._count(group, due)

    # Checks -----------------------------------------------------------------------------------

    def _check(self, source: Buffer) -> None:
        algorithm = self.table.algorithm
        if algorithm.on_policy != source.on_policy:
            what, kind = WANTED[algorithm.on_policy]
            raise TypeError(
                f"{algorithm.name} learns from {what}; pass an ev.{kind}, not a {type(source).__name__}."
            )
        source.require(self.table.least_experience, self.table.own_steps)


def _of_several(seen: Batch | Episodes) -> TypeGuard[Batch]:
    """True of the batches of several updates."""
    return isinstance(seen, Batch) and seen.reward.dim() == 3
