"""Agent: one row of a population, to act with, to look at, to teach and to take home."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from evolab.core.trees import first_leaf, map_leaves, to_tensor
from evolab.networks.observations import encode
from evolab.population.individual import Individual

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from evolab.population.population import Population


class Agent:
    """A view of one agent. It follows its agent through the table and raises once that has died.

    `exp.best`, `exp.elite` and `agent.copy()` own their table; `population[i]` shares the
    population's, so it learns when the population learns.
    """

    def __init__(self, population: Population, id: int) -> None:
        self._population, self.id = population, id

    @property
    def _row(self) -> int:
        return self._population.row(self.id)

    @property
    def _individual(self) -> Individual:
        return self._population.individuals[self._row]

    @property
    def algorithm(self) -> Any:
        """The algorithm that it learns by."""
        return self._population.algorithm

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Values by name; a copy."""
        return dict(self._individual.hyperparameters)

    @property
    def genes(self) -> Any:
        """Its architecture."""
        return self._individual.genes

    @property
    def parent(self) -> int | None:
        """Id of its parent; None in the first population."""
        return self._individual.parent

    @property
    def fitness(self) -> float:
        """Its newest evaluation; NaN before the first."""
        return self._individual.fitness[-1] if self._individual.fitness else float("nan")

    def evaluated(self, fitness: float, again: bool = False) -> None:
        """Add an evaluation to its record; `again` corrects the newest one."""
        record = self._individual.fitness
        record[len(record) - 1 if again and record else len(record) :] = [fitness]

    def individual(self) -> Individual:
        """The agent as a value, its tensors without padding."""
        return self._population.individual(self._row)

    @property
    def parameters(self) -> int:
        """Number of trainable parameters, targets not counted."""
        return self._population.parameter_count(self._individual)

    def act(self, observation: Any, explore: bool = False) -> Any:
        """Action for one observation, or for a batch of them.

        Args:
            observation: one observation of the environment, or [B, ...] of them; array or tensor.
            explore: add the algorithm's exploration.

        Returns:
            the action(s) in the environment's own range, ready for `env.step`.
        """
        population = self._population
        space = population.observation_space
        leaf = first_leaf(observation)
        part = first_leaf(_first_space(space))
        single = np.ndim(leaf) == len(part.shape or ())
        as_array = not isinstance(leaf, Tensor)
        batch = map_leaves(lambda x: x[None] if isinstance(x, Tensor) else np.asarray(x)[None], observation)
        batch = map_leaves(lambda x: x[None], batch) if single else batch
        observed = to_tensor(batch, population.device)  # [1, B, ...]
        row = self._row
        group = population.solo(row)
        with torch.no_grad():
            if explore:
                count = first_leaf(observed).shape[1]
                population._remember(count, None)
                memory = {n: v[row : row + 1, :count] for n, v in population.memory.items()}
                unit = population.algorithm.sample(group, observed, memory, population.generator)
                population.hyper["steps"][row] += count  # what schedules such as epsilon's go by
                population.individuals[row].steps += count
            else:
                unit = population.algorithm.act(group, observed)
            if unit.is_floating_point():
                unit = torch.nan_to_num(unit)
            action = population.actions.to_environment(unit)
        result = population.actions.to_numpy(action)[0] if as_array else action[0]
        if not single:
            return result
        result = result[0]
        return result.item() if as_array and np.ndim(result) == 0 else result

    def learn(self, batch: Any, noise: Any = None) -> dict[str, float]:
        """One update of this agent alone.

        Args:
            batch: a ReplayBuffer to draw from, or fields with shape [B, ...].
            noise: of the update, [B, A] for TD3; drawn where it is None.

        Returns:
            losses by name.
        """
        return self._population.learn_one(self._row, batch, noise)

    def copy(self) -> Agent:
        """An agent of its own, which nothing else changes."""
        return Agent(self._population.copy([self._row]), self.id)

    def module(self) -> nn.Module:
        """The policy as a plain torch module without padding, on the CPU.

        Its input is a batch of observations [B, ...] as the environment gives them (tensors); its
        output is what `act` is made from: actions in the environment's range for Box actions,
        values of all actions [B, A] for Discrete ones. A GPT's are tokens [B, T] and logits [B, T, V].
        """
        population = self._population
        name, role = next(iter(population.roles.items()))
        individual = population.individual(self._row)
        state = {key: value[0].detach().cpu().clone() for key, value in individual.tensors[name].items()}
        core = population.network.module(role, individual.genes, state)
        return core if population.network.reads_tokens else Policy(core, population)

    def describe(self) -> dict[str, Any]:
        """Everything about it that fits into a line of a table."""
        individual = self._individual
        return {
            "agent": individual.id,
            "parent": individual.parent,
            "algorithm": self.algorithm.name,
            "fitness": self.fitness,
            "architecture": self._population.network.describe(individual.genes),
            "parameters": self.parameters,
            "steps": individual.steps,
            "updates": individual.updates,
            **individual.hyperparameters,
        }

    def save(self, folder: str | PathLike[str]) -> None:
        """Write the agent to a folder: `agent.safetensors` and `agent.json`; nothing in it can execute.

        Raises:
            FileExistsError: the folder holds something that is no agent.
        """
        from evolab.population.serialisation import save_agent

        save_agent(self, folder)

    def export(self, path: str | PathLike[str]) -> Path:
        """Write the greedy policy for other programs: a batch of observations to actions for `env.step`.

        Args:
            path: ending in .onnx (needs the extra `onnx`) or .pt2 (torch.export). Its answers are
                compared with the agent's before this returns; ONNX's where onnxruntime is installed.

        Raises:
            ValueError: another suffix, or a policy that a network alone does not make.
            ImportError: the package is missing; names the extra.
        """
        from evolab.population.export import export

        return export(self, path)

    @staticmethod
    def load(
        folder: str | PathLike[str], algorithm: Any = None, network: Any = None, device: str = "cpu"
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
        from evolab.population.serialisation import load_agent

        return load_agent(folder, algorithm, network, device)

    def __repr__(self) -> str:
        try:
            known = self.describe()
        except LookupError:
            return f"Agent {self.id} (dead)"
        evolved = ", ".join(f"{n}={known[n]:.3g}" for n in self._population.search_space)
        return (
            f"Agent {self.id} ({known['algorithm']}, {known['architecture']}, {known['parameters']:,} parameters, "
            f"{self._earned()}, {evolved})"
        )

    def _earned(self) -> str:
        if not self._individual.fitness:
            return "fitness not yet known"
        return (
            f"fitness {self.fitness:.1f}"
            if math.isfinite(self.fitness)
            else "fitness not finite: it diverged"
        )

    def _repr_html_(self) -> str:
        import pandas as pd

        try:
            known = self.describe()
        except LookupError:
            return f"<i>Agent {self.id} (dead)</i>"
        shown = {
            key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in known.items()
        }
        shown["fitness"] = self._earned().removeprefix("fitness ")
        frame = pd.DataFrame({"value": shown})
        return f"<b>Agent {self.id}</b>" + frame.to_html(header=False, border=0, escape=True)


def _first_space(space: Any) -> Any:
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        return _first_space(next(iter(space.values())))
    if isinstance(space, spaces.Tuple):
        return _first_space(space[0])
    return space


class Policy(nn.Module):
    """Observations to actions (Box) or to values of all actions (Discrete); see `Agent.module`."""

    scale: Tensor
    centre: Tensor

    def __init__(self, core: nn.Module, population: Population) -> None:
        super().__init__()
        self.core = core
        self._space, self._dtype = population.observation_space, population.dtype
        self._bounded = hasattr(population.actions, "half")
        self._mode, self._width = population.algorithm.mode, population.actions.width
        self._shape = tuple(population.action_space.shape or ())
        if self._bounded:
            self.register_buffer("centre", population.actions.centre.detach().cpu().clone())
            self.register_buffer("scale", population.actions.half.detach().cpu().clone())  # `half` is torch's

    def forward(self, observation: Any) -> Tensor:
        """[B, ...] observations to [B, ...] actions or [B, A] values."""
        out = self.core(encode(self._space, observation, 1, self._dtype))
        if not self._bounded:
            return out
        action = self._mode(out, self._width) * self.scale + self.centre
        return action if len(self._shape) == 1 else action.reshape(*action.shape[:-1], *self._shape)
