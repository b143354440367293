"""How much is learned from a transition, where the user does not say."""

from __future__ import annotations

from gymnasium import spaces

from evolab.algorithms.base import Algorithm
from evolab.networks.observations import holds_image

UPDATES = 16
"""Updates per transition that is stored, of all agents together: a wide population begins gently."""

MOST = 2.0
"""Updates of each agent per stored transition at most.

Four SAC agents that did not evolve earned 229 in the mean on LunarLanderContinuous-v3 after 30 000 steps with two
updates, and 75 with four; whole runs solved CartPole-v1 after 17 787 and 10 508 steps, and after 27 507 and 15 173
where four agents made four (seeds 100 and 101).
"""

IMAGES = 0.25
"""Share of that where observations are images: an update costs a hundred times as much."""


def update_ratio_for(algorithm: Algorithm, population: int, observation_space: spaces.Space | None) -> float:
    """Updates of each agent per transition that is stored.

    More than eight agents learn less from each transition, at the cost of eight.
    """
    if not algorithm.replays:
        return 1.0
    ratio = min(MOST, UPDATES / population)
    return ratio * IMAGES if observation_space is not None and holds_image(observation_space) else ratio
