"""Wrappers that remember what was before an episode are told, once and by name; those that evolab replaces are refused."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers

import evolab as ev
import evolab.envs as envs


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
        ([Counter], r"Counter (episodes) remembers"),
        ([Total], r"Total (steps) remembers"),
        ([Counter, Forgetful, Total], "Total (steps), Counter (episodes) remembers"),
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


def test_processes_are_told_as_well() -> None:
    (text,) = said(cart(Counter), vectorization="async")
    assert "Counter (episodes) remembers" in text


class Mine(wrappers.NormalizeObservation[Any, Any, Any]):
    """A subclass counts."""


def vector(layer: Any) -> Any:
    return lambda count, seed: layer(gymnasium.make_vec("CartPole-v1", num_envs=count))


def inner(count: int, seed: int) -> Any:
    return gymnasium.make_vec(
        "CartPole-v1", num_envs=count, vectorization_mode="sync", wrappers=[wrappers.NormalizeReward]
    )


def registered(*layers: Any) -> Any:
    return cart(*layers)().spec


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (cart(wrappers.NormalizeObservation), "in NormalizeObservation, .* pass normalise='observations'"),
        (cart(wrappers.NormalizeReward, wrappers.TimeAwareObservation), "pass normalise='returns'"),
        (cart(Counter, Mine, wrappers.NormalizeReward), r"pass normalise=\('observations', 'returns'\)"),
        (registered(wrappers.NormalizeObservation), "CartPole-v1 is wrapped in NormalizeObservation"),
        ({"vector": vector(wrappers.vector.NormalizeReward)}, "vector is wrapped in NormalizeReward"),
        (
            {"vector": vector(wrappers.vector.NormalizeObservation)},
            "vector is wrapped in NormalizeObservation",
        ),
        ({"vector": inner}, "vector is wrapped in NormalizeReward"),
    ],
)
def test_running_normalisation_is_refused_with_the_option_that_takes_its_place(
    source: Any, named: str
) -> None:
    """Each environment kept statistics of its own, and fitness was measured on other numbers than were learned from."""
    options = source if isinstance(source, dict) else {"environment": source}
    with pytest.raises(ValueError, match=named):
        envs.make(population=1, num_envs=2, **options)
    with pytest.raises(ValueError, match=named):
        ev.Experiment(**{"environment": None, **options}, population=1, num_envs=2, device="cpu")
    with envs.make(registered()) as plain:
        assert plain.name == "CartPole-v1"
