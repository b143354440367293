"""Wrappers that remember what was before an episode are told, once and by name; those that evolab replaces are refused."""

from __future__ import annotations

import random
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
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
    words = ("remembers", "which no seed reaches", "shows something else each time")
    return [str(one.message) for one in shown if any(word in str(one.message) for word in words)]


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


# Environments of one's own ---------------------------------------------------------------------------------


class Plain(gymnasium.Env[Any, Any]):
    """Begins anew with every seeded reset; `last` is left by a step, and nobody reads it."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.last: Any = None

    def draw(self) -> float:
        return float(self.np_random.uniform())

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return np.full(2, self.draw(), np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps, self.last = self.steps + 1, action
        return np.full(2, self.draw(), np.float32), 1.0, self.steps >= 5, False, {}


class Episodes(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.episodes = 0

    def reset(self, **arguments: Any) -> Any:
        self.episodes += 1
        return super().reset(**arguments)


class RunningMean(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.mean = np.zeros(2)

    def step(self, action: Any) -> Any:
        answer = super().step(action)
        self.mean = 0.9 * self.mean + 0.1 * answer[0]
        return answer


class OwnGenerator(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(0)

    def draw(self) -> float:
        return float(self.rng.uniform())


class OldGenerator(OwnGenerator):
    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.RandomState(0)  # type: ignore[assignment]


class PythonsGenerator(OwnGenerator):
    def __init__(self) -> None:
        super().__init__()
        self.rng = random.Random(0)  # type: ignore[assignment]

    def draw(self) -> float:
        return self.rng.random()


class OfTheClass(Plain):
    lived = 0

    def step(self, action: Any) -> Any:
        type(self).lived += 1
        return super().step(action)


class OfTheSpace(Plain):
    def reset(self, **arguments: Any) -> Any:
        super().reset(**arguments)
        return self.observation_space.sample(), {}


class Global(Plain):
    def draw(self) -> float:
        return float(np.random.rand())  # noqa: NPY002  (users do)


class OfTorch(Plain):
    def draw(self) -> float:
        return float(torch.rand(()))


class Hidden(Plain):
    """What it counts cannot be seen, and shows in what a reset gives."""

    def __init__(self) -> None:
        super().__init__()
        count = iter(range(100))
        self.draw = lambda: next(count) / 100  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (Episodes, "Episodes (episodes) remembers what was before an episode"),
        (RunningMean, "RunningMean (mean) remembers"),
        (OwnGenerator, "OwnGenerator (rng) remembers"),
        (OldGenerator, "OldGenerator (rng) remembers"),
        (PythonsGenerator, "PythonsGenerator (rng) remembers"),
        (OfTheClass, "OfTheClass (OfTheClass.lived) remembers"),
        (OfTheSpace, "OfTheSpace (observation_space) remembers"),
        (Global, "Global: it draws from numpy.random, which no seed reaches"),
        (OfTorch, "OfTorch: it draws from torch, which no seed reaches"),
        (Hidden, "Hidden: reset(seed=...) shows something else each time"),
    ],
)
def test_what_an_environment_itself_remembers_is_told_once_by_name(kind: Any, named: str) -> None:
    """Only wrappers were looked at: a resumed run of these was another one, and nobody had said so."""
    (text,) = said(kind)
    assert named in text
    (text,) = said(lambda: Forgetful(kind()))
    assert named.partition(": ")[2] in text


def test_an_environment_that_a_seed_renews_is_not_told() -> None:
    assert not said(Plain)
    assert not said(Plain, vectorization="async")
    assert not said(lambda: gymnasium.wrappers.TimeLimit(Plain(), 4))


def test_what_is_said_of_an_environment_is_so(tmp_path: Any) -> None:
    """Resumed, the one that is not told goes on bit for bit, and one that is told does not."""
    for kind, equal in ((Plain, True), (OwnGenerator, False)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            options = {
                "population": 2,
                "num_envs": 2,
                "network": [4],
                "seed": 0,
                "device": "cpu",
                "progress": False,
            }
            exp = ev.Experiment(
                kind, "DQN", steps_per_generation=20, hyperparameters={"batch_size": 8}, **options
            )
            exp.fill(40)
            exp.step()
            exp.save(tmp_path / kind.__name__)
            again = ev.Experiment.load(tmp_path / kind.__name__, environment=kind)
            seen = [
                one.step() and one.buffer.observations(8, torch.Generator().manual_seed(0))
                for one in (exp, again)
            ]
        assert torch.equal(*map(torch.as_tensor, seen)) is equal
        exp.close()
        again.close()


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
