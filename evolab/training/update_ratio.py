"""How much is learned from a transition, where the user does not say."""

from __future__ import annotations

from gymnasium import spaces

from evolab.algorithms.base import Algorithm
from evolab.networks.observations import holds_image

UPDATES = 16
"""Updates per transition that is stored, of all agents together: what sixteen of them cost, four may spend."""

MOST = 4.0
"""Updates of each agent per stored transition at most."""

IMAGES = 0.25
"""Share of that where observations are images: an update costs a hundred times as much."""


def update_ratio_for(algorithm: Algorithm, population: int, observation_space: spaces.Space | None) -> float:
    """Updates of each agent per transition that is stored.

    Few agents learn more from each transition than many do: a wide population begins gently, and what is left of
    it goes deep, at the same cost.
    """
    if algorithm.on_policy or algorithm.offline:
        return 1.0
    ratio = min(MOST, UPDATES / population)
    return ratio * IMAGES if observation_space is not None and holds_image(observation_space) else ratio
