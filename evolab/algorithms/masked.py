"""The contract of an algorithm that obeys masks: what the environment forbids now is never chosen."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from evolab.algorithms.base import Algorithm
from evolab.core.trees import Tree
from evolab.networks.batching.group import AgentGroup


class MaskedAlgorithm(Algorithm):
    """A learning rule that obeys masks: `mask`, [P, B, A] bool, is False for outputs whose actions are forbidden now.

    It is None where the environment gives no masks. What an update learns from has them too: see `Batch`.
    """

    @abstractmethod
    def act(self, agents: AgentGroup, observation: Tree, mask: Tensor | None = None) -> Tensor:
        """Greedy actions among those that are permitted; see `Algorithm.act`."""

    def value(self, agents: AgentGroup, observation: Tree, mask: Tensor | None = None) -> Tensor | None:
        """What is expected of acting from here on, where not everything is permitted; see `Algorithm.value`."""
        return None

    def explore(
        self,
        agents: AgentGroup,
        action: Tensor,
        memory: dict[str, Tensor],
        generator: torch.Generator,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Exploring actions among those that are permitted; see `Algorithm.explore`."""
        return action

    def sample(
        self,
        agents: AgentGroup,
        observation: Tree,
        memory: dict[str, Tensor],
        generator: torch.Generator,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Actions to learn from among those that are permitted; see `Algorithm.sample`."""
        if mask is None:  # a class that derives from it need not know of masks
            return super().sample(agents, observation, memory, generator)
        return self.explore(agents, self.act(agents, observation, mask), memory, generator, mask)
