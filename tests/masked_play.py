"""Random play of a population of two in a Dict space with one action forbidden, whose observations mean nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from gymnasium import spaces

import evolab as ev
from evolab.core.experience import Transition

SPACE = spaces.Dict({"a": spaces.Box(-1, 1, (2,), np.float32), "b": spaces.Discrete(3)})
FORBIDDEN = 1


def transitions(population: ev.Population, steps: int) -> Iterator[Transition]:
    """So many steps [2, 3] of agents that are told where episodes end, each observed; no agent does what is forbidden."""
    rng, ended = np.random.default_rng(0), None
    mask, none = np.ones((2, 3, 3), bool), np.zeros((2, 3), bool)
    mask[..., FORBIDDEN] = False

    def seen() -> dict[str, np.ndarray]:
        return {"a": rng.uniform(-1, 1, (2, 3, 2)).astype(np.float32), "b": rng.integers(0, 3, (2, 3))}

    observation = seen()
    for _ in range(steps):
        action = population.act(observation, ended=ended, action_mask=mask)
        assert not (action == FORBIDDEN).any()
        following, ended = seen(), rng.random((2, 3)) < 0.3
        transition = Transition(
            observation, action, np.ones((2, 3), np.float32), following, none, ended, following, ~none,
            action_mask=mask, next_action_mask=mask,
        )  # fmt: skip
        yield transition
        population.observe(transition)
        observation = following
