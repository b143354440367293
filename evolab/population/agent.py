"""Agent: one row of a table, which acts, learns, is described and is saved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike
from torch import Tensor, nn

from evolab.algorithms.base import Algorithm
from evolab.core import checks, registry
from evolab.core.experience import Drawn, Episodes
from evolab.core.readonly import ReadOnly
from evolab.core.trees import Tree
from evolab.data.buffers.base import Buffer
from evolab.history.display import count, number
from evolab.networks.base import Network
from evolab.networks.genes import Genes
from evolab.population import export, policy, serialisation
from evolab.population.acting import act_alone
from evolab.population.individual import Individual
from evolab.population.learner import Learner
from evolab.population.recurrent_state import Memory
from evolab.population.table import Table

ASSIGN = (
    "exp.set(agent, name=value) sets a value between two generations, exp.search_space = {...} says in which "
    "ranges values evolve, Experiment(hyperparameters={...}) where they start."
)


class Agent:
    """A view of one agent. It follows its agent through the table and raises LookupError once that has been replaced.

    `exp.best`, `exp.elite` and `agent.copy()` own their table; `population[i]` shares the
    population's, so it learns when the population learns.

    Args:
        table: where it lives.
        id: its own.
    """

    def __init__(self, table: Table, id: int) -> None:
        self.table, self.id = table, id

    def __setattr__(self, name: str, value: object) -> None:
        if name not in ("table", "id") or name in vars(self):
            raise AttributeError(f"an agent can be read only: {name} is not set. {ASSIGN}")
        object.__setattr__(self, name, value)

    @property
    def row(self) -> int:
        """Where it stands in its table now.

        Raises:
            LookupError: it has died.
        """
        return self.table.row(self.id)

    def __getattr__(self, name: str) -> Any:
        raise checks.no_method(self, name)

    @property
    def _about(self) -> Individual:
        return self.table.individuals[self.row]

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm that it learns by."""
        return self.table.algorithm

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Values by name; to be read only."""
        return ReadOnly(self._about.hyperparameters, "an agent's hyperparameters", ASSIGN)

    @property
    def genes(self) -> Genes:
        """Its architecture."""
        return self._about.genes

    @property
    def parent(self) -> int | None:
        """Id of its parent; None in the first population."""
        return self._about.parent

    @property
    def fitness(self) -> float:
        """Its newest evaluation; NaN before the first."""
        return self._about.fitness[-1] if self._about.fitness else float("nan")

    @property
    def network_size(self) -> int:
        """Number of trainable parameters, targets not counted."""
        return self.table.network_size(self.row)

    def individual(self) -> Individual:
        """The agent as a value; its tensors are unpadded views into the table."""
        return self.table.individual(self.row)

    def act(
        self,
        observation: Tree,
        explore: bool = False,
        action_mask: ArrayLike | Tensor | None = None,
        memory: Memory | None = None,
    ) -> Any:
        """Action for one observation, or for a batch of them.

        Args:
            observation: one observation of the environment, or [B, ...] of them; array or tensor.
            explore: add the algorithm's exploration.
            action_mask: 1 for every action that is permitted now, [W] or [B, W]; None where all are. Of several
                choices the masks of each behind one another.
            memory: of the episode, or of [B] of them, from `memory()`; what is remembered now is noted in it. An agent
                whose network remembers (`ev.Recurrent`) must have one.

        Returns:
            the action(s) in the environment's own range, ready for `env.step`.

        Raises:
            ValueError: the observation is of another shape, or the memory is missing or of other episodes.
        """
        return act_alone(self.table, self.row, observation, explore, action_mask, memory)

    def memory(self) -> Memory:
        """Where an episode that begins now is remembered: `agent.act(observation, memory=memory)` at each of its steps.

        Agents whose network does not remember leave it empty, so the same loop plays any agent. `memory.begin()` makes
        it ready for another episode, `memory.begin(ended)` where some of several have ended.
        """
        return Memory()

    def learn(self, batch: Buffer | Drawn | Episodes, noise: Tree | None = None) -> dict[str, float]:
        """One update of this agent alone.

        Args:
            batch: a ReplayBuffer to draw from, or fields with shape [B, ...].
            noise: of the update, [B, A] for TD3; drawn where it is None.

        Returns:
            losses by name.
        """
        return Learner(self.table).learn_alone(self.row, batch, noise)

    def evaluate(
        self,
        environment: object,
        episodes: int = 20,
        *,
        seed: int | None = None,
        max_steps: int | None = None,
    ) -> Any:
        """Fresh episodes of its greedy policy: `agent.evaluate("CartPole-v1", 100)`. Nothing is recorded.

        Args:
            environment: an id, a callable that makes one, a language environment, or whatever else `Experiment` takes.
            episodes: how many, each with a seed of its own.
            seed: that these follow from; None for a fresh one.
            max_steps: longest episode; None for the environment's own limit.

        Returns:
            an `EvaluationResult` with `.mean`, `.interval` (95%), `.returns` (every one), `.lengths`, `.steps`.

        Raises:
            ValueError: the environment's observations or actions are not those that the agent knows.
        """
        return registry.above("evaluate_agent")(self, environment, episodes, seed=seed, max_steps=max_steps)

    def evaluated(self, fitness: float, again: bool = False) -> None:
        """Add an evaluation, in units of return, to its record; `again` corrects the newest one."""
        record = self._about.fitness
        record[len(record) - 1 if again and record else len(record) :] = [fitness]

    def copy(self) -> Agent:
        """An agent of its own, which nothing else changes."""
        return Agent(self.table.copy([self.row]), self.id)

    def module(self) -> nn.Module:
        """The policy as a plain torch module without padding, on the CPU.

        Its input is a batch of observations [B, ...] as the environment gives them (tensors); its
        output is what `act` is made from: actions in the environment's range for Box actions,
        values (DQN) or logits (PPO) of all actions [B, A] for Discrete ones, those of several choices behind
        one another. A GPT's are tokens [B, T] and logits [B, T, V]. A network that remembers is called with what it
        remembered too, [B, C, H] and zeros at first (C, H is `module.memory`), and gives a pair: the answer, and what
        it remembers now.
        """
        return policy.module(self.table, self.row)

    def describe(self) -> dict[str, Any]:
        """Everything about it that fits into a line of a table."""
        return self.table.describe(self.row)

    def save(self, folder: str | PathLike[str]) -> None:
        """Write the agent to a folder: `agent.safetensors` and `agent.json`; nothing in it can execute.

        Raises:
            FileExistsError: the folder holds something that is no agent.
        """
        serialisation.save(self.table, self.row, folder)

    def export(self, path: str | PathLike[str], action_mask: bool = False) -> Path:
        """Write the greedy policy for other programs: a batch of observations to actions for `env.step`.

        Args:
            path: ending in .onnx (needs the extra `onnx`) or .pt2 (torch.export). Its answers are
                compared with the agent's before this returns; ONNX's where onnxruntime is installed.
                Of a Dict inside a Dict, torch.export wants the keys in the order of the space and refuses
                another one; ONNX names its inputs, and `module()` takes any order. Of an agent that remembers the
                program has a second input, "memory", zeros at first, and a second output, "memory_now".

        Raises:
            ValueError: another suffix, or a policy that a network alone does not make.
            ImportError: the package is missing; names the extra.
        """
        return export.export(self.table, self.row, path, action_mask)

    @staticmethod
    def load(
        folder: str | PathLike[str],
        algorithm: str | Algorithm | None = None,
        network: Network | Sequence[int] | str | None = None,
        device: str = "cpu",
    ) -> Agent:
        """Read an agent from a folder.

        Args:
            folder: as written by `save`.
            algorithm: pass the object where the algorithm is your own.
            network: pass the object where the network is your own.
            device: where its tensors go.

        Raises:
            FileNotFoundError: no agent there.
            ValueError: the files are damaged, or of a newer format.
        """
        table = serialisation.load(folder, algorithm, network, device)
        return Agent(table, table.ids[0])

    def __repr__(self) -> str:
        try:
            known = self.describe()
        except LookupError:
            return f"Agent {self.id} (dead)"
        evolved = ", ".join(f"{name}={number(known[name])}" for name in self.table.spec.search_space)
        return (
            f"Agent {self.id} ({known['algorithm']}, {known['architecture']}, network size {count(known['network_size'])}, "
            f"{self._earned()}, {evolved}): .act(), .evaluate(), .save(), .export()"
        )

    def _earned(self) -> str:
        if not self._about.fitness:
            return "fitness not yet known"
        if not math.isfinite(self.fitness):
            return "fitness not finite: it diverged"
        return f"fitness {number(self.fitness)}"

    def _repr_html_(self) -> str:
        import pandas as pd

        try:
            known = self.describe()
        except LookupError:
            return f"<i>Agent {self.id} (dead)</i>"
        shown = {
            key: number(value) if isinstance(value, float) else str(value) for key, value in known.items()
        }
        shown["fitness"] = self._earned().removeprefix("fitness ")
        frame = pd.DataFrame({"value": shown})
        return f"<b>Agent {self.id}</b>" + frame.to_html(header=False, border=0, escape=True)
