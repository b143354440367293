"""The contract of a loss: what one gradient step brings down, as a function of a network's outputs.

`evolab.algorithms.losses` has those that several algorithms share; an algorithm's own stand in its file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Loss(ABC):
    """A function of a network's outputs: [P, B, O], or [P, M, B, O] of an ensemble, to one number per agent.

    A subclass writes the formula, `__call__`. It may write the gradient out as well, which spares autograd's
    share of an update (a tenth to a third of a small network's); the tests hold the two against each other.
    """

    @abstractmethod
    def __call__(self, out: Tensor) -> Tensor:
        """The losses [P], differentiable in the outputs."""

    def gradient(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """The losses [P], and how they change with the outputs, in their shape."""
        with torch.enable_grad():
            leaf = out.detach().requires_grad_()
            losses = self(leaf)
            slope = torch.autograd.grad(losses.sum(), leaf)[0]
        return losses.detach(), slope

    def distance(self, out: Tensor) -> Tensor:
        """[P, B]: how far outputs are from what they are compared with, the mean over an ensemble; -1 where none weighs.

        Raises:
            NotImplementedError: the loss compares them with nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} has no distance; priorities need one.")


@dataclass(frozen=True, eq=False)
class Regression(Loss):
    """A loss that compares one output with a target, which some kernels bring down in a single call.

    Attributes:
        target: [P, B], in units of the outputs; each member of an ensemble learns the same.
        weight: [P, B], of each sample in its agent's loss.
        choice: [P, B] int64, the output that is compared; None where there is one output.
        huber: errors beyond it count linearly, with the slope that the square has there; None for no such limit.
    """

    target: Tensor
    weight: Tensor
    choice: Tensor | None = None
    huber: float | None = None
