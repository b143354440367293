"""Population: agents in one table, and what has them learn."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import Algorithm
from evolab.algorithms.search_space import algorithm_named, search_space_of
from evolab.core import checks
from evolab.core.device import device_named
from evolab.core.experience import Drawn, Episodes, Transition
from evolab.core.ranges import Range
from evolab.core.readonly import ReadOnly
from evolab.core.rng import fresh_seed
from evolab.core.trees import Tree
from evolab.data.buffers.base import Buffer
from evolab.networks.base import Network
from evolab.networks.batching.group import AgentGroup
from evolab.networks.default import network_for
from evolab.population import overview
from evolab.population.acting import Given, act, random_actions
from evolab.population.agent import ASSIGN, Agent
from evolab.population.individual import Individual
from evolab.population.learner import Learner
from evolab.population.normalisation import words_of
from evolab.population.recurrent_state import Memory, telling
from evolab.population.spec import Spec
from evolab.population.table import Table

if TYPE_CHECKING:
    import pandas as pd

RANGES = (
    "exp.search_space = exp.search_space | {name: ev.Float(low, high)} sets others from the next generation on; "
    "without an experiment, population.evolve_within({...})."
)

OWN = {"table", "learner", "actions", "roles", *Spec.__dataclass_fields__} - {"search_space"}
"""What a population has, and nothing else is set."""


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
        normalise: bring "observations" or "returns" to one scale, or what "auto" finds; True for all, None for nothing.
            Statistics of observations are of what an agent learns from; `observe` takes rewards into those of returns.
        draw: the agents' hyperparameters differ from the beginning: the first keeps the starting values, and each
            further one lies further on the way to a random draw from the search space, which the last is. Or
            names of some.

    Attributes:
        table: tensors [P, ...] by name, such as `population.table["critic.mean"]`, and whom they belong to.
        learner: what has the agents learn.

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
        network: Network | Sequence[int] | str | None = None,
        hyperparameters: Mapping[str, object] | None = None,
        search_space: Mapping[str, Range] | None = None,
        seed: int | None = None,
        device: str | torch.device = "auto",
        dtype: torch.dtype = torch.float32,
        draw: bool | Collection[str] = False,
        precision: str = "float32",
        normalise: bool | str | Collection[str] | None = None,
    ) -> None:
        algorithm, size = algorithm_named(algorithm), checks.positive_integer("population size", size)
        starting, search_space = search_space_of(algorithm, hyperparameters, search_space)
        spec = Spec(
            algorithm,
            observation_space,
            action_space,
            network_for(algorithm.network() if network is None else network, observation_space),
            search_space,
            fresh_seed() if seed is None else checks.positive_integer("seed", seed, minimum=0),
            device_named(device),
            dtype,
            precision,
            words_of(normalise, algorithm),
        )
        self._compose(Table(spec, spec.first_population(size, starting, draw)))

    def _compose(self, table: Table, warmed_up: bool = False) -> None:
        self.table, self.learner, spec = table, Learner(table, warmed_up), table.spec
        self.algorithm, self.network = spec.algorithm, spec.network
        self.observation_space, self.action_space = spec.observation_space, spec.action_space
        self.actions, self.roles = spec.actions, spec.roles
        self.seed, self.device, self.dtype = spec.seed, spec.device, spec.dtype

    def __setattr__(self, name: str, value: object) -> None:
        if name not in OWN or name in vars(self):
            raise AttributeError(f"a population can be read only: {name} is not set. {ASSIGN}")
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise checks.no_method(self, name, "Population")

    @staticmethod
    def of(agents: Sequence[Agent]) -> Population:
        """A population of copies of agents that share a table; one of them may come several times."""
        return Composed(agents[0].table.copy([agent.row for agent in agents]))

    def copy(self, rows: Sequence[int]) -> Population:
        """An independent population of these rows, with the same ids."""
        return Composed(self.table.copy(rows), self.learner.warmed_up)

    # Who is there -----------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.table.size

    def __getitem__(self, index: int) -> Agent:
        """A live view of one agent; it raises once the agent has died."""
        if not isinstance(index, (int, np.integer)):
            rows = f"its row, 0 to {len(self) - 1}"
            raise TypeError(f"an agent of a population is asked for by {rows}, not by {index!r}.")
        if not -len(self) <= index < len(self):
            raise IndexError(f"agent {index} of a population of {len(self)}; 0 to {len(self) - 1} are there.")
        return Agent(self.table, self.individuals[index].id)

    def __iter__(self) -> Iterator[Agent]:
        return (self[index] for index in range(len(self)))

    @property
    def individuals(self) -> list[Individual]:
        """Who the agents are, in the order of their rows; without tensors."""
        return self.table.individuals

    @property
    def groups(self) -> list[AgentGroup]:
        """Neighbouring rows that update together, in order."""
        return self.table.groups

    @property
    def ids(self) -> list[int]:
        """Ids of the agents in the order of their rows."""
        return self.table.ids

    def row(self, id: int) -> int:
        """The row where an agent lives now.

        Raises:
            LookupError: it has died.
        """
        return self.table.row(id)

    def individual(self, row: int) -> Individual:
        """The agent of a row as a value: its tensors are unpadded views into the table."""
        return self.table.individual(row)

    @property
    def search_space(self) -> dict[str, Range]:
        """Ranges of the hyperparameters that mutate; to be read only."""
        return ReadOnly(self.table.spec.search_space, "ranges", RANGES)

    def evolve_within(self, search_space: Mapping[str, Range]) -> None:
        """Have hyperparameters mutate in these ranges from now on; values of today stay as they are."""
        own = self.table.spec.search_space
        own.clear()
        own.update(search_space)

    def __repr__(self) -> str:
        return overview.lines(self.table)

    def _ipython_key_completions_(self) -> list[int]:
        return list(range(len(self)))

    def _repr_html_(self) -> str:
        return overview.html(self.table)

    def describe(self) -> pd.DataFrame:
        """One row per agent: agent, parent, fitness, hidden, activation, network_size, hyperparameters."""
        return overview.frame(self.table)

    # Evolving ---------------------------------------------------------------------------------

    def reseed(self, generation: int) -> None:
        """Start this generation's own random streams, and no step unanswered, so that a run can be resumed here."""
        self.table.reseed(generation)
        self.learner.restart(warmed_up=generation > 0)

    def rebuild(self, individuals: Sequence[Individual], next_id: int = 0) -> list[int]:
        """Lay the table out anew for these agents; see `Table.rebuild`."""
        return self.table.rebuild(individuals, next_id)

    # Acting and learning ----------------------------------------------------------------------

    def act(
        self,
        observation: Tree,
        explore: bool | np.ndarray = True,
        ended: Given = None,
        action_mask: Given = None,
        memory: Memory | None = None,
    ) -> np.ndarray | Tensor:
        """Actions of all agents, each in its own environments.

        Args:
            observation: [P, E, ...] arrays or tensors; dicts and tuples of them for Dict and Tuple spaces.
            explore: add the algorithm's exploration and count the steps; False for the greedy policy. An array
                [P, E] says where to explore, and counts the steps of all.
            ended: [P, E], True where an episode has just ended, `transition.ended`: exploration noise starts anew there,
                and agents whose network remembers forget what they saw. None at the first step.
            action_mask: [P, E, W], 1 for every action that is permitted, as `envs.action_mask` has it; None for all.
            memory: where agents keep what they remember; None for the population's own, of its training episodes.

        Returns:
            [P, E, ...] in the environment's own range; an array where an array came, else a tensor. Of a Dict
            or Tuple action space [P, E, A], all parts behind one another, as `envs.step` takes them.
        """
        return act(self.table, observation, explore, ended, action_mask, memory)

    def begin_episodes(self) -> None:
        """Forget what is remembered of episodes under way: all environments were reset."""
        self.table.begin_episodes()

    def random_actions(self, num_envs: int, generator: np.random.Generator, mask: Given = None) -> np.ndarray:
        """Uniform actions [P, E, ...] in the environment's own range, of those that a mask [P, E, W] permits."""
        return random_actions(self.table, num_envs, generator, mask)

    def telling(self, transition: Transition) -> Transition:
        """A step of training with what agents remembered before it, with which drawn sequences begin; else with nothing."""
        return telling(self.table, transition)

    def observe(self, transition: Transition) -> None:
        """Take the rewards of a step of training [P, E] into the statistics of returns, where these are normalised."""
        table = self.table
        rows = table.statistics().get("return")
        if rows is not None:
            discount = table.hyper.get("discount", rows.new_ones(table.size))
            table.spec.normaliser.earned(rows, discount, table.memory, transition)

    def learn(
        self,
        source: Buffer | Drawn | Episodes,
        noise: Tree | None = None,
        updates: int | None = None,
        ratio: float = 1.0,
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
        return self.learner.learn(source, noise, updates, ratio)


class Composed(Population):
    """A population around a table that is there already."""

    def __init__(self, table: Table, warmed_up: bool = False) -> None:
        self._compose(table, warmed_up)
