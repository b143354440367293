"""Observations of no fixed size are refused with what helps, and what is said to help does."""

from __future__ import annotations

import re

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import evolab as ev

GRID = {"image": spaces.Box(0, 255, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4)}


class World(gymnasium.Env):
    """Random observations of a space."""

    def __init__(self, space):
        self.observation_space, self.action_space = space, spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def refused(space):
    with pytest.raises(ValueError, match="supported are Box, Discrete") as caught:
        ev.envs.make(lambda: World(space))
    return str(caught.value)


def test_a_mission_in_words_is_left_out_by_the_wrapper_that_is_named():
    """As MiniGrid's environments have one."""
    space = spaces.Dict({**GRID, "mission": spaces.Text(20)})
    told = refused(space)
    assert "observation['mission'] is Text" in told
    call = re.search(r"gymnasium\.wrappers\.(FilterObservation)\(env, (\[.*?\])\)", told)
    keys = eval(call[2])  # the list that the message names, as a user would paste it
    with ev.envs.make(lambda: getattr(gymnasium.wrappers, call[1])(World(space), keys)) as envs:
        assert dict(envs.single_observation_space) == GRID
        envs.reset(seed=0)
        assert envs.step(np.zeros((1, 1), int)).valid.all()


@pytest.mark.parametrize(
    ("space", "hint"),
    [
        (spaces.Text(5), "makes a MultiDiscrete of its characters or words, filled up to the longest"),
        (spaces.Sequence(spaces.Discrete(3)), "makes an array filled up to the longest, beside how long it is"),
        (spaces.Graph(spaces.Box(-1, 1, (2,)), None), "makes a Box with a row for each node that there can be"),
        (spaces.OneOf([spaces.Discrete(2), spaces.Discrete(3)]), "TransformObservation makes a Box of it"),
        (spaces.Dict({"a": spaces.Dict({"b": spaces.Text(3)}), "c": spaces.Discrete(2)}), "TransformObservation makes"),
        (spaces.Tuple([spaces.Text(3), spaces.Discrete(2)]), "TransformObservation makes"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, spaces.Space) else "",
)  # fmt: skip
def test_others_say_what_to_make_of_them(space, hint):
    told = refused(space)
    assert hint in told
    assert "FilterObservation" not in told


def test_a_part_that_is_all_there_is_cannot_be_left_out():
    assert "FilterObservation" not in refused(spaces.Dict({"mission": spaces.Text(3)}))
