"""How much is learned from a transition, where the user does not say."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

import evolab as ev
from evolab.training.default_update_ratio import IMAGES, MOST, UPDATES, update_ratio_for

VECTOR, IMAGE = spaces.Box(-1, 1, (4,)), spaces.Box(0, 255, (12, 12, 3), np.uint8)


@pytest.mark.parametrize(
    ("agents", "expected"), [(1, MOST), (8, MOST), (16, UPDATES / 16), (32, UPDATES / 32)]
)
def test_wide_populations_learn_less_each_and_images_are_learned_from_least(agents, expected):
    assert update_ratio_for(ev.DQN(), agents, VECTOR) == expected
    assert update_ratio_for(ev.DQN(), agents, None) == expected
    assert update_ratio_for(ev.DQN(), agents, IMAGE) == expected * IMAGES


@pytest.mark.parametrize("algorithm", [ev.PPO(), ev.CQN(), ev.BC()], ids=lambda one: one.name)
def test_what_replays_nothing_has_no_ratio(algorithm):
    assert update_ratio_for(algorithm, 2, IMAGE) == 1
