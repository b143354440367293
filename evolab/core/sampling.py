"""How the samples of some agents are drawn from a buffer, where that is otherwise than one transition like another."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Lookahead:
    """How far the returns of some agents look ahead.

    Attributes:
        steps: [P], rewards that are summed, at most, before the value of the state that they led to.
        discount: [P], of a step.
        most: the largest of `steps`, known without asking the device.
    """

    steps: Tensor
    discount: Tensor
    most: int


@dataclass(frozen=True)
class Sequencing:
    """What the sequences are like that some agents learn from, whose networks remember.

    Attributes:
        steps: that are learned from, at most.
        burn_in: steps before them that only warm up what is remembered, at most.
        memory: C and H of what is remembered.
        readers: [P, 3], whose stored memory each agent can go on with: its id, its parent's (or its own again), and how
            many units of its network remember.
    """

    steps: int
    burn_in: int
    memory: tuple[int, int]
    readers: Tensor


@dataclass(frozen=True)
class Sampling:
    """How the samples of some agents are drawn, where that is otherwise than one transition like another.

    Attributes:
        lookahead: how far returns look ahead; None for one step.
        hindsight: [P], the share of samples that are given a goal which was reached; None for none.
        priority: [P], the exponent of priorities; None where all are drawn evenly.
        importance: [P], the exponent of the weights that correct for priorities.
        sequences: what they are like where samples are steps of sequences; None for single transitions.
    """

    lookahead: Lookahead | None = None
    hindsight: Tensor | None = None
    priority: Tensor | None = None
    importance: Tensor | None = None
    sequences: Sequencing | None = None

    @property
    def recordable(self) -> bool:
        """True where a device can draw so by itself."""
        return self.hindsight is None and self.priority is None and self.sequences is None
