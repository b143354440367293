"""The table: everything that is true of an agent is a row of it.

It maps names to tensors [P, ...]: for each network its parameters, its target and Adam's moments as
flat rows [P, M, N], Adam's step count [P]; and every hyperparameter [P]. Genes are the truth: how a
row is laid out, which units sleep and which rows share a group all follow from them, and are worked
out anew whenever the agents change (`rebuild`).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from evolab.core.allocator import keep_freed_memory
from evolab.core.rng import seed_of, torch_stream
from evolab.core.trees import Tree
from evolab.networks.base import Layout
from evolab.networks.batching import cuda_graphs as graphs
from evolab.networks.batching.group import AgentGroup
from evolab.population import packing
from evolab.population.grouping import Span, arrange
from evolab.population.individual import Individual
from evolab.population.normalisation import NAME, scales_of
from evolab.population.spec import Spec

ALL = slice(None)


class Table(Mapping[str, Tensor]):
    """The tensors of P agents, and the agents that they belong to.

    Args:
        spec: what the agents have in common.
        individuals: who they are.
        next_id: ids below it are taken, those of `individuals` as well.
        stream: names the stream of random numbers that the agents draw from.

    Attributes:
        hyper: hyperparameters and "steps" by name, [P]; the same tensors as in the table.
        individuals: of each row, without tensors.
        memory: of episodes under way, [P, E, ...] by name: what exploration remembers, returns so far; not kept when
            the agents change.
    """

    def __init__(
        self,
        spec: Spec,
        individuals: Sequence[Individual] = (),
        next_id: int = 0,
        stream: tuple[int | str, ...] = (0, "population"),
    ) -> None:
        keep_freed_memory()
        self.spec, self.algorithm, self.network = spec, spec.algorithm, spec.network
        self.device, self.dtype, self.actions, self.roles = spec.device, spec.dtype, spec.actions, spec.roles
        self.hyper: dict[str, Tensor] = {}
        self.individuals: list[Individual] = []
        self.memory: dict[str, Tensor] = {}
        self._replaced: dict[int, int] | None = None  # steps by id when evolution put agents into their rows
        self.next_id = next_id
        self._tensors: dict[str, Tensor] = {}
        self._spans: list[list[Span]] = []
        self._groups: list[AgentGroup] | None = []
        self._stream = stream
        if individuals:
            self.rebuild(individuals)

    # What there is ----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    @property
    def size(self) -> int:
        """P."""
        return len(self.individuals)

    @property
    def ids(self) -> list[int]:
        """Ids of the agents in the order of their rows."""
        return [individual.id for individual in self.individuals]

    def row(self, id: int) -> int:
        """The row where an agent lives now.

        Raises:
            LookupError: it has died.
        """
        for row, individual in enumerate(self.individuals):
            if individual.id == id:
                return row
        raise LookupError(
            f"agent {id} has died; alive are {self.ids}. Keep a copy with agent.copy() next time."
        )

    def individual(self, row: int) -> Individual:
        """The agent of a row as a value: its tensors are unpadded views into the table."""
        individual = self.individuals[row].twin()  # several threads may look at the same agent
        packing.unpack(self.spec, self.group_of(row), row, self._tensors, individual)
        return individual

    def network_size(self, row: int) -> int:
        """Trainable parameters of all networks of an agent, targets not counted."""
        return sum(self.spec.sizes(self.individuals[row].genes).values())

    def describe(self, row: int) -> dict[str, Any]:
        """Everything about an agent that fits into a line."""
        individual = self.individuals[row]
        return {
            "agent": individual.id,
            "parent": individual.parent,
            "algorithm": self.algorithm.name,
            "fitness": individual.fitness[-1] if individual.fitness else float("nan"),
            "architecture": self.network.describe(individual.genes),
            "network_size": self.network_size(row),
            "steps": individual.steps,
            "updates": individual.updates,
            **self.spec.told(individual),
        }

    def statistics(self, rows: slice = ALL) -> dict[str, Tensor]:
        """Of the observations and returns of some agents, [P, 4, F] by name; see `Normaliser`."""
        return {name: self[f"{NAME}.{name}"][rows] for name in self.spec.normaliser.fresh}

    def seen(self, observation: Tree, rows: slice = ALL) -> Tree:
        """Observations [P, B, ...] of some agents as their networks see them."""
        if "observation" not in self.spec.normaliser.fresh:
            return observation
        known = self.statistics(rows)["observation"]
        return self.spec.normaliser.standard(observation, scales_of(known, self.dtype, unsqueeze=True), 2)

    # Groups -----------------------------------------------------------------------------------

    @property
    def groups(self) -> list[AgentGroup]:
        """Neighbouring rows that update together, in order."""
        if self._groups is None:
            self._groups = self._grouped(self.individuals)
        return self._groups

    @property
    def least_experience(self) -> int:
        """Transitions that must be there before an update: the smallest batch, so that none waits for another's."""
        return self.algorithm.least_experience(min(min(group.sizes) for group in self.groups))

    def group_of(self, row: int) -> AgentGroup:
        """The group that holds a row."""
        return next(group for group in self.groups if group.start <= row < group.stop)

    def solo(self, row: int) -> AgentGroup:
        """A group of one agent, in the layout of the group that it lives in."""
        group = self.group_of(row)
        if len(group) == 1:
            return group
        layouts = {name: group.layout(name, row - group.start) for name in self.roles}
        alone = self._group(row, [(row, row + 1)], self.individuals[row : row + 1], layouts)
        alone.pace.go_on_from(group.updates)
        return alone

    def _grouped(self, individuals: Sequence[Individual]) -> list[AgentGroup]:
        return [
            self._group(spans[0][0], spans, individuals[spans[0][0] : spans[-1][1]]) for spans in self._spans
        ]

    def _group(
        self,
        start: int,
        spans: Sequence[Span],
        own: Sequence[Individual],
        layouts: Mapping[str, Layout] | None = None,
    ) -> AgentGroup:
        cuts = [(a - start, b - start) for a, b in spans]
        genes, settings = [one.genes for one in own], [one.hyperparameters for one in own]
        about = (self._tensors, self.hyper, self.network, self.roles)
        return AgentGroup(*about, start, genes, settings, cuts, layouts)

    # Randomness and time ----------------------------------------------------------------------

    @functools.cached_property
    def generator(self) -> torch.Generator:
        """What the agents draw from: one for good, as recordings are bound to it."""
        return torch_stream(self.spec.seed, *self._stream, device=self.device)

    def reseed(self, generation: int) -> None:
        """Start this generation's own stream, so that a run can be resumed here."""
        self.generator.manual_seed(seed_of(self.spec.seed, generation, "population"))
        self.begin_episodes()

    def begin_episodes(self) -> None:
        """Forget what is remembered of episodes under way."""
        self.memory = {}

    def renew_generator(self, *keys: int | str) -> None:
        """Draw from another generator from now on: a recording that failed still holds the old one."""
        self.generator = torch_stream(self.spec.seed, self.next_id, *keys, device=self.device)

    def new_id(self) -> int:
        """The next id; ids are never used again."""
        self.next_id += 1
        return self.next_id - 1

    def count_steps(self, steps: int, row: int | None = None) -> None:
        """Note environment steps of one agent, or of each."""
        counted = self.hyper["steps"]
        (counted if row is None else counted[row]).add_(steps)
        for individual in self.individuals if row is None else [self.individuals[row]]:
            individual.acted(steps)

    @property
    def own_steps(self) -> list[float]:
        """Of each agent, the steps that it has taken itself, its ancestors' apart; unlimited where it has none."""
        before = self._replaced or {}
        return [one.steps - before.get(one.id, -math.inf) for one in self.individuals]

    # Changing who is there --------------------------------------------------------------------

    def rebuild(self, individuals: Sequence[Individual], next_id: int = 0) -> list[int]:
        """Lay the table out anew for these agents: sorted, cut into groups, padded to each group's largest.

        Storage that still fits is written in place, so addresses survive, and with them what is
        recorded of groups that are computed as before.

        Args:
            individuals: P agents; their tensors may be views into this table.
            next_id: ids below it are taken.

        Returns:
            for each row of the new table, the index into `individuals` that it holds.
        """
        addresses = graphs.addresses(self._tensors)
        timing = self.algorithm.update_timing
        order, self._spans = arrange(individuals, self.network, self.roles, timing, self.spec.like)
        chosen = [individuals[index] for index in order]
        values = self.spec.hyperparameters(chosen)
        self.hyper = {name: self._store(name, value) for name, value in values.items()}
        groups = self._grouped(chosen)
        for name, value in packing.packed(self.spec, groups, chosen).items():
            self._store(name, value)
        if graphs.possible(self.device) and graphs.addresses(self._tensors) == addresses:
            groups = [self._kept(group) for group in groups]
        for individual in chosen:
            individual.tensors, individual.counts = {}, {}
        self.individuals, self._groups, self.memory = chosen, groups, {}
        self.next_id = max(self.next_id, next_id, *(id + 1 for id in self.ids))
        return order

    def replace(self, offspring: Sequence[Individual]) -> list[int]:
        """As `rebuild`, at the end of a generation: what these agents do from now on is their own."""
        order = self.rebuild(offspring)
        self._replaced = {individual.id: individual.steps for individual in self.individuals}
        return order

    def copy(self, rows: Sequence[int]) -> Table:
        """An independent table of these rows, with the same ids; all of them learn, at rest or not.

        A copy of every row in order is laid out alike, so only its tensors are copied, and its
        groups are made when they are needed.
        """
        # A stream of its own: who plays with a copy must not change what the agents draw next.
        stream = (self.next_id, "copy")
        whole = list(rows) == list(range(self.size))
        if not whole or any(one.resting is not None for one in self.individuals):
            taken = [dataclasses.replace(self.individual(row), resting=None) for row in rows]
            return Table(self.spec, taken, self.next_id, stream)
        twin = Table(self.spec, (), self.next_id, stream)
        twin._tensors = {name: value.clone() for name, value in self._tensors.items()}
        twin.hyper = {name: twin._tensors[name] for name in self.hyper}
        twin.individuals = [individual.twin() for individual in self.individuals]
        twin._spans, twin._groups = self._spans, None
        return twin

    def _store(self, name: str, value: Tensor) -> Tensor:
        """Write a tensor into the table: in place where it fits."""
        old = self._tensors.get(name)
        if old is not None and old.shape == value.shape:
            return old.copy_(value)
        self._tensors[name] = value
        return value

    def _kept(self, group: AgentGroup) -> AgentGroup:
        """The group that these rows made up before, if it is computed as this one would be; else this one."""
        for old in self._groups or ():
            names = self.algorithm.update_timing
            timing = [[one.settings[0].get(name) for name in names] for one in (old, group)]
            if old.start == group.start and timing[0] == timing[1] and old.like(group):
                old.become(group)
                return old
        return group
