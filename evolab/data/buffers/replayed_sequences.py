"""Sequences drawn from a buffer: steps of one episode in their order, for networks that remember.

A sequence lies around a transition that was drawn, which stands anywhere in it by chance, and never leaves its episode: so
first and last steps are learned from half as often as others at least. Before the steps that are learned from come some that
only warm up what is remembered, as far back as the episode is stored.

Source: Kapturowski et al. 2019, Recurrent Experience Replay in Distributed Reinforcement Learning, section 3: stored states
and burn-in. There sequences begin on a grid, and overlap by half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from evolab.core.experience import DRAWN, Batch
from evolab.core.sampling import Sampling, Sequencing
from evolab.data.buffers.episode_storage import OWNER, REMEMBERED, EpisodePools
from evolab.data.buffers.n_step import summed_ahead

Neighbour = Callable[[Tensor], Tensor]
"""From rows to those before, or behind them, in their episodes; the same row where there is none."""


@dataclass
class ReplayedSteps(Batch):
    """Steps of N sequences of each agent; B is T * N, those of a step side by side.

    Of the T steps the first ones, `burn_in`, only warm up what is remembered, some more are learned from, and the last ones
    are those that their returns look ahead to. Where an episode is shorter, steps are repeated, which count for nothing.

    Attributes:
        memory: [P, N, C, H], what was remembered before the first step; zeros where that is not known.
        warm: [P, N], how many of the first steps are there.
        there: [P, T, N] of the steps that are learned from, True where one is there and not repeated.
        ahead: [P, T * N] of these, how many steps further on the last one lies that the return of each sums.
        rows: [P, T * N] of these, where in the buffer they lie.
        burn_in: steps that only warm up.
        asked: the most that are learned from: an agent has as many sequences as its batch size has such stretches.
    """

    in_sequences: ClassVar[bool] = True

    memory: Tensor = None  # type: ignore[assignment]  # a dataclass wants defaults behind defaults
    warm: Tensor = None  # type: ignore[assignment]
    there: Tensor = None  # type: ignore[assignment]
    ahead: Tensor = None  # type: ignore[assignment]
    rows: Tensor = None  # type: ignore[assignment]
    burn_in: int = 0
    asked: int = 1

    @property
    def told(self) -> Tensor:
        """[P, T * N] of what is learned from, `error` by rows: a step that is repeated says what it does where it is."""
        last = self.there.sum(1, keepdim=True) - 1  # [P, 1, N]
        steps = torch.arange(self.there.shape[1], device=last.device)[:, None]
        assert self.error is not None
        error = self.error.unflatten(1, self.there.shape[1:])
        return error.gather(1, torch.minimum(steps, last).to(error.device)).flatten(1)


class Windows(NamedTuple):
    """Where sequences lie.

    Attributes:
        rows: [T, U, P, N], of the buffer.
        first: [U, P, N], the row that each begins with.
        warm: [U, P, N], steps before the first one that is learned from.
        left: [U, P, N], steps from that one on to the last that is there.
        burn_in: steps that only warm up, at most.
        steps: that are learned from, at most.
    """

    rows: Tensor
    first: Tensor
    warm: Tensor
    left: Tensor
    burn_in: int
    steps: int


def windows(
    at: Tensor, how: Sequencing, beyond: int, before: Neighbour, behind: Neighbour, generator: torch.Generator
) -> Windows:
    """Sequences around some transitions.

    Args:
        at: [U, P, N], their rows.
        how: what the sequences are like.
        beyond: steps that returns look ahead to, behind those that are learned from.
        before: rows before rows.
        behind: rows behind rows.
        generator: of where in its sequence each transition stands.
    """
    device = generator.device
    place = torch.randint(how.steps, at.shape, generator=generator, device=device).to(at.device)
    first, gone = at, torch.zeros_like(at)
    for step in range(how.steps - 1 + how.burn_in):
        earlier = before(first)
        goes = (earlier != first) & (step < place + how.burn_in)
        first, gone = torch.where(goes, earlier, first), gone + goes
    warm = gone - torch.minimum(gone, place)
    path, total, row = [first], torch.ones_like(at), first
    for length in range(1, how.burn_in + how.steps + beyond):
        later = behind(row)
        total = total + ((later != row) & (total == length))
        path.append(later)
        row = later
    left = total - warm
    burn_in, steps = how.burn_in, how.steps
    if (
        at.device.type == "cpu"
    ):  # what nobody needs is left out; to ask another device would be to wait for it
        burn_in, steps = int(warm.max()), min(steps, int(left.max()))
        beyond = min(beyond, max(0, int(left.max()) - steps))
    place = torch.arange(burn_in + steps + beyond, device=at.device).view(-1, 1, 1, 1)
    last = torch.where(place < burn_in, warm - 1, total - 1)
    place = torch.where(place < burn_in, place, place - burn_in + warm)
    rows = torch.stack(path).gather(0, torch.minimum(place, last).clamp(min=0))
    return Windows(rows, first, warm, left, burn_in, steps)


def sequences_in(size: int, how: Sampling) -> int:
    """N: sequences that have so many steps together, one at least; or so many single transitions."""
    return size if how.sequences is None else max(1, size // how.sequences.steps)


def sequences_at(
    buffer: EpisodePools, at: Tensor, how: Sampling, generator: torch.Generator
) -> Iterator[ReplayedSteps]:
    """Sequences around some transitions, for one update after another.

    Args:
        buffer: that holds them.
        at: [U, P, N], their rows.
        how: samples are drawn.
        generator: of where in its sequence each transition stands.

    Raises:
        ValueError: hindsight is asked for.
    """
    form, ahead = how.sequences, how.lookahead
    assert form is not None
    if how.hindsight is not None:
        raise ValueError(
            "hindsight is above 0, and the network remembers: a goal of a single transition would not be the one that is "
            "remembered. Leave hindsight at 0, or pass a network that does not remember."
        )
    most = 1 if ahead is None else ahead.most
    found = windows(at, form, most - 1, buffer.previous_of, buffer.next_of, generator)
    burn_in, steps = found.burn_in, found.steps
    for rows, first, warm, left in zip(found.rows.unbind(1), *map(_each, found[1:4]), strict=True):
        index = rows.transpose(0, 1).flatten(1)  # [P, T * N]
        lead, flat = tuple(index.shape), index.flatten()
        if ahead is None:
            fields = buffer.taken(flat, (*DRAWN, *buffer.masks), lead)
        else:
            last, reward, discount = _returns(buffer, index, how)
            fields = buffer.taken(flat, ("observation", "action"), lead)
            fields |= buffer.taken(last.flatten(), ("next_observation", "terminated", *buffer.masks), lead)
            fields |= {"reward": reward, "discount": discount}
        place = torch.arange(steps, device=at.device)[:, None]  # [T, 1], of what is learned from
        beyond = (left[:, None] - 1 - place).clamp(min=0)  # [P, T, N]
        furthest = 0 if ahead is None else ahead.steps.to(beyond)[:, None, None] - 1
        yield ReplayedSteps(
            **fields,
            memory=remembered(buffer, first, form),
            warm=warm,
            there=place < left[:, None],
            ahead=beyond.clamp(max=furthest).flatten(1),
            rows=rows[burn_in : burn_in + steps].transpose(0, 1).flatten(1),
            burn_in=burn_in,
            asked=form.steps,
        )


def remembered(buffer: EpisodePools, first: Tensor, form: Sequencing) -> Tensor:
    """[P, N, C, H]: what agents remember before some steps.

    That is what was remembered when they were taken, where that was the agent itself, or its parent, with as many units;
    where agents do not share their experience all of it is their line's. Of others nothing is known, whose units mean
    something else.

    Args:
        buffer: that holds the steps.
        first: [P, N], their rows.
        form: of sequences.
    """
    cells, units = form.memory
    if REMEMBERED not in buffer.fields:
        return torch.zeros(*first.shape, cells, units, device=first.device)
    stored = buffer.taken(first.flatten(), (REMEMBERED, OWNER), tuple(first.shape))
    owner, width = stored[OWNER].unbind(-1)  # [P, N]
    own, parent, needed = form.readers.to(first.device).unsqueeze(-1).unbind(1)  # [P, 1]
    known = (owner == own) | (owner == parent) | (buffer.pools > 1)
    memory = stored[REMEMBERED]
    known &= (width == needed) & torch.isfinite(memory).flatten(2).all(-1)  # of who diverged nothing is known
    memory = F.pad(memory, (0, max(0, units - memory.shape[-1])))[..., :units]
    return torch.where(known[..., None, None], memory, 0.0)


def _each(value: Tensor) -> tuple[Tensor, ...]:
    """Of one update after another."""
    return value.unbind(0)


def _returns(buffer: EpisodePools, index: Tensor, how: Sampling) -> tuple[Tensor, Tensor, Tensor]:
    """The rows that returns look ahead to, those returns, and what the values behind them are discounted by."""
    store, ahead = buffer.fields["reward"], how.lookahead
    assert isinstance(store, Tensor)
    assert ahead is not None
    return summed_ahead(index, ahead, lambda rows: store[rows], buffer.next_of)
