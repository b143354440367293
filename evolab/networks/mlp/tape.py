"""The passes of one loss, and the gradient that comes out of them in one flat tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Tape:
    """The passes of one loss over the same parameters, whose gradient is then written into one flat tensor.

    Autograd differentiates what lies between the outputs and the loss; the perceptron's own part
    is done without it, which spares a node, its views and their gradients for each pass.
    """

    def __init__(self, plan: Any, flat: Tensor) -> None:
        """`plan` records passes over `flat` [C, M, N]: its `record` gives outputs and what goes backward from them."""
        self.plan, self.flat = plan, flat
        self.several = plan.role.ensemble_size > 1
        self.passes: list[tuple[Tensor, Any]] = []
        self.leaf: Tensor | None = None

    def __call__(self, observation: Any, extra: Tensor | None = None, member: int | None = None) -> Tensor:
        """As the plan's own pass."""
        if (extra is not None and extra.requires_grad) or (member is not None and self.several):
            self.leaf = self.flat.detach().requires_grad_() if self.leaf is None else self.leaf
            return self.plan(self.leaf, observation, extra, member)  # type: ignore[no-any-return]
        with torch.no_grad():
            out = self.run(observation, extra)
        out.requires_grad_()
        return out.unflatten(0, (len(self.flat), -1)) if self.several else out

    def run(self, observation: Any, extra: Tensor | None = None) -> Tensor:
        """[R, B, O], outside of autograd; remembered."""
        out, kept = self.plan.record(self.flat, observation, extra)
        self.passes.append((out, kept))
        return out  # type: ignore[no-any-return]

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
        """[C, M, N], from the gradients of the leaves."""
        total: Tensor | None = None if self.leaf is None else reached[-1]
        for (_, kept), grad in zip(self.passes, reached, strict=False):
            gradient, _ = kept.backward(grad, True, False)
            own = gradient.view(self.flat.shape)
            total = own if total is None else total.add_(own)
        assert total is not None
        return total
