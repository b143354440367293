"""What agents remember of the episodes that they are in, where their network remembers: see `networks.recurrent`.

It is kept beside the agents, never in them: a population's training episodes in `Table.memory`, everybody else's in a
`Memory` of their own, so that an evaluation does not disturb what is under way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import MutableMapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from evolab.core.experience import Batch, Remembered, Transition
from evolab.core.trees import Tree
from evolab.data.buffers.replayed_sequences import ReplayedSteps
from evolab.data.buffers.rollout import RolloutSteps
from evolab.networks.sequences import Sequences
from evolab.population.table import Table

NOW, ACTED, BEFORE = "remembered", "remembered before acting", "before rollout."
"""Names in a store: of what the policy remembers now, [P, E, C, H]; of what it did when it acted last; of what each network
did before a rollout."""


class Memory:
    """What an agent remembers of an episode, or of several beside each other; empty at their beginning.

    `agent.act(observation, memory=memory)` reads it and notes what is remembered afterwards. An agent whose network
    does not remember leaves it empty.

    Attributes:
        state: tensors by name; [P, E, C, H] of P agents in E episodes.
    """

    def __init__(self) -> None:
        self.state: dict[str, Tensor] = {}

    def begin(self, ended: ArrayLike | Tensor | None = None) -> None:
        """Forget everything, or where episodes have ended: [E], True for those."""
        if ended is None:
            self.state = {}
        for value in self.state.values():
            value[..., torch.as_tensor(ended, device=value.device, dtype=torch.bool), :, :] = 0

    def __repr__(self) -> str:
        return f"Memory({'empty' if not self.state else 'of an episode'})"


def size(table: Table) -> tuple[int, int]:
    """C and H: what the network of the largest agent remembers."""
    sizes = [table.network.memory(one.genes) for one in table.individuals]
    return sizes[0][0], max(units for _, units in sizes)


def room(table: Table, store: MutableMapping[str, Tensor], name: str, lead: tuple[int, int]) -> Tensor:
    """[P, E, C, H]: what is remembered, of a store's own; empty where it has nothing for so many episodes."""
    shape = *lead, *size(table)
    kept = store.get(name)
    if kept is None or kept.shape[:3] != shape[:3]:
        kept = torch.zeros(shape, dtype=table.dtype, device=table.device)
    elif kept.shape[3] != shape[3]:  # from before the table was laid out anew; what an agent has not is zero
        kept = F.pad(kept, (0, shape[3] - kept.shape[3]))
    store[name] = kept
    return kept


class Reading:
    """Observations of one step as networks read them that remember; of others as they are.

    Args:
        table: of the agents.
        store: of what they remember.
        lead: P and E.
        ended: [P, E], True where an episode has just ended; None for nowhere.
    """

    def __init__(
        self,
        table: Table,
        store: MutableMapping[str, Tensor],
        lead: tuple[int, int],
        ended: ArrayLike | Tensor | None = None,
    ) -> None:
        self.store, self.before = store, None
        if not table.network.remembers:
            return
        self.before = room(table, store, NOW, lead)
        self.after = torch.zeros_like(self.before)
        if ended is not None:
            self.before[torch.as_tensor(ended, device=table.device, dtype=torch.bool)] = 0

    def of(self, observation: Tree, rows: slice) -> Tree:
        """Observations [P, E, ...] of some agents."""
        if self.before is None:
            return observation
        return Sequences(observation, self.before[rows], (), self.after[rows])

    def note(self) -> None:
        """Keep what is remembered after the step."""
        if self.before is not None:
            self.store[NOW], self.store[ACTED] = self.after, self.before


def reading(
    table: Table, memory: Memory | None, lead: tuple[int, int], ended: ArrayLike | Tensor | None = None
) -> Reading:
    """A step of all agents, in their training episodes where no memory is given.

    Raises:
        ValueError: training episodes are under way, and it is not said which have ended.
    """
    store = table.memory if memory is None else memory.state
    if memory is None and ended is None and NOW in store and store[NOW].shape[:2] == lead:
        raise ValueError(
            "these agents remember, so they have to know where episodes end: population.act(observation, "
            "ended=transition.ended). Call population.begin_episodes() where all begin anew."
        )
    return Reading(table, store, lead, ended)


def reading_alone(table: Table, row: int, memory: Memory | None, count: int) -> Reading:
    """A step of one agent, with a memory of the caller's.

    Raises:
        ValueError: the agent remembers, and no memory was given, or one of other episodes.
    """
    if not table.network.remembers:
        return Reading(table, {}, (1, count))
    if memory is None:
        raise ValueError(
            f"agent {table.ids[row]} remembers what it saw: call memory = agent.memory() where an episode begins, and "
            "agent.act(observation, memory=memory) in it."
        )
    known = memory.state.get(NOW)
    if known is not None and known.shape[:2] != (1, count):
        raise ValueError(
            f"memory is of {known.shape[1]} episodes beside each other, and {count} observations came. Call "
            "memory.begin() where others begin."
        )
    return Reading(table, memory.state, (1, count))


def along(table: Table, rows: slice, steps: Batch) -> Remembered | None:
    """What these agents remembered before a rollout of theirs, and room for what they do along it.

    What stands in `before` once it has been learned from is what the next rollout begins with. None for other batches,
    and where no network remembers.
    """
    if not (table.network.remembers and isinstance(steps, RolloutSteps)):
        return None
    agents, length = steps.reward.shape
    shape = agents, length, *size(table)
    own = [name for name, role in table.roles.items() if role.recipe(table.network).remembers]
    lead = table.size, steps.num_envs
    return Remembered(
        before={name: room(table, table.memory, BEFORE + name, lead)[rows] for name in own},
        begins=F.pad(steps.broken.to(table.device)[:, : length - steps.num_envs], (steps.num_envs, 0)),
        after={name: torch.zeros(shape, dtype=table.dtype, device=table.device) for name in own},
        steps=table.network.steps,
    )


def telling(table: Table, transition: Transition) -> Transition:
    """A step of training with what the agents remembered before it, and whose that is; see `Population.telling`."""
    before = table.memory.pop(ACTED, None) if table.algorithm.replays else None
    if before is None or before.shape[:2] != np.shape(transition.reward):
        return transition
    owners = [(one.id, table.network.memory(one.genes)[1]) for one in table.individuals]
    by = np.array(owners)[:, None].repeat(before.shape[1], 1)
    told = before.numpy() if before.is_cpu else before
    return dataclasses.replace(transition, remembered=told, remembered_by=by)


def at_hand(sample: object, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What a batch of sequences says beside its fields, on the table's device; nothing of others."""
    if not isinstance(sample, ReplayedSteps):
        return {}
    own = {name: getattr(sample, name).to(device) for name in ("warm", "there", "ahead")}
    return {**own, "memory": sample.memory.to(device, dtype)}
