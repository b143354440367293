"""Where experience comes from: what an algorithm says of itself, and what follows."""

import pytest

from evolab.algorithms.base import Algorithm
from evolab.algorithms.regime import OFF_POLICY, OFFLINE, ON_POLICY
from evolab.algorithms.search_space import algorithm_named
from evolab.core import registry
from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.buffers.rollout import RolloutBuffer

REGIMES = {
    OFF_POLICY: {"DQN", "QRDQN", "DDPG", "TD3", "SAC"},
    ON_POLICY: {"PPO"},
    OFFLINE: {"BC", "BCQ", "CQN", "ILQL", "IQL", "TD3BC"},
}


def test_every_algorithm_has_the_regime_of_its_kind():
    found: dict = {regime: set() for regime in REGIMES}
    for name in registry.names("algorithm"):
        found[algorithm_named(name).regime].add(name)
    assert all(names <= found[regime] for regime, names in REGIMES.items())


@pytest.mark.parametrize(
    ("name", "replays", "buffer", "others", "least", "samples"),
    [
        ("DQN", True, ReplayBuffer, True, 64, 40),  # as many as are stored so far
        ("PPO", False, RolloutBuffer, False, 64, 64),
        ("CQN", False, ReplayBuffer, True, 1, 64),  # of few data some are drawn twice
    ],
)
def test_what_follows_from_a_regime(name, replays, buffer, others, least, samples):
    algorithm: Algorithm = algorithm_named(name)
    assert algorithm.replays == replays
    assert type(algorithm.buffer(None)) is buffer
    assert algorithm.takes_others_experience == others
    assert algorithm.least_experience(64) == least
    assert algorithm.samples(64, 40) == samples
    assert ("returns" in algorithm.regime.normalisable) == algorithm.regime.acts
