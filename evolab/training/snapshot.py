"""A run between two generations: all that a checkpoint holds of it, which may be kept while training goes on."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from evolab.data.buffers.base import Buffer
from evolab.data.buffers.replay import ReplayBuffer
from evolab.history.history import History
from evolab.population import serialisation
from evolab.population.agent import Agent
from evolab.training.state import TrainingState


@dataclass(frozen=True)
class Boundary:
    """What a run is between two generations.

    Attributes:
        algorithm: its name.
        generation: finished generations.
        state: who the agents are and how far the run is, as plain values.
        tensors: of the agents, by name.
        fitness: what the measure of fitness remembers: plain values, and tensors by name; None for nothing.
        history: every finished generation.
        elite: the archived agent; None before the first.
        elite_fitness: its mean return.
        buffer: the experience.
        missing: the oldest transitions of then that have been overwritten since.
    """

    algorithm: str
    generation: int
    state: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    fitness: tuple[dict[str, Any], dict[str, Tensor]] | None
    history: History
    elite: Agent | None
    elite_fitness: float
    buffer: Buffer
    missing: int = 0

    @classmethod
    def of(cls, run: TrainingState) -> Boundary:
        """The run as it stands; its tensors are the run's own, which training will write to."""
        table = run.population.table
        tensors: dict[str, Tensor] = {}
        agents = [serialisation.take(table, row, f"{row}/", tensors) for row in range(len(run.population))]
        state: dict[str, Any] = {
            "population": serialisation.describe_spec(table.spec),
            "agents": agents,
            "next_id": table.next_id,
            "generation": run.generation,
            "total_steps": run.total_steps,
            "evaluation_steps": run.evaluation_steps,
            **({"evaluation_steps_by_hand": run.by_hand} if run.by_hand else {}),
            **run.hall.take_state(),
            **({"changes": dict(run.changes.values)} if run.changes.values else {}),
        }
        for name, agent in (("best", run.best), ("elite", run.hall.elite)):
            state[name] = agent and serialisation.take(agent.table, agent.row, f"{name}/", tensors)
        remembered = None
        for fitness in (run.fitness, run.beside):
            remembered = (None if fitness is None else fitness.take_state()) or remembered
        return cls(
            algorithm=run.population.algorithm.name,
            generation=run.generation,
            state=state,
            tensors=tensors,
            fitness=remembered,
            history=run.history,
            elite=run.hall.elite,
            elite_fitness=run.hall.fitness,
            buffer=run.buffer,
        )

    def kept(self) -> Boundary:
        """The same with tensors of its own, so that training can go on. Transitions are not copied but marked."""
        buffer = self.buffer.marked() if isinstance(self.buffer, ReplayBuffer) else copy.copy(self.buffer)
        tensors = {name: tensor.clone() for name, tensor in self.tensors.items()}
        return replace(self, tensors=tensors, history=History(self.history.generations), buffer=buffer)

    def since(self, now: Buffer) -> Boundary:
        """A kept one with what is left of its transitions, after others have been added to the buffer.

        Args:
            now: the run's buffer.
        """
        then = self.buffer
        if not (isinstance(then, ReplayBuffer) and isinstance(now, ReplayBuffer)):
            return self
        if then.fields is not now.fields:  # what was added since lies elsewhere
            return self
        added = now.added - then.added  # in all pools; in each of them as many as its cursor allows
        moved = (now.cursor - then.cursor) % then.capacity
        written = np.maximum(moved + then.capacity * ((added - moved) // then.capacity), 0)
        lost = np.clip(then.length + written - then.capacity, 0, then.length)
        return replace(self, buffer=then.without_oldest(lost), missing=int(lost.sum()))

    @property
    def needed(self) -> int:
        """About the bytes that it takes on a disk: its tensors, and the transitions that are stored."""
        buffer = self.buffer
        stored = buffer.row_bytes * int(buffer.length.sum()) if isinstance(buffer, ReplayBuffer) else 0
        beside = buffer.priorities if isinstance(buffer, ReplayBuffer) else None
        return self.size + stored + (0 if beside is None else beside.sizes.nbytes)

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())
