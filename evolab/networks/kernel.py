"""The contract of a kernel: the compiled pass of one network for all agents of a bucket.

A network makes it once per layout (`Network.kernel`), and it then only runs. A subclass writes `__call__`;
everything else has a default that autograd and torch's own operations answer for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from evolab.core.trees import Tree
from evolab.networks.adam import AdamState
from evolab.networks.genes import Genes
from evolab.networks.loss import Regression
from evolab.networks.token_cache import Cache

Backward = Callable[[Tensor], Tensor]
"""From the gradient of a pass's outputs to that of what it was differentiated by."""


class Kernel(ABC):
    """The batched pass of one role.

    Attributes:
        noises: numbers that its largest agent's noise is made of; 0 where its layers are not noisy.
    """

    noises: int = 0

    @abstractmethod
    def __call__(
        self, flat: Tensor, observation: Tree = (), extra: Tensor | None = None, member: int | None = None
    ) -> Tensor:
        """Outputs of all agents and ensemble members, differentiable by autograd.

        Args:
            flat: [P, M, N], the bucket's parameters.
            observation: batch of observations, [P, B, ...] leaves.
            extra: [P, B, E], further inputs, such as the action that a critic values.
            member: compute this member of the ensemble alone.

        Returns:
            [P, M, B, O], or [P, B, O] where there is one member or `member` is given.
        """

    def decode(self, flat: Tensor, tokens: Tensor, cache: Cache) -> Tensor:
        """Of networks that read tokens: outputs [P, B, T, O] of tokens [P, B, T] that follow those in the cache.

        Raises:
            TypeError: the network reads no tokens.
        """
        raise TypeError(f"{type(self).__name__} reads no tokens, so there is nothing to decode.")

    def vjp_parameters(
        self, flat: Tensor, observation: Tree = (), extra: Tensor | None = None
    ) -> tuple[Tensor, Backward]:
        """The outputs of all members, and a function from their gradient to that of the parameters [P, M, N]."""
        leaf = flat.detach().requires_grad_()
        with torch.enable_grad():
            out = self(leaf, observation, extra)
        return out.detach(), lambda grad: torch.autograd.grad(out, leaf, grad)[0]

    def vjp_extra(
        self, flat: Tensor, observation: Tree, extra: Tensor, member: int = 0
    ) -> tuple[Tensor, Backward]:
        """The outputs [P, B, O] of one member, and a function from their gradient to that of `extra` [P, B, E]."""
        leaf = extra.detach().requires_grad_()
        with torch.enable_grad():
            out = self(flat.detach(), observation, leaf, member)
        return out.detach(), lambda grad: torch.autograd.grad(out, leaf, grad)[0]

    def regress(
        self, state: AdamState, observation: Tree, extra: Tensor | None, loss: Regression
    ) -> Tensor | None:
        """One Adam step on a regression in a single call: the losses [P]; None where this kernel has none."""
        return None

    def limit(self, length: int, sizes: Sequence[int] | None) -> None:
        """Of batches of this length only the first `sizes` [P] samples are each agent's own; None for all.

        The others weigh nothing. A kernel may leave them out, and give zeros for them.
        """
        return None

    def disturb(self, noise: Tensor | None, scale: Tensor | None = None) -> None:
        """Until None comes, compute with noise in the weights; see `networks.noisy.noise.disturbed`.

        Args:
            noise: [P, N], factors of each agent's noise.
            scale: [P], what it is multiplied by.
        """
        return None

    def share_inputs(self, cache: dict[int, object] | None) -> None:
        """Until None comes, observations do not change: what is made of one may be kept here, by its id."""
        return None

    def give_back(self, gradient: Tensor) -> None:
        """A gradient [P, M, N] of `vjp_parameters` is not needed any more: its memory may be used again."""
        return None

    def forget(self) -> None:
        """Drop memory that was given back: what comes next is recorded, and must share it with nothing."""
        return None

    def form(self, genes: Sequence[Genes]) -> object:
        """What decides its operations: kernels of one network and equal form compute alike.

        Args:
            genes: of the bucket's agents, as they are now.
        """
        return list(genes)
