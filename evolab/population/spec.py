"""What all agents of a table have in common: algorithm, network, spaces, where and how they are computed."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import Algorithm
from evolab.core import registry
from evolab.core.actions import Actions, actions_of
from evolab.core.composite_actions import joined
from evolab.core.device import precision_named, products
from evolab.core.machine_memory import Need, require
from evolab.core.ranges import Range
from evolab.core.rng import numpy_stream, torch_stream
from evolab.core.space_trees import leaf_spaces
from evolab.networks.base import Layout, Network, Role, State
from evolab.networks.genes import Genes
from evolab.population.individual import KINDS, MOMENTS, Individual
from evolab.population.normalisation import Normaliser

NOTHING = nullcontext()

BESIDE = 8 * 2**10
"""Bytes that an agent takes beside its tensors: genes, counts, settings by name. Three thousand took 8.9 kB each."""


@dataclass(frozen=True, eq=False)
class Spec:
    """What agents have in common that share a table. Hyperparameters and genes are each agent's own.

    Attributes:
        algorithm: by which they learn.
        observation_space: of a single environment.
        action_space: of a single environment.
        network: whose genes they have.
        search_space: ranges by name of the hyperparameters that mutate.
        seed: of every random draw.
        device: where their tensors are.
        dtype: of the parameters.
        precision: of matrix products on CUDA; see `evolab.core.device`.
        normalise: what is brought to one scale, of `normalisation.WORDS`.
        normaliser: how.

    Raises:
        ValueError: an unknown precision, or observations without entries.
        TypeError: the algorithm cannot act in these spaces, they hold nothing to normalise, or the network remembers
            and the algorithm cannot have that.
    """

    algorithm: Algorithm
    observation_space: spaces.Space
    action_space: spaces.Space
    network: Network
    search_space: dict[str, Range]
    seed: int
    device: torch.device
    dtype: torch.dtype = torch.float32
    precision: str = "float32"
    normalise: tuple[str, ...] = ()
    normaliser: Normaliser = field(init=False)

    def __post_init__(self) -> None:
        precision_named(self.precision)
        if not any(prod(leaf.shape or (1,)) for _, leaf in leaf_spaces(self.observation_space)):
            raise ValueError(f"observation space {self.observation_space} has no entries: nothing is seen.")
        object.__setattr__(self, "action_space", joined(self.action_space))
        self.algorithm.check(self.observation_space, self.action_space)
        if self.network.remembers and not self.algorithm.learns_sequences:
            raise TypeError(
                f"{self.algorithm.name} learns from single transitions, so its network cannot remember: network is "
                f"{type(self.network).__name__}. {_learners_of_sequences()} can have one; frame_stack=4 "
                "shows any algorithm the newest observations."
            )
        object.__setattr__(self, "normaliser", Normaliser(self.observation_space, self.normalise))

    @functools.cached_property
    def actions(self) -> Actions:
        """Actions between the environment's range and the algorithm's."""
        return actions_of(self.action_space, self.device, self.dtype, self.algorithm.factored)

    @functools.cached_property
    def roles(self) -> dict[str, Role]:
        """The networks of an agent by name, the policy first."""
        scaled = "returns" in self.normalise
        algorithm = self.algorithm.on_scaled_returns() if scaled else self.algorithm
        return algorithm.roles(self.observation_space, self.actions)

    @property
    def policy(self) -> str:
        """Name of the policy's network."""
        return next(iter(self.roles))

    @functools.cached_property
    def observation_shape(self) -> tuple[int, ...] | None:
        """Of an observation that is one array; None of tokens, whose number varies, and of nested spaces."""
        nested = isinstance(self.observation_space, (spaces.Dict, spaces.Tuple))
        return None if nested or self.network.reads_tokens else tuple(self.observation_space.shape or ())

    def products(self) -> AbstractContextManager[None]:
        """Inside, matrix products have the precision that was asked for."""
        return NOTHING if self.precision == "float32" else products(self.device, self.precision)

    @functools.cached_property
    def like(self) -> Tensor:
        """An empty tensor on the device and in the precision of the parameters."""
        return torch.empty(0, dtype=self.dtype, device=self.device)

    def sizes(self, genes: Genes) -> dict[str, int]:
        """Parameters of each network of an agent, all its members together."""
        return {
            name: role.ensemble_size * Layout.of(role.recipe(self.network).axes(role, genes)).size
            for name, role in self.roles.items()
        }

    def needs(self, size: int, genes: Genes) -> Need:
        """Memory that so many agents of this architecture take at least: tensors of the table, and what stands beside."""
        sizes = self.sizes(genes)
        kept = sum(count * len(self.kinds(name)) for name, count in sizes.items()) * self.dtype.itemsize
        of = f"population={size:,}, {sum(sizes.values()):,} parameters each"
        wide = max(role.outputs for role in self.roles.values()) > max(genes.hidden, default=0)
        answers = ", or the actions or quantiles that it answers with" if wide else ""
        lower = f"population or the network{answers}"
        return Need("agents", size * (kept + BESIDE), of, lower)

    def kinds(self, role: str) -> list[str]:
        """Names of what is kept of a network: itself, its target if it has one, its moments."""
        return [role + kind for kind in KINDS if kind != ".target" or self.roles[role].has_target]

    def drawn(self, role: str, genes: Genes, generator: torch.Generator) -> State:
        """First values of a network, [M, ...] by parameter."""
        about = self.roles[role]
        recipe = about.recipe(self.network)
        members = [
            recipe.started(about, recipe.initialise(about, genes, generator), generator)
            for _ in range(about.ensemble_size)
        ]
        if len(members) == 1:  # no copy, which counts where networks are huge
            return {key: value[None] for key, value in members[0].items()}
        return {key: torch.stack([one[key] for one in members]) for key in members[0]}

    def begin(self, individual: Individual, role: str, state: State) -> None:
        """Give an agent the parameters of a network; its target is the same, its moments are those of the table: 0."""
        for name in self.kinds(role):
            individual.tensors[name] = {} if name.endswith(MOMENTS) else state
        individual.counts[role] = 0.0

    def first_population(
        self, size: int, starting: Mapping[str, float], draw: bool | Collection[str]
    ) -> list[Individual]:
        """So many agents with weights of their own; see the arguments `hyperparameters` and `draw` of `Population`.

        Raises:
            ValueError: the machine is too small.
        """
        require([self.needs(size, self.network.genes(self.observation_space))], self.device)
        return [self._newborn(id, self._varied(starting, draw, id, size)) for id in range(size)]

    def _varied(
        self, starting: Mapping[str, float], draw: bool | Collection[str], id: int, size: int
    ) -> dict[str, Any]:
        if not draw or id == 0:  # the first keeps what is known to be sensible, the last may have any value
            return dict(starting)
        stream, share = numpy_stream(self.seed, "draw", id), id / (size - 1)
        found = {
            name: space.sample(stream, starting[name], share) for name, space in self.search_space.items()
        }
        return {**starting, **{name: value for name, value in found.items() if draw is True or name in draw}}

    def _newborn(self, id: int, values: dict[str, object]) -> Individual:
        genes = self.network.genes(self.observation_space)
        individual = Individual(id, None, genes, values, slot=id)
        generator = torch_stream(self.seed, "initialise", id)
        for name in self.roles:
            self.begin(individual, name, self.drawn(name, genes, generator))
        return individual

    def told(self, individual: Individual) -> dict[str, Any]:
        """The hyperparameters of an agent that tables show: all but those that are off and do not evolve."""
        known = self.algorithm.hyperparameters
        return {
            name: value
            for name, value in individual.hyperparameters.items()
            if known[name].off is None or value != known[name].off or name in self.search_space
        }

    def hyperparameters(self, individuals: Sequence[Individual]) -> dict[str, Tensor]:
        """Every hyperparameter and "steps", [P] each. The networks that an agent at rest acts by learn at a rate of 0.

        Where observations are normalised, "learns" is 0 for an agent at rest: it sees them as it did.
        """
        acting = set(self.algorithm.acting or self.roles) & set(self.roles) or set(self.roles)
        still = {self.roles[name].rate for name in acting}
        rows = [
            {
                **one.hyperparameters,
                **({} if one.resting is None else dict.fromkeys(still, 0.0)),
                "steps": one.steps,
                **({"learns": float(one.resting is None)} if self.normaliser.fresh else {}),
            }
            for one in individuals
        ]
        return {
            name: torch.tensor([float(row[name]) for row in rows], dtype=self.dtype).to(self.device)
            for name in rows[0]
        }


def _learners_of_sequences() -> str:
    """Names of the algorithms whose networks may remember."""
    known = ((name, registry.part("algorithm", name)) for name in registry.names("algorithm"))
    *others, last = [name for name, algorithm in known if algorithm.learns_sequences]
    return f"{', '.join(others)} and {last}"
