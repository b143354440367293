"""What a buffer is: where the experience of a population lies until it is learned from."""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from evolab.core.experience import Batch, Episodes, Transition
from evolab.core.goals import Goals
from evolab.core.sampling import Sampling
from evolab.core.trees import Tree

AT_ONCE = 8
"""Updates whose samples are drawn together: what an agent with eight environments owes for one vector step."""

WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.float64}
"""What torch can store and copy, but not index, and what holds it."""


def as_kept(leaf: ArrayLike) -> Tensor:
    """An entry of a transition as a tensor that can be drawn from."""
    tensor = torch.as_tensor(leaf)
    return tensor.to(WIDER[tensor.dtype]) if tensor.dtype in WIDER else tensor


def whole_number(name: str, value: object) -> int:
    """The size of a buffer, of at least 1.

    Raises:
        ValueError: it is another number, or none.
    """
    number = 0.0 if isinstance(value, bool) or not isinstance(value, numbers.Real) else float(value)
    if not (1 <= number < math.inf and number.is_integer()):
        raise ValueError(f"{name} is {value!r}; a whole number of at least 1 is expected.")
    return int(number)


class Settled:
    """What a buffer is made with and stays: what is stored lies by it.

    Args:
        checked: gives the value, of its name and of what came, or refuses it.
    """

    def __init__(self, checked: Callable[[str, object], object] = whole_number) -> None:
        self._checked = checked

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.kept = name, "_" + name

    def __get__(self, buffer: object, owner: type) -> Any:
        return self if buffer is None else vars(buffer)[self.kept]

    def __set__(self, buffer: object, value: object) -> None:
        kind = type(buffer).__name__
        if self.kept in vars(buffer):
            raise AttributeError(
                f"{self.name} of a {kind} stays what it is. Make another one: buffer=ev.{kind}({self.name}={value!r}), "
                "for another experiment."
            )
        vars(buffer)[self.kept] = self._checked(f"{kind}: {self.name}", value)


class Buffer(ABC):
    """Experience that a population learns from. The defaults are those of one pool that all agents share.

    Attributes:
        on_policy: True where it holds steps of the agents' present policies alone, which are used up
            by learning; for algorithms that say the same.
        shared: True where everybody learns from what anybody has stored.
        least_steps: of each environment that have to be there before it is time to learn.
        recordable: True where `batches` may be recorded as a CUDA graph and replayed; see `recording_key`.
        device: where it keeps things; None until that is decided.
    """

    on_policy: ClassVar[bool] = False
    shared: bool = True
    least_steps: int = 1
    recordable: bool = False
    device: torch.device | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Transitions (episodes, in language environments) that each agent can learn from."""

    @abstractmethod
    def add(self, transition: Transition) -> int:
        """Store one step of all environments, a `Transition` [P, E] or [B]; gives the number of rows stored."""

    @abstractmethod
    def batches(
        self,
        rows: slice,
        size: int,
        updates: int,
        generator: torch.Generator,
        how: Sampling | None = None,
    ) -> Iterator[Batch | Episodes]:
        """What some agents learn from, in the environment's own ranges.

        Args:
            rows: of these agents, which are P here.
            size: B, samples of each.
            updates: for so many updates in a row.
            generator: of every draw.
            how: they are drawn, told only where one transition is not like another.

        Yields:
            a batch [P, B, ...] for one update after another, or one [U, P, B, ...] for several.
        """

    @property
    def options(self) -> dict[str, Any]:
        """What it was made with, as plain values."""
        return {}

    def place_on(self, device: torch.device) -> None:
        """Keep experience on this device, unless the user has said where."""
        self.device = device if self.device is None else self.device

    def ready(self, least: int) -> bool:
        """True when it is time to learn, given the least number of transitions that an update takes."""
        return len(self) >= least

    def require(self, least: int, own_steps: Sequence[float]) -> None:
        """Raise where learning from it now would be a mistake of the caller's.

        Args:
            least: as in `ready`.
            own_steps: of each agent, the steps that it has taken itself.

        Raises:
            ValueError: it is not ready, and does not say itself when it is.
        """
        if not self.ready(least):
            raise ValueError(
                f"the buffer holds {len(self)} transitions, fewer than the smallest batch size {least}. "
                f"Fill it first: exp.fill({max(1000, least)})."
            )

    def consumed(self) -> None:
        """Note that every agent has learned from what was ready."""
        return

    def take_diverged(self) -> list[int]:
        """Rows of agents whose errors were no finite numbers since this was asked last, where anybody looks."""
        return []

    def follow(self, parents: Sequence[int]) -> None:
        """Move the experience that agents keep for themselves: row i now has that of row `parents[i]`."""
        return

    def hear_of(self, goals: Goals | None) -> None:
        """Know what the environment says of goals before its first step comes; nothing to do where none are changed."""
        return

    def begin_generation(self) -> None:
        """Drop what a generation that failed may have left behind."""
        return

    def end_generation(self, least: int) -> None:
        """Be ready with what there is if that is at least `least` transitions: no further step will come."""
        return

    def observations(self, count: int, generator: torch.Generator) -> Tree | None:
        """Up to `count` stored observations, [B, ...] leaves, to measure changes of a policy on; None without any."""
        return None

    # Recordings -------------------------------------------------------------------------------

    def recording_key(self) -> Hashable:
        """What a recording of `batches` is bound to: equal keys, equal addresses and sizes."""
        return self

    def tell_device(self) -> None:
        """Before a replay: let the device know what has been added, which a recording cannot be told by a number."""
        return
