from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import evolab.envs as envs
from evolab.envs.probes import PROBES, SIDE

ACTIONS = ("discrete", "continuous")
OBSERVATIONS = ("vector", "image", "dict")


def state(observation: Any) -> float:
    if isinstance(observation, dict):
        assert state(observation["image"]) == state(observation["vector"])
        return state(observation["vector"])
    return (
        round(float(observation.flat[0]) / 127.5 - 1, 1) if observation.ndim == 3 else float(observation[0])
    )


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("observations", OBSERVATIONS)
def test_every_probe_is_a_correct_environment(name: str, actions: str, observations: str) -> None:
    env = PROBES[name][0](actions, observations)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*spec.*")  # it is made without an id
        check_env(env, skip_render_check=True)


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("observations", OBSERVATIONS)
def test_played_out_returns_are_the_exact_values(name: str, actions: str, observations: str) -> None:
    probe, exact = PROBES[name]
    env = probe(actions, observations)
    env.action_space.seed(1)
    for episode in range(20):
        observation, _ = env.reset(seed=episode)
        first, discount, factor, result, chosen = state(observation), 0.9, 1.0, 0.0, None
        terminated = False
        while not terminated:
            action = env.action_space.sample()
            chosen = float(np.asarray(action).flat[0]) if chosen is None else chosen
            _, reward, terminated, truncated, _ = env.step(action)
            assert not truncated
            result, factor = result + factor * reward, factor * discount
        assert result == pytest.approx(exact(first, chosen, discount, actions == "continuous"), abs=1e-6)


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("continuous", [False, True])
def test_the_value_is_that_of_the_best_action(name: str, continuous: bool) -> None:
    exact = PROBES[name][1]
    choices = np.linspace(-1, 1, 9) if continuous else (0, 1)
    for first in (-1.0, 0.0, 1.0):
        if first == 0.0 and name == "ObservationActionReward":
            continue
        best = max(exact(first, float(action), 0.9, continuous) for action in choices)
        assert exact(first, None, 0.9, continuous) == pytest.approx(best)


def test_the_two_step_probe_shows_both_states() -> None:
    env = PROBES["TwoStepDiscount"][0]()
    assert state(env.reset(seed=0)[0]) == 0.0
    observation, reward, terminated, _, _ = env.step(0)
    assert (state(observation), reward, terminated) == (1.0, 0.0, False)
    assert env.step(0)[1:3] == (1.0, True)


def test_probes_stand_in_a_vector() -> None:
    probe = PROBES["ObservationActionReward"][0]
    with envs.make(probe, 2, 3, observations="dict") as environments:
        observation = environments.reset(0)
        assert observation["image"].shape == (2, 3, SIDE, SIDE, 3)
        action = (observation["vector"][..., 0] > 0).astype(int)
        assert (environments.step(action).reward == 1.0).all()


def test_unknown_kinds_are_named() -> None:
    with pytest.raises(ValueError, match=r"Unknown kind of actions 'discret'.*did you mean 'discrete'"):
        PROBES["ActionReward"][0]("discret")
    with pytest.raises(ValueError, match="Unknown kind of observations"):
        PROBES["ActionReward"][0](observations="sound")
