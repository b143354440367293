"""What experience is made of: a step of many environments, a batch of transitions, whole episodes of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from evolab.core.goals import Goals
from evolab.core.trees import Tree, map_leaves, to_tensor


@dataclass(slots=True)
class Transition:
    """One step of many environments; every field has the same leading shape, [P, E] or [B].

    Fields are numpy arrays or tensors; where the observation space is a Dict or a Tuple,
    the three observations are dicts or tuples of them. Treat them as read-only: where no
    episode ended, `next_observation` and `reset_observation` are one array, which is also
    the `observation` of the transition that follows.

    Attributes:
        observation: [P, E, ...], what was acted on.
        action: [P, E, ...], what was done, in the environment's own range.
        reward: [P, E], float32.
        next_observation: [P, E, ...], the true successor; at an episode's end its final observation.
        terminated: [P, E], True where the task itself ended, so that nothing follows.
        truncated: [P, E], True where a time limit cut the episode: the return still bootstraps.
        reset_observation: [P, E, ...], what to act on next: the first observation of a new
            episode where one ended, `next_observation` elsewhere.
        valid: [P, E], False where the row is no transition and must not be stored or counted.
        metrics: by (p, e), the numbers in the environment's `info` where an episode ended; see `envs.metrics`.
        action_mask: [P, E, W], bool, what was permitted when the action was chosen; None where environments give no
            masks. See `core.masks` for the entries.
        next_action_mask: [P, E, W], what the true successor permits; where nothing is left to do, everything.
        goals: what the environment says of other goals than its own; None where it says nothing.
        remembered: [P, E, C, H], what the agents remembered before they acted, where their network does and somebody tells;
            see `Population.telling`.
        remembered_by: [P, E, 2], whose that is: the id of an agent, and how many units of its network remember.
    """

    observation: Tree
    action: Any
    reward: Any
    next_observation: Tree
    terminated: Any
    truncated: Any
    reset_observation: Tree
    valid: Any
    metrics: Mapping[tuple[int, int], Mapping[str, float]] = field(default_factory=dict)
    action_mask: Any = None
    next_action_mask: Any = None
    goals: Goals | None = None
    remembered: Any = None
    remembered_by: Any = None

    @classmethod
    def of(cls, given: object) -> Transition:
        """What a caller stores: any object with the fields of `DRAWN`; what else it does not say is missing.

        Raises:
            TypeError: it lacks one of these.
        """
        if isinstance(given, cls):
            return given
        if missing := [name for name in DRAWN if not hasattr(given, name)]:
            raise TypeError(
                f"a transition has the fields {', '.join(DRAWN)}; {type(given).__name__} has no {', '.join(missing)}."
            )
        said: Any = {name: getattr(given, name, None) for name in cls.__slots__ if name not in DRAWN}
        said["metrics"] = said["metrics"] or {}
        return cls(**{name: getattr(given, name) for name in DRAWN}, **said)

    @property
    def ended(self) -> Any:
        """[P, E], True where what is acted on next begins an episode: the one before ended, or a fault broke it off."""
        valid = self.valid
        return (
            self.terminated
            | self.truncated
            | (~valid if isinstance(valid, Tensor) else np.logical_not(valid))
        )


@dataclass
class Remembered:
    """What networks that remember know at the steps of N sequences, T steps each; B is T * N, those of a step side by side.

    Attributes:
        before: [P, N, C, H] by network, before the first step.
        begins: [P, B], True where an episode begins: nothing is remembered there. () for nowhere.
        after: [P, B, C, H] by network, room for what is remembered after each step; none where nobody asks.
        steps: of the longest sequence that a gradient flows through.
    """

    before: Mapping[str, Tensor]
    begins: Tensor | tuple[()]
    after: Mapping[str, Tensor] = field(default_factory=dict)
    steps: int = 1


@dataclass
class Batch:
    """Transitions drawn for each agent: from a buffer in the environment's ranges, then as an algorithm sees them.

    Attributes:
        observation: [P, B, ...] leaves.
        action: [P, B, ...] in the environment's range; for an algorithm [P, B, A] in [-1, 1] for Box
            actions, [P, B] from 0 for Discrete ones, [P, B, K] for several that are chosen apart.
        reward: [P, B].
        next_observation: [P, B, ...] leaves, the true successor.
        terminated: [P, B], 1 where nothing follows. A truncated episode has 0: it bootstraps.
        weight: [P, B], what a sample counts in its agent's mean; sums to 1 per agent. A buffer may say what samples count
            beside each other; the learner sets it.
        grain: [A], half of what one whole number takes of [-1, 1], 0 for real entries; see `core.actions.Actions`.
        discount: [P, B], what the value of the successor is discounted by where it lies some steps ahead and `reward`
            is the discounted sum of theirs; None for one step each, whose discount is the agent's.
        action_mask: [P, B, W], False for actions that were forbidden; for an algorithm [P, B, A]. None where the
            environment gave no masks, or no one asks for them.
        next_action_mask: the same of the successor.
        remembered: where the samples are steps of sequences and networks remember; None elsewhere. The learner sets it.
        error: [P, B], room for the size of each sample's temporal-difference error, which the update fills in; None where
            nobody asks.

    Class attributes:
        in_sequences: True where samples are steps of sequences that begin with what was stored; see `algorithms.burn_in`.
    """

    in_sequences: ClassVar[bool] = False

    observation: Tree
    action: Tensor
    reward: Tensor
    next_observation: Tree
    terminated: Tensor
    weight: Tensor = None  # type: ignore[assignment]  # no algorithm sees a batch without one
    grain: Tensor | None = None
    discount: Tensor | None = None
    action_mask: Tensor | None = None
    next_action_mask: Tensor | None = None
    remembered: Remembered | None = None
    error: Tensor | None = None

    @property
    def bootstraps(self) -> Tensor:
        """[P, B], 1 where the value of the successor counts: everywhere but where the task itself ended.

        A truncated episode bootstraps, since its `terminated` is 0 and `next_observation` is its true end.
        """
        return 1 - self.terminated

    def future(self, discount: Tensor) -> Tensor:
        """[P, B]: what the value of the successor counts, by the agents' `discount` [P] of a step."""
        return (discount[:, None] if self.discount is None else self.discount) * self.bootstraps

    @property
    def own(self) -> Tensor:
        """[P, B], True where a sample is the agent's; the others weigh nothing."""
        return self.weight > 0

    @property
    def told(self) -> Tensor:
        """`error` as it is said of the rows that were drawn."""
        assert self.error is not None
        return self.error

    @property
    def _filled(self) -> tuple[str, ...]:
        """The fields with an axis of samples."""
        return (*DRAWN, *(name for name in GIVEN if getattr(self, name) is not None))

    def cut(self, rows: slice | Tensor | None, count: int) -> Batch:
        """The first `count` transitions of some agents."""
        return Batch(
            **{name: map_leaves(lambda x: x[rows, :count], getattr(self, name)) for name in self._filled}
        )

    def as_several(self) -> Batch:
        """The batches of one update, [1, P, B, ...]."""
        fields = {
            name: map_leaves(lambda leaf: leaf.unsqueeze(0), getattr(self, name)) for name in self._filled
        }
        return Batch(**fields, weight=self.weight, grain=self.grain, error=self.error)

    def apart(self) -> Iterator[Batch]:
        """The batches of several updates, whose fields lead with one axis more; the weights are common to all."""
        pieces = {name: map_leaves(lambda leaf: leaf.unbind(0), getattr(self, name)) for name in self._filled}
        for update in range(len(self.reward)):
            yield Batch(
                **{name: _nth(piece, update) for name, piece in pieces.items()},
                weight=self.weight,
                grain=self.grain,
            )


class Drawn(Protocol):
    """Any object with these fields of a `Batch`; those of `GIVEN` may be there too."""

    observation: Any
    action: Any
    reward: Any
    next_observation: Any
    terminated: Any


DRAWN = ("observation", "action", "reward", "next_observation", "terminated")
"""Fields of a `Batch` that a buffer fills. `truncated` is not among them: see `Batch.bootstraps`."""

MASKS = ("action_mask", "next_action_mask")
"""The same where environments give masks. A buffer keeps those that somebody learns from."""

GIVEN = ("discount", *MASKS)
"""Fields of a `Batch` that may be missing."""


def _nth(pieces: Tree, k: int) -> Any:
    """The k-th piece of every leaf; the leaves are tuples of tensors here."""
    if isinstance(pieces, dict):
        return {key: _nth(part, k) for key, part in pieces.items()}
    if isinstance(pieces[0], Tensor):
        return pieces[k]
    return tuple(_nth(part, k) for part in pieces)


def to_batch(source: Drawn | Episodes, device: torch.device) -> Batch | Episodes:
    """What a caller hands over, as tensors: episodes, or any object with the fields of a `Batch`."""
    if isinstance(source, Episodes):
        return source
    given = {name: getattr(source, name, None) for name in GIVEN}
    fields = {name: to_tensor(value, device) for name, value in given.items() if value is not None}
    return Batch(**{name: to_tensor(getattr(source, name), device) for name in DRAWN}, **fields)


@dataclass
class Episodes:
    """Whole episodes of a language environment, drawn for each agent.

    Where `action_mask[p, b, t]`, the agent of the data saw `tokens[p, b, :t]`, chose `tokens[p, b, t]`
    and received `reward[p, b, t]`.

    Attributes:
        tokens: [P, B, T], int64, filled up on the right.
        action_mask: [P, B, T], bool.
        reward: [P, B, T], zero where nothing was chosen.
        terminated: [P, B]; False where an episode was cut.
        length: [P, B], tokens of each episode.
        weight: [P, B], what an episode counts in its agent's mean, zero beyond its own batch.
    """

    tokens: Tensor
    action_mask: Tensor
    reward: Tensor
    terminated: Tensor
    length: Tensor
    weight: Tensor | None = None

    def placed(self, like: Tensor, weigh: Callable[[int, Tensor], Tensor]) -> Episodes:
        """On the device and in the precision of `like`, with the weights that `weigh` gives for so many."""
        moved = {name: getattr(self, name).to(like.device) for name in EPISODE_FIELDS}
        moved["reward"] = reward = self.reward.to(like)
        return Episodes(**moved, weight=weigh(reward.shape[1], reward))

    def cut(self, rows: slice | Tensor | None, count: int) -> Episodes:
        """The first `count` episodes of some agents."""
        return Episodes(**{name: getattr(self, name)[rows, :count] for name in EPISODE_FIELDS})


EPISODE_FIELDS = ("tokens", "action_mask", "reward", "terminated", "length")
"""Fields of `Episodes` that a buffer fills."""
