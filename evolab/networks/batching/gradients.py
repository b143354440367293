"""A network's passes within a loss that autograd differentiates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evolab.core.trees import Tree
from evolab.networks.kernel import Backward, Kernel


class TrackedPass:
    """The pass of one bucket, whose parameters a loss is differentiated by.

    Autograd stops at the outputs; from there the kernel goes on by itself, which spares PPO's update 2% to 7%
    of its time (measured). Passes of a single member, or with extra inputs that need a gradient, are autograd's.
    """

    def __init__(self, kernel: Kernel, flat: Tensor) -> None:
        """`flat` are the bucket's parameters [P, M, N]."""
        self.kernel, self.flat = kernel, flat
        self.passes: list[tuple[Tensor, Backward]] = []
        self.leaf: Tensor | None = None

    def __call__(
        self, observation: Tree = (), extra: Tensor | None = None, member: int | None = None
    ) -> Tensor:
        """As the kernel's own pass."""
        if member is not None or (extra is not None and extra.requires_grad):
            self.leaf = self.flat.detach().requires_grad_() if self.leaf is None else self.leaf
            return self.kernel(self.leaf, observation, extra, member)
        with torch.no_grad():
            out, backward = self.kernel.vjp_parameters(self.flat, observation, extra)
        self.passes.append((out, backward))
        return out.requires_grad_()

    def leaves(self) -> list[Tensor]:
        """What the loss is to be differentiated by: the outputs of every pass.

        Raises:
            ValueError: the loss made no pass.
        """
        leaves = [out for out, _ in self.passes] + ([] if self.leaf is None else [self.leaf])
        if not leaves:
            raise ValueError(
                "the loss does not use the network that it is to train; call the pass it is given."
            )
        return leaves

    def gradient(self, reached: Sequence[Tensor]) -> Tensor:
        """[P, M, N], from the gradients of the leaves."""
        total: Tensor | None = None if self.leaf is None else reached[-1]
        for (_, backward), grad in zip(self.passes, reached, strict=False):
            own = backward(grad)
            total = own if total is None else total + own
        assert total is not None
        return total
