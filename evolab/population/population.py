"""Population: the table. Everything true of an agent is a row of it.

`table` maps names to tensors [P, ...]: for each network its parameters, its target and Adam's
moments as flat rows [P, M, N], Adam's step count [P]; and every hyperparameter [P]. Genes are
the truth: how a row is laid out, which units of a group sleep and which rows share a group all
follow from them, and are worked out anew whenever the population changes (`rebuild`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import Algorithm
from evolab.algorithms.options import algorithm_named, search_space_of
from evolab.core import checks
from evolab.core.actions import actions_of
from evolab.core.allocator import keep_freed_memory
from evolab.core.device import device_named, precision_named, products
from evolab.core.experience import Batch, Episodes
from evolab.core.ranges import Range
from evolab.core.rng import fresh_seed, numpy_stream, seed_of, torch_stream
from evolab.core.trees import first_leaf, map_leaves, to_tensor
from evolab.networks.base import Layout, Network, Role
from evolab.networks.batching.bucket import Bound
from evolab.networks.batching.group import AgentGroup
from evolab.networks.default import network_for
from evolab.population import learner as learning
from evolab.population.grouping import lay_out
from evolab.population.individual import KINDS, Individual

if TYPE_CHECKING:
    import pandas as pd

    from evolab.population.agent import Agent


class Population:
    """A population of agents in one table.

    Args:
        algorithm: a name such as "TD3", or an object such as `TD3(ou_noise=True)`.
        observation_space: of a single environment.
        action_space: of a single environment.
        size: P, the number of agents.
        network: architecture to start from; None for one that suits the observation space.
        hyperparameters: starting values by name; the rest take the algorithm's defaults.
        search_space: ranges by name of the hyperparameters that mutate; None for the algorithm's own.
        seed: of every random draw; None for a fresh one.
        device: "cpu", "cuda", "meta" or "auto" (CUDA where there is one).
        dtype: of the parameters.
        precision: of matrix products on CUDA, "float32" or the faster "tf32"; see `evolab.core.device`.
        draw: draw the starting values of the search space at random, for each agent its own.

    Raises:
        ValueError: an unknown name, a value outside its range, a size below 1.
        TypeError: the algorithm cannot act in these spaces.
    """

    def __init__(
        self,
        algorithm: str | Algorithm,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        size: int = 4,
        *,
        network: Network | Sequence[int] | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        search_space: Mapping[str, Range] | None = None,
        seed: int | None = None,
        device: str | torch.device = "auto",
        dtype: torch.dtype = torch.float32,
        draw: bool = False,
        precision: str = "float32",
    ) -> None:
        keep_freed_memory()
        self.algorithm = algorithm_named(algorithm)
        size = checks.positive_integer("population size", size)
        self.observation_space, self.action_space = observation_space, action_space
        self.algorithm.check(observation_space, action_space)
        self.device, self.dtype = device_named(device), dtype
        self.precision = precision_named(precision)
        self.actions = actions_of(action_space, self.device, dtype)
        network = self.algorithm.network() if network is None else network
        self.network = network_for(network, observation_space)
        self.roles: dict[str, Role] = self.algorithm.roles(observation_space, self.actions)
        starting, self.search_space = search_space_of(self.algorithm, hyperparameters, search_space)
        self.seed = fresh_seed() if seed is None else checks.positive_integer("seed", seed, minimum=0)
        self.table: dict[str, Tensor] = {}
        self.hyper: dict[str, Tensor] = {}
        self.individuals: list[Individual] = []
        self.groups: list[AgentGroup] = []
        self.memory: dict[str, Tensor] = {}
        self.next_id = 0
        self.learnt = False
        self.unrecordable = False  # once an update could not be recorded as a CUDA graph
        self.replaced: list[int] | None = None  # steps of each agent when evolution gave it its row
        self.reseed(0)
        self.rebuild([self._newborn(index, starting, draw) for index in range(size)])

    # Identity ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.individuals)

    def __getitem__(self, index: int) -> Agent:
        """A live view of one agent; it raises once the agent has died."""
        from evolab.population.agent import Agent

        if not -len(self) <= index < len(self):
            raise IndexError(f"agent {index} of a population of {len(self)}; 0 to {len(self) - 1} are there.")
        return Agent(self, self.individuals[index].id)

    def __iter__(self) -> Iterator[Agent]:
        return (self[index] for index in range(len(self)))

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

    def __repr__(self) -> str:
        lines = [f"Population of {len(self)} {self.algorithm.name} agents on {self.device}"]
        for individual in self.individuals[:12]:
            fitness = f"{individual.fitness[-1]:9.1f}" if individual.fitness else "        -"
            evolved = " ".join(f"{name}={individual.hyperparameters[name]:.3g}" for name in self.search_space)
            lines.append(
                f"  {individual.id:5d} {fitness}  {self.network.describe(individual.genes):18s} {evolved}"
            )
        if len(self) > 12:
            lines.append(f"  ... and {len(self) - 12} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return self.describe().to_html(index=False, border=0, float_format=lambda x: f"{x:.4g}", escape=True)

    def describe(self) -> pd.DataFrame:
        """One row per agent: agent, parent, fitness, hidden, activation, parameters, hyperparameters."""
        import pandas as pd

        rows = []
        for individual in self.individuals:
            rows.append(
                {
                    "agent": individual.id,
                    "parent": individual.parent,
                    "fitness": individual.fitness[-1] if individual.fitness else float("nan"),
                    "hidden": "x".join(map(str, individual.genes.hidden)),
                    "activation": ",".join(individual.genes.activation),
                    "parameters": self.parameter_count(individual),
                    **individual.hyperparameters,
                }
            )
        frame = pd.DataFrame(rows)
        frame["parent"] = frame["parent"].astype("Int64")
        return frame

    def parameter_count(self, individual: Individual) -> int:
        """Trainable parameters of all networks of an agent, targets not counted."""
        total = 0
        for role in self.roles.values():
            total += (
                role.ensemble_size * Layout.of(role.recipe(self.network).axes(role, individual.genes)).size
            )
        return total

    # Randomness -------------------------------------------------------------------------------

    def reseed(self, generation: int) -> None:
        """Start this generation's own random streams, and no step unanswered, so that a run can be resumed here."""
        if not hasattr(self, "generator"):  # one for good: recordings draw from it
            self.generator = torch_stream(self.seed, device=self.device)
        self.generator.manual_seed(seed_of(self.seed, generation, "population"))
        self.memory, self.learnt = {}, generation > 0
        for group in self.groups:
            group.updates, group.credit = 0, 0.0

    # Building ---------------------------------------------------------------------------------

    def _newborn(self, index: int, starting: Mapping[str, Any], draw: bool) -> Individual:
        values = dict(starting)
        if draw:
            stream = numpy_stream(self.seed, "draw", index)
            values.update({name: space.sample(stream) for name, space in self.search_space.items()})
        genes = self.network.genes(self.observation_space)
        individual = Individual(self.new_id(), None, genes, values, place=index)
        generator = torch_stream(self.seed, "initialise", index)
        for name, role in self.roles.items():
            recipe = role.recipe(self.network)
            drawn = [recipe.initialise(role, genes, generator) for _ in range(role.ensemble_size)]
            state = {key: torch.stack([one[key] for one in drawn]) for key in drawn[0]}
            individual.tensors[name] = state
            if role.has_target:
                individual.tensors[f"{name}.target"] = state
            for kind in (".mean", ".square"):
                individual.tensors[name + kind] = {
                    key: torch.zeros_like(value) for key, value in state.items()
                }
            individual.counts[name] = 0.0
        return individual

    def new_id(self) -> int:
        """The next id; ids are never used again."""
        self.next_id += 1
        return self.next_id - 1

    def individual(self, row: int) -> Individual:
        """The agent of a row as a value: its tensors are unpadded views into the table."""
        return self._unpacked(self.individuals[row], row)

    def _unpacked(self, individual: Individual, row: int) -> Individual:
        group = self.group_of(row)
        inside = row - group.start
        individual.tensors = {}
        for name, role in self.roles.items():
            shapes = {
                key: tuple(axis.size for axis in axes)
                for key, axes in role.recipe(self.network).axes(role, individual.genes).items()
            }
            for kind in KINDS:
                if name + kind in self.table:
                    flat = group.flat(name + kind)[inside]
                    individual.tensors[name + kind] = group.layout(name, inside).parts(flat, shapes)
            individual.counts[name] = self.table[f"{name}.count"][row]  # type: ignore[assignment]
        return individual

    def group_of(self, row: int) -> AgentGroup:
        """The group that holds a row."""
        return next(group for group in self.groups if group.start <= row < group.stop)

    def rebuild(self, members: Sequence[Individual]) -> list[int]:
        """Lay the table out anew for these agents: sorted, cut into groups, padded to each group's largest.

        Storage that still fits is written in place, so addresses survive.

        Returns:
            for each row of the new table, the index into `members` that it holds.
        """
        return lay_out(self, members)

    def copy(self, rows: Sequence[int]) -> Population:
        """An independent population of these rows, with the same ids."""
        twin = object.__new__(Population)
        twin.__dict__.update(self.__dict__)
        twin.table, twin.groups, twin.memory, twin.replaced = {}, [], {}, None
        # A stream of its own: who plays with a copy must not change what the population draws next.
        twin.generator = torch_stream(self.seed, self.next_id, "copy", device=self.device)
        taken = []
        for row in rows:
            individual = self.individuals[row]  # not written to: several threads may copy the same agent
            clone = individual.child(individual.id)
            clone.parent, clone.fitness = individual.parent, list(individual.fitness)
            taken.append(self._unpacked(clone, row))
        twin.rebuild(taken)
        return twin

    # Acting and learning ----------------------------------------------------------------------

    def act(self, observation: Any, explore: bool = True, ended: Any = None) -> Any:
        """Actions of all agents, each in its own environments.

        Args:
            observation: [P, E, ...] arrays or tensors; dicts and tuples of them for Dict and Tuple spaces.
            explore: add the algorithm's exploration and count the steps; False for the greedy policy.
            ended: [P, E], True where an episode has just ended: exploration noise starts anew there.

        Returns:
            [P, E, ...] in the environment's own range; an array where an array came, else a tensor.
        """
        as_array = not isinstance(first_leaf(observation), Tensor)
        observed = to_tensor(observation, self.device)
        agents, members = first_leaf(observed).shape[:2]
        if agents != len(self):
            raise ValueError(
                f"observation has shape {tuple(first_leaf(observed).shape)}; [P, E, ...] with P = {len(self)} is expected."
            )
        with torch.no_grad(), products(self.device, self.precision):
            if explore:
                self._remember(members, ended)
            parts = []
            for group in self.groups:
                part = observed
                if len(self.groups) > 1:
                    part = map_leaves(lambda leaf, rows=group.rows: leaf[rows], observed)
                if explore:
                    memory = {name: value[group.rows] for name, value in self.memory.items()}
                    action = self.algorithm.sample(group, part, memory, self.generator)
                    group.credit += members
                else:
                    action = self.algorithm.act(group, part)
                parts.append(action)
            unit = parts[0] if len(parts) == 1 else torch.cat(parts)
            if unit.is_floating_point():
                unit = torch.nan_to_num(unit)  # a diverged agent loses its tournament, not the run
            if explore:
                self.hyper["steps"].add_(members)
                for individual in self.individuals:
                    individual.steps += members
            action = self.actions.to_environment(unit)
        return self.actions.to_numpy(action) if as_array else action

    def _remember(self, members: int, ended: Any) -> None:
        for name, shape in self.algorithm.memory(len(self), members, self.actions).items():
            if name not in self.memory or self.memory[name].shape != shape:
                self.memory[name] = torch.zeros(shape, dtype=self.dtype, device=self.device)
            elif ended is not None:
                self.memory[name][torch.as_tensor(ended, device=self.device, dtype=torch.bool)] = 0

    def solo(self, row: int) -> AgentGroup:
        """A group of one agent, in the layout of the group that it lives in."""
        group = self.group_of(row)
        if len(group) == 1:
            return group
        individual = self.individuals[row]
        alone = AgentGroup(
            self.table,
            self.hyper,
            self.network,
            self.roles,
            row,
            [individual.genes],
            [individual.hyperparameters],
        )
        for name, role in self.roles.items():
            layout = group.layout(name, row - group.start)
            if layout != alone.layout(name, 0):
                plan = role.recipe(self.network).plan(role, [individual.genes], layout)
                alone.bound[name] = Bound(role, [layout], plan)
        alone.updates = group.updates
        return alone

    def learn_one(self, row: int, source: Any, noise: Any = None) -> dict[str, float]:
        """One update of one agent; see `Agent.learn`."""
        return learning.learn_one(self, row, source, noise)

    def random_actions(self, members: int, generator: np.random.Generator) -> np.ndarray:
        """Uniform actions [P, E, ...] in the environment's own range."""
        if isinstance(self.action_space, spaces.Box):
            shape = (len(self), members, *self.action_space.shape)
            drawn = generator.uniform(self.action_space.low, self.action_space.high, shape)
            return drawn.astype(self.action_space.dtype)
        if isinstance(self.action_space, spaces.MultiDiscrete):
            nvec, start = self.action_space.nvec, self.action_space.start
            return start + generator.integers(0, nvec, (len(self), members, *nvec.shape))
        assert isinstance(self.action_space, spaces.Discrete)
        return self.action_space.start + generator.integers(0, self.actions.width, (len(self), members))

    def learn(
        self, source: Any, noise: Any = None, updates: int | None = None, ratio: float = 1.0
    ) -> dict[str, Tensor]:
        """Updates of every agent, by its own batch size and learn step.

        From a buffer, every agent makes one update per `learn_step` environment steps that it
        took while exploring since the last call (one update where it took none, as offline).
        From a rollout, every agent makes its passes over its own steps once the rollout is full,
        which is empty then; before that nothing happens.
        From a batch, every agent makes one update on its first `batch_size` samples; the result
        is a function of the batch and the noise.

        Args:
            source: a ReplayBuffer, a RolloutBuffer, or a batch with [P, B, ...] fields observation,
                action (in the environment's range), reward, next_observation, terminated.
            noise: of the update, [P, B, A] for TD3; drawn where it is None.
            updates: make exactly this many updates per agent.
            ratio: updates per environment step at a learn step of 1.

        Returns:
            mean losses by name, [P]; NaN where an agent made no update.

        Raises:
            ValueError: the buffer is empty or smaller than an agent's batch, or holds a rollout of others.
            TypeError: the algorithm does not learn from this kind of buffer.
        """
        return learning.learn(self, source, noise, updates, ratio)

    def batch_of(self, group: AgentGroup, sample: Any, leading: int = 2) -> Any:
        """What was drawn for a group, on the population's device and in the algorithm's ranges.

        Args:
            group: whose samples they are.
            sample: fields [C, B, ...], or [U, C, B, ...] for several updates.
            leading: axes before an observation's own, 2 or 3.
        """
        if isinstance(sample, Episodes):
            return sample.placed(self.hyper["steps"], group.weight)
        reward = sample.reward.to(self.device, self.dtype)
        return Batch(
            observation=map_leaves(lambda leaf: leaf.to(self.device), sample.observation),
            action=self.actions.to_unit(sample.action.to(self.device), leading),
            reward=reward,
            next_observation=map_leaves(lambda leaf: leaf.to(self.device), sample.next_observation),
            terminated=sample.terminated.to(self.device, self.dtype),
            weight=group.weight(reward.shape[-1], reward),
        )
