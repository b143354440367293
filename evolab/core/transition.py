"""What experience is made of: one record of what happened in many environments at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
    """

    observation: Any
    action: Any
    reward: Any
    next_observation: Any
    terminated: Any
    truncated: Any
    reset_observation: Any
    valid: Any
