"""Learned numbers that no observation goes into, such as the logarithm of a temperature.

They are a network like the others, so that they are rows of the table: selected, copied, saved
and moved by Adam as everything else, and left alone by mutations of the architecture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evolab.core.trees import Tree
from evolab.networks.base import Axes, Axis, Layout, Role, State
from evolab.networks.fixed import FixedNetwork, NoGenes
from evolab.networks.kernel import Backward, Kernel


@dataclass(frozen=True)
class Scalars(FixedNetwork):
    """`Role.outputs` numbers per agent and member; a role's own `network`.

    Args:
        start: the value that all of them start from.
        end: where given, each agent's is drawn uniformly between `start` and this, once for all its numbers.
    """

    start: float = 0.0
    end: float | None = None

    def axes(self, role: Role, genes: NoGenes) -> Axes:
        """One parameter, "value" [O]."""
        return {"value": (Axis(role.outputs),)}

    def initialise(self, role: Role, genes: NoGenes, generator: torch.Generator) -> State:
        """All alike: at the start, or somewhere in the range."""
        value = torch.full((role.outputs,), self.start)
        if self.end is None:
            return {"value": value}
        return {"value": value + (self.end - self.start) * torch.rand((), generator=generator)}

    def kernel(self, role: Role, genes: Sequence[NoGenes], layout: Layout) -> ScalarsKernel:
        """The numbers themselves."""
        return ScalarsKernel(role.ensemble_size)

    def cost(self, role: Role, genes: NoGenes) -> float:
        """Nothing is multiplied."""
        return 0.0

    def module(self, role: Role, genes: NoGenes, state: State) -> nn.Module:
        """There is none.

        Raises:
            TypeError: always.
        """
        raise TypeError("Scalars take no observation, so they are no module.")

    def describe(self, genes: NoGenes) -> str:
        """What they are."""
        return "scalars"


class ScalarsKernel(Kernel):
    """`(flat [P, M, O]) -> [P, O]`, or [P, M, O] for several members."""

    def __init__(self, members: int) -> None:
        self.members = members

    def __call__(
        self, flat: Tensor, observation: Tree = (), extra: Tensor | None = None, member: int | None = None
    ) -> Tensor:
        """The numbers, whatever is observed."""
        return flat[:, member or 0] if self.members == 1 or member is not None else flat

    def vjp_parameters(
        self, flat: Tensor, observation: Tree = (), extra: Tensor | None = None
    ) -> tuple[Tensor, Backward]:
        """The numbers' gradient is their own."""
        # Cloned: a gradient may be an expanded view, and the optimizer writes into it.
        return self(flat.detach()), lambda grad: grad.reshape(flat.shape).clone()
