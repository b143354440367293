"""Running normalisation: observations and rewards on one scale, by statistics that are rows of the table.

An agent's statistics of observations are of what it learns from: the batches that it draws from experience in common,
its own rollouts, recorded data. They are frozen wherever it only acts. Buffers keep observations as they came, so that
statistics can go on, and networks see them through `Normaliser.standard`. The first batch that an agent ever sees is
taken in before it is used and all others after, so that a rollout is learned from on the scale that it was acted on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, MutableMapping
from math import prod
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import Algorithm
from evolab.core import checks
from evolab.core.experience import Batch, Transition
from evolab.core.space_trees import leaf_spaces, map_space
from evolab.core.trees import Tree, map_leaves, to_tensor
from evolab.networks.observations import holds_vector

WORDS = ("observations", "returns", "auto")
"""What can be normalised; "auto" stands for those numbers of observations that need it."""

NAME = "normaliser"
"""Of the statistics, among the tensors of an agent."""

LIMIT = 10.0
"""Deviations at which what networks see and learn from is cut, as is usual."""

EPSILON = 1e-8
"""Added to a variance."""

MEMORY = 1e6
"""Samples after which older ones fade: experience that is replayed fades as well, and counts stay exact."""

PLAIN = 0.1, 5.0
"""Root mean squares of a number that networks learn from as it is, for "auto"; wider bounds are looked at."""

Scales = tuple[Tensor, Tensor, Tensor]
"""Centre, factor and limit of every number, [..., F] each."""


def words_of(normalise: object, algorithm: Algorithm) -> tuple[str, ...]:
    """What is to be normalised, in the order of `WORDS`.

    Args:
        normalise: True for all that the algorithm can have, False or None for nothing, a word or several of `WORDS`.
        algorithm: whose agents see it.

    Raises:
        ValueError: an unknown word, or returns where agents earn none while they learn.
        TypeError: neither words nor True or False.
    """
    if normalise is None or isinstance(normalise, bool):
        return algorithm.regime.normalisable if normalise else ()
    given = (normalise,) if isinstance(normalise, str) else normalise
    if not isinstance(given, Collection) or not all(isinstance(word, str) for word in given):
        raise TypeError(f"normalise is {normalise!r}; True, False or some of {', '.join(WORDS)} is expected.")
    for word in given:
        if word not in WORDS:
            raise checks.unknown("word for normalise", word, WORDS)
    if "returns" in given and "returns" not in algorithm.regime.normalisable:
        raise ValueError(
            f"normalise: {algorithm.name} learns from recorded data, and returns are measured while agents act. "
            "Pass normalise='observations', and scale the rewards of the data."
        )
    return tuple(word for word in WORDS if word in given)


class Normaliser:
    """What of observations and rewards is brought to one scale, and how.

    Statistics are float64 [P, 4, F]: how many samples, their mean, their variance, and 1 where the number is
    normalised.

    Args:
        space: of one observation.
        words: of `WORDS`.

    Attributes:
        fresh: statistics of a newborn agent by name, [4, F] of "observation" and [4, 1] of "return", as wanted.

    Raises:
        TypeError: observations are to be normalised and have no numbers for it.
    """

    def __init__(self, space: spaces.Space, words: tuple[str, ...]) -> None:
        self.space, self.words = space, words
        self.whole = "observations" in words
        width, self._places = 0, list[slice | None]()
        for _, leaf in leaf_spaces(space):
            size = prod(leaf.shape or ()) if self._takes(leaf) else 0
            self._places.append(slice(width, width + size) if size else None)
            width += size
        if self.whole and not width:
            raise TypeError(
                f"normalise: {space} has no numbers to normalise; vectors (Box) are, pictures, bytes and choices have "
                "scales of their own. Pass normalise='returns', or leave it out."
            )
        self.fresh: dict[str, Tensor] = {}
        if width:
            self.fresh["observation"] = _fresh(width, chosen=self.whole)
        if "returns" in words:
            self.fresh["return"] = _fresh(1)

    def _takes(self, leaf: spaces.Space) -> bool:
        if not isinstance(leaf, spaces.Box) or not holds_vector(leaf):
            return False
        if self.whole:
            return True
        widest = np.abs(np.stack([leaf.low, leaf.high]).astype(float)).max(initial=0.0)
        return "auto" in self.words and bool(widest > PLAIN[1])

    # What networks see ------------------------------------------------------------------------

    def standard(self, observation: Tree, scales: Scales, leading: int) -> Tree:
        """Observations on one scale, in the form of their space.

        Args:
            observation: tensors with `leading` batch axes before the space's own.
            scales: as `scales_of` gives them, [F] or with axes that fit the last batch axes.
            leading: how many axes are batch axes.
        """
        places = iter(self._places)

        def leaf(space: spaces.Space, value: Tensor) -> Tensor:
            place = next(places)
            if place is None:
                return value
            centre, factor, limit = (one[..., place] for one in scales)
            flat = value.reshape(*value.shape[:leading], -1).to(centre.dtype)
            return ((flat - centre) * factor).clamp(-limit, limit).reshape(value.shape)

        return map_space(leaf, self.space, observation)

    def scaled(self, tensors: Mapping[str, Tensor], learns: Tensor, batch: Batch, leading: int) -> Batch:
        """A batch to learn from on one scale; the agents' statistics take it in.

        Args:
            tensors: statistics of the group's agents by name, [P, 4, F]; written to.
            learns: [P], 0 for an agent at rest, whose statistics stay what they are.
            batch: fields [P, B, ...] or, of several updates, [U, P, B, ...].
            leading: 2 or 3.
        """
        changes: dict[str, Any] = {}
        rows = tensors.get("observation")
        if rows is not None:
            # Of updates that are drawn together the first tells enough: taking in all of them costs a fifth of their time.
            one = batch.observation if leading == 2 else map_leaves(lambda leaf: leaf[0], batch.observation)
            own = batch.own & (learns > 0)[:, None]  # [P, B]
            now = taken_in(rows, self._entries(one), own.unsqueeze(-1), auto=not self.whole)
            used = torch.where(rows[:, :1] > 0, rows, now)
            rows.copy_(now)
            scales = scales_of(used, batch.reward.dtype, unsqueeze=True)
            for name in ("observation", "next_observation"):
                changes[name] = self.standard(getattr(batch, name), scales, leading)
        rows = tensors.get("return")
        if rows is not None:
            scaled = batch.reward / deviation(rows).to(batch.reward.dtype)[:, None]
            known = rows[:, 0] > 0  # [P, 1]
            changes["reward"] = torch.where(known, scaled.clamp(-LIMIT, LIMIT), batch.reward)
        return dataclasses.replace(batch, **changes)

    def _entries(self, observation: Tree) -> Tensor:
        """[P, B, F], float64: the numbers that are normalised."""
        places, found = iter(self._places), list[Tensor]()

        def leaf(space: spaces.Space, value: Tensor) -> None:
            if next(places) is not None:
                found.append(value.flatten(2).double() if space.shape else value.unsqueeze(-1).double())

        map_space(leaf, self.space, observation)
        return found[0] if len(found) == 1 else torch.cat(found, -1)

    # What agents earn -------------------------------------------------------------------------

    def earned(
        self, rows: Tensor, discount: Tensor, memory: MutableMapping[str, Tensor], transition: Transition
    ) -> None:
        """Take the rewards of one step of all environments into the statistics of returns.

        The return so far, `discount * before + reward`, is what is measured, in each environment by itself, and
        begins anew with an episode.

        Args:
            rows: statistics of "return", [P, 4, 1]; written to.
            discount: [P].
            memory: holds "return", [P, E], between two steps.
            transition: fields [P, E].

        Source: the rule of `gymnasium.wrappers.NormalizeReward`, whose returns end with truncation here as well.
        """
        reward, valid, *ends = (
            to_tensor(getattr(transition, name), rows.device)
            for name in ("reward", "valid", "terminated", "truncated")
        )
        before = memory.get("return")
        if before is None or before.shape != reward.shape:
            before = torch.zeros(reward.shape, dtype=rows.dtype, device=rows.device)
        sound = valid.bool() & torch.isfinite(reward)
        so_far = torch.where(sound, discount.to(rows)[:, None] * before + reward, before)
        rows.copy_(taken_in(rows, so_far.unsqueeze(-1), sound.unsqueeze(-1)))
        memory["return"] = torch.where((ends[0] | ends[1]).bool() | ~valid.bool(), 0.0, so_far)


def deviation(rows: Tensor) -> Tensor:
    """[P]: of the returns, by their statistics [P, 4, 1]; 1 where none was earned."""
    return torch.where(rows[:, 0] > 0, (rows[:, 2] + EPSILON).sqrt(), 1.0).squeeze(-1)


def scales_of(rows: Tensor, dtype: torch.dtype, unsqueeze: bool = False) -> Scales:
    """What statistics [..., 4, F] mean for the numbers of an observation, with an axis for a batch if wanted."""
    _, mean, variance, chosen = rows.unbind(-2)
    on = chosen > 0
    found = (
        torch.where(on, mean, 0.0),
        torch.where(on, (variance + EPSILON).rsqrt(), 1.0),
        torch.where(on, LIMIT, torch.inf),
    )
    centre, factor, limit = ((one.unsqueeze(-2) if unsqueeze else one).to(dtype) for one in found)
    return centre, factor, limit


def taken_in(rows: Tensor, values: Tensor, own: Tensor, auto: bool = False) -> Tensor:
    """Statistics with some more samples.

    Args:
        rows: [P, 4, F].
        values: [P, N, F], float64; what is not finite is left out.
        own: [P, N, 1], False where a sample is not the agent's.
        auto: say with the first samples which numbers are normalised.

    Source: Chan, Golub and LeVeque 1983, Algorithms for computing the sample variance, eq. 1.5.
    """
    count, mean, variance, chosen = rows.unbind(1)
    known = own & torch.isfinite(values)
    values = torch.where(known, values, 0.0)
    more = known.sum(1).to(rows.dtype)  # [P, F]
    theirs = values.sum(1) / more.clamp(min=1)
    squares = torch.where(known, (values - theirs.unsqueeze(1)).square(), 0.0).sum(1)
    total = (count + more).clamp(min=1)
    apart = theirs - mean
    centre = mean + apart * (more / total)
    spread = (count * variance + squares + apart.square() * (count * more / total)) / total
    if auto:
        size = (spread + centre.square()).sqrt()
        far = (size > PLAIN[1]) | ((size > 0) & (size < PLAIN[0]))
        chosen = torch.where(count > 0, chosen, far.to(rows.dtype))
    now = torch.stack([(count + more).clamp(max=MEMORY), centre, spread, chosen], 1)
    return torch.where((more > 0).unsqueeze(1), now, rows)


def _fresh(width: int, chosen: bool = True) -> Tensor:
    rows = torch.zeros(4, width, dtype=torch.float64)
    rows[2], rows[3] = 1.0, float(chosen)
    return rows
