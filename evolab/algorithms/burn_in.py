"""Stored sequences for networks that remember: what they know where learning begins, and where its targets look to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from evolab.core.experience import Batch, Remembered
from evolab.core.trees import Tree, map_leaves
from evolab.data.buffers.replayed_sequences import ReplayedSteps
from evolab.networks.sequences import Sequences

Reader = Callable[[Tree], Tensor]
"""The pass of a network."""


def warmed_up(batch: Batch, readers: Mapping[str, Reader]) -> Batch:
    """The steps of sequences that are learned from, with what each reader remembers before and after them.

    A reader begins with what was stored, and goes through the steps that only warm it up, from which no gradient comes:
    what was stored is of weights that have moved since, or of nobody. It then goes through all that follows. After a step
    it remembers what it does where the return of that step looks to, so that `seen_next` gives the value there.

    Args:
        batch: of sequences.
        readers: by the name that `seen` and `seen_next` ask for; what they compute has no gradient.

    Source: Kapturowski et al. 2019, Recurrent Experience Replay in Distributed Reinforcement Learning, section 3.
    """
    assert isinstance(batch, ReplayedSteps)
    before, after = {}, {}
    with torch.no_grad():
        for name, read in readers.items():
            before[name], after[name] = _along(batch, read)
    count = batch.there.shape[2]
    learned = slice(batch.burn_in * count, batch.burn_in * count + batch.ahead.shape[1])

    def cut(leaf: Tensor) -> Tensor:
        return leaf[:, learned]

    given = {name: getattr(batch, name) for name in ("discount", "action_mask", "next_action_mask")}
    return Batch(
        observation=map_leaves(cut, batch.observation),
        action=cut(batch.action),
        reward=cut(batch.reward),
        next_observation=map_leaves(cut, batch.next_observation),
        terminated=cut(batch.terminated),
        weight=cut(batch.weight),
        grain=batch.grain,
        **{name: None if value is None else cut(value) for name, value in given.items()},
        remembered=Remembered(before, (), after),
        error=batch.error,
    )


def _along(batch: ReplayedSteps, read: Reader) -> tuple[Tensor, Tensor]:
    """What a reader remembers before what is learned from, [P, N, C, H], and where each step looks to, [P, B, C, H]."""
    memory, count = batch.memory, batch.memory.shape[1]
    if batch.burn_in:
        known = torch.cat(
            [memory.unsqueeze(1), _unrolled(batch, slice(batch.burn_in * count), memory, read)], 1
        )
        memory = _at(known, batch.warm.unsqueeze(1)).squeeze(1)
    known = _unrolled(batch, slice(batch.burn_in * count, None), memory, read)  # [P, T, N, C, H]
    place = torch.arange(batch.there.shape[1], device=memory.device)[:, None]
    last = place + batch.ahead.unflatten(1, (-1, count))  # [P, T, N]
    return memory, _at(known, last).flatten(1, 2)


def _unrolled(batch: ReplayedSteps, steps: slice, memory: Tensor, read: Reader) -> Tensor:
    """[P, T, N, C, H]: what a reader remembers after each of some steps."""
    observation = map_leaves(lambda leaf: leaf[:, steps], batch.observation)
    length = batch.reward[:, steps].shape[1]
    after = memory.new_zeros(len(memory), length, *memory.shape[2:])
    read(Sequences(observation, memory, (), after))
    return after.unflatten(1, (-1, memory.shape[1]))


def _at(known: Tensor, step: Tensor) -> Tensor:
    """[P, U, N, C, H]: of steps [P, T, N, C, H] those of these numbers [P, U, N]."""
    return known.gather(1, step[..., None, None].expand(*step.shape, *known.shape[3:]))
