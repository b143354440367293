"""Wrappers that remember what was before an episode are told, once and by name."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers

import evolab as ev
import evolab.envs as envs
from evolab.envs.remembering import normalisers


class Counter(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Counts episodes and never forgets."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.episodes, self.steps = 0, 0

    def reset(self, **arguments: Any) -> Any:
        self.episodes, self.steps = self.episodes + 1, 0
        return super().reset(**arguments)

    def step(self, action: Any) -> Any:
        self.steps += 1
        return super().step(action)


class Total(Counter):
    """Counts all steps of its life and nothing else."""

    def reset(self, **arguments: Any) -> Any:
        return self.env.reset(**arguments)


class Forgetful(Counter):
    """Begins anew with every episode."""

    def reset(self, **arguments: Any) -> Any:
        self.steps, self.seen = 0, np.zeros(2)
        return self.env.reset(**arguments)


def cart(*layers: Any) -> Any:
    def make() -> Any:
        env = gymnasium.make("CartPole-v1")
        for layer in layers:
            env = layer(env)
        return env

    return make


def said(make: Any, **options: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with envs.make(make, 1, 2, **options) as environments:
            environments.reset()
            with environments.evaluator(1) as others:
                others.reset()
    return [str(one.message) for one in shown if "remembers" in str(one.message)]


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ([wrappers.NormalizeObservation], "NormalizeObservation remembers"),
        ([wrappers.NormalizeReward], "NormalizeReward remembers"),
        ([wrappers.NormalizeObservation, wrappers.TimeAwareObservation], "NormalizeObservation remembers"),
        ([Counter], r"Counter (episodes) remembers"),
        ([Total], r"Total (steps) remembers"),
        ([Counter, Forgetful, wrappers.NormalizeReward], "NormalizeReward, Counter (episodes) remembers"),
    ],
)
def test_what_remembers_is_told_once_by_name(layers: list[Any], named: str) -> None:
    (text,) = said(cart(*layers))
    assert named in text


@pytest.mark.parametrize(
    "layers", [[], [wrappers.RecordEpisodeStatistics], [Forgetful], [wrappers.TimeAwareObservation]]
)
def test_what_begins_anew_with_every_episode_is_not_told(layers: list[Any]) -> None:
    assert not said(cart(*layers))


def test_processes_and_vectors_are_told_as_well() -> None:
    (text,) = said(cart(wrappers.NormalizeObservation), vectorization="async")
    assert "NormalizeObservation remembers" in text

    def vector(count: int, seed: int) -> Any:
        return wrappers.vector.NormalizeReward(gymnasium.make_vec("CartPole-v1", num_envs=count))

    (text,) = said(None, vector=vector)
    assert "NormalizeReward remembers" in text


def test_a_subclass_counts() -> None:
    class Mine(wrappers.NormalizeObservation[Any, Any, Any]):
        pass

    assert normalisers(Mine(gymnasium.make("CartPole-v1"))) == ["Mine"]


def test_an_experiment_says_so_when_it_is_made() -> None:
    with pytest.warns(UserWarning, match=r"NormalizeObservation remembers .* not bit for bit"):
        ev.Experiment(cart(wrappers.NormalizeObservation), "DQN", population=1, num_envs=1, device="cpu")
