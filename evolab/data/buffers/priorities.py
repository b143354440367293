"""Priorities: stored transitions drawn in proportion to how wrong an agent was about them when it saw them last.

Each agent has priorities of its own, over experience that all share perhaps, since each is wrong about other things. Sums
of them lie in a tree, all agents' side by side, in which one descent finds the samples of all of them. Its numbers are
made of those below them whenever these change, and never adjusted by a difference: they follow from the priorities
alone, so that a run which was resumed draws what it would have drawn.

Source: Schaul et al. 2016, Prioritized Experience Replay (arXiv:1511.05952), proportional priorities; samples are drawn
one by one, not from equal shares of the sum, so that any number of them are an agent's batch.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

FAN = 32
"""Numbers that are summed in one. A descent through 100 000 transitions has four steps, each of a few small operations for
all agents together; with 2 it would have seventeen."""

LEAST = 1e-6
"""What an error of zero counts: what is known is rarely seen again, but not never."""


class Priorities:
    """Of every agent for every place of a buffer's pools, or of the pool that all share.

    Args:
        capacity: places.
        device: where they lie.

    Attributes:
        sizes: [P, capacity], of the errors when they were seen last, in units of return; 0 where nothing is stored.
        largest: [P], that was ever met by each agent, and 1 at least: what is new counts as much, to be seen at once.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.capacity, self.device = capacity, device
        self.sizes = torch.zeros(0, capacity, device=device)
        self.largest = torch.ones(0, device=device)
        self._exponent = torch.zeros(0, dtype=torch.float64, device=device)
        self._levels: list[Tensor] = []
        self._lost = torch.zeros(0, dtype=torch.bool, device=device)
        self._plant()

    def __len__(self) -> int:
        """P, agents that have any."""
        return len(self.sizes)

    def _plant(self) -> None:
        """The tree of sums, from the leaves up to a level of one line."""
        self._levels = []
        below = self.sizes.double().clamp(min=0.0).pow(self._exponent[:, None]) * (self.sizes > 0)
        while True:
            line = -(-below.shape[1] // FAN) * FAN
            level = below.new_zeros(len(below), line)
            level[:, : below.shape[1]] = below
            self._levels.append(level)
            if line == FAN:
                return
            below = level.unflatten(1, (-1, FAN)).sum(-1)

    def be_of(self, agents: int, stored: Sequence[Tensor]) -> None:
        """Have so many agents at least; to a new one all that is stored is new.

        Args:
            agents: P.
            stored: the places of each pool that hold something; of one pool where all share it.
        """
        if agents <= len(self):
            return
        before = len(self)
        more = self.sizes.new_zeros(agents - before, self.capacity)
        for row in range(before, agents):
            more[row - before, stored[row if len(stored) > 1 else 0].to(self.device)] = 1.0
        self.sizes = torch.cat([self.sizes, more])
        self.largest = torch.cat([self.largest, self.largest.new_ones(agents - before)])
        self._exponent = torch.cat([self._exponent, self._exponent.new_zeros(agents - before)])
        self._lost = torch.cat([self._lost, self._lost.new_zeros(agents - before)])
        self._plant()

    def follow(self, parents: Sequence[int]) -> None:
        """Give row i the priorities of row `parents[i]`, which has some."""
        rows = torch.as_tensor(list(parents), device=self.device)
        self.sizes, self.largest = self.sizes[rows], self.largest[rows]
        self._exponent, self._lost = self._exponent[rows], torch.zeros_like(self._lost[rows])
        self._levels = [level[rows] for level in self._levels]

    def fresh(self, rows: slice, start: int, count: int) -> None:
        """Places were written, `count` from `start` on and round the end: to these agents they are new."""
        for first, some in ((start, min(count, self.capacity - start)), (0, start + count - self.capacity)):
            if some <= 0:
                continue
            self.sizes[rows, first : first + some] = self.largest[rows, None]
            value = self.largest[rows].double().pow(self._exponent[rows])[:, None]
            self._levels[0][rows, first : first + some] = value
            low, high = first // FAN, (first + some - 1) // FAN + 1
            for below, level in zip(self._levels, self._levels[1:], strict=False):
                level[rows, low:high] = below[rows, low * FAN : high * FAN].unflatten(1, (-1, FAN)).sum(-1)
                low, high = low // FAN, (high - 1) // FAN + 1

    def draw(
        self, rows: slice, size: int, exponent: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Places, each in proportion to its priority to the power of `exponent`.

        Args:
            rows: of the agents, P.
            size: B, samples of each.
            exponent: [P]; 0 draws evenly.
            generator: of the draw.

        Returns:
            [P, B] places, and [P, B] the chance of each, float64.
        """
        asked = exponent.to(self.device, torch.float64)
        if not torch.equal(self._exponent[rows], asked):
            self._exponent[rows] = asked
            self._plant()
        count = rows.stop - rows.start
        chance = torch.rand(
            count, size, dtype=torch.float64, generator=generator, device=generator.device
        ).to(self.device)
        total = self._levels[-1][rows].sum(-1, keepdim=True)  # [P, 1]
        left, place = chance * total, torch.zeros(count, size, dtype=torch.int64, device=self.device)
        offset = torch.arange(FAN, device=self.device)
        for level in reversed(self._levels):
            line = (place * FAN).unsqueeze(-1) + offset  # [P, B, FAN]
            value = level[rows].gather(1, line.flatten(1)).view(line.shape)
            sums = value.cumsum(-1)
            # Below the sum of all, however the numbers were rounded: then something that counts is found.
            left = torch.minimum(left, sums[..., -1] * (1 - 1e-12))
            at = (sums <= left.unsqueeze(-1)).sum(-1, keepdim=True).clamp(max=FAN - 1)  # [P, B, 1]
            found = value.gather(-1, at).squeeze(-1)
            left = (left - (sums.gather(-1, at).squeeze(-1) - found)).clamp(min=0.0)
            place = place * FAN + at.squeeze(-1)
        return place, found / total

    def learn(self, rows: slice, place: Tensor, error: Tensor) -> None:
        """Take over how wrong these agents were, where they tell it.

        Args:
            rows: of the agents, P.
            place: [P, B], as they were drawn.
            error: [P, B], sizes of temporal-difference errors; -1 where nothing is told. What is not finite changes
                nothing, and is remembered for `take_lost`.

        Raises:
            TypeError: nothing is told of any.
        """
        if bool((error == -1).all()):
            raise TypeError(
                "an update told nothing of its temporal-difference errors, which priorities are made of: hand "
                "noted=batch.error to its gradient_step, or leave priority at 0."
            )
        error = error.to(self.device, torch.float32)
        sound = torch.isfinite(error) & (error >= 0)
        self._lost[rows] |= ~torch.isfinite(error).all(-1)
        size = torch.where(sound, error + LEAST, self.sizes[rows].gather(1, place))
        self.sizes[rows].scatter_(1, place, size)
        self.largest[rows] = torch.maximum(self.largest[rows], size.amax(-1))
        value = self.sizes[rows].gather(1, place).double().pow(self._exponent[rows, None])
        self._levels[0][rows].scatter_(1, place, value)
        offset = torch.arange(FAN, device=self.device)
        for below, level in zip(self._levels, self._levels[1:], strict=False):
            place = place // FAN
            line = (place * FAN).unsqueeze(-1) + offset
            total = below[rows].gather(1, line.flatten(1)).view(line.shape).sum(-1)
            level[rows].scatter_(1, place, total)

    def take_lost(self) -> list[int]:
        """Rows of agents whose errors were not finite since this was asked last."""
        if not len(self) or not bool(self._lost.any()):
            return []
        found = self._lost.nonzero().flatten().tolist()
        self._lost.zero_()
        return found

    def kept(self) -> Priorities:
        """A copy that learning does not change, to be saved."""
        copied = copy.copy(self)
        copied.sizes, copied.largest, copied._levels = self.sizes.clone(), self.largest.clone(), []
        return copied

    def tensors(self, places: Sequence[Tensor]) -> dict[str, Tensor]:
        """As a file has them: "sizes" [P, N], the oldest transition first, and "largest" [P].

        Args:
            places: [N] of what is stored, of each pool; of one where all share it.
        """
        found = self.sizes.new_zeros(len(self), max(len(one) for one in places))
        for row, own in enumerate(found):
            at = places[row if len(places) > 1 else 0]
            own[: len(at)] = self.sizes[row, at.to(self.device)]
        return {"sizes": found, "largest": self.largest}

    def restore(self, tensors: Mapping[str, Tensor], places: Sequence[Tensor]) -> None:
        """Take what `tensors` gave.

        Raises:
            ValueError: of another form, or no priorities.
        """
        expected = {"sizes": 2, "largest": 1}
        if {name: one.dim() for name, one in tensors.items()} != expected:
            raise ValueError(f"they are {sorted(tensors)}; sizes [P, N] and largest [P] are expected")
        sizes, largest = tensors["sizes"], tensors["largest"]
        stored = max(len(one) for one in places)
        if sizes.shape != (len(largest), stored) or (len(places) > 1 and len(sizes) > len(places)):
            raise ValueError(f"sizes are {tuple(sizes.shape)}; ({len(largest)}, {stored}) is expected")
        for name, one in tensors.items():
            if one.dtype != torch.float32 or not bool(torch.isfinite(one).all() & (one >= 0).all()):
                raise ValueError(f"{name} has values that are no sizes of errors: finite, and at least 0")
        self.be_of(len(sizes), [one[:0] for one in places])
        for row, own in enumerate(sizes):
            at = places[row if len(places) > 1 else 0]
            self.sizes[row, at.to(self.device)] = own[: len(at)].to(self.device)
        self.largest = largest.to(self.device, copy=True)
        self._plant()


def weights(chance: Tensor, stored: Tensor, importance: Tensor) -> Tensor:
    """[P, B]: what samples count that were drawn with a chance each, so that what is drawn often counts less.

    At 1 the mean of what is drawn is that of what is stored; at 0 all count alike. The learner has each agent's sum to 1.

    Args:
        chance: [P, B].
        stored: [P, 1], or [1, 1] for all, how many transitions were drawn from.
        importance: [P].

    Source: Schaul et al. 2016, section 3.4.

    >>> weights(torch.tensor([[0.5, 0.125]]), torch.tensor([[4.0]]), torch.tensor([1.0]))
    tensor([[0.5000, 2.0000]])
    """
    return (stored * chance).pow(-importance.to(chance)[:, None])
