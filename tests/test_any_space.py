"""Spaces of every kind, nested three deep, with odd dtypes and bounds: whatever an algorithm says it takes, it takes."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import evolab as ev
from evolab.algorithms.search_space import algorithm_named
from evolab.core.composite_actions import apart, joined, together
from evolab.core.registry import PARTS
from evolab.population.normalisation import Normaliser
from tests.any_env import Env

FLOATS = st.sampled_from([np.float32, np.float64, np.float16])
WHOLES = st.sampled_from([np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
SHAPES = st.sampled_from([(), (1,), (3,), (2, 2), (8, 8, 3)])


def boxes(shapes, bounded):
    def whole(dtype, shape, low, width):
        low = max(low, np.iinfo(dtype).min if np.iinfo(dtype).min < 0 else 0)
        return spaces.Box(low, low + width, shape, dtype)

    def real(dtype, shape, low, width):
        return spaces.Box(float(low), float(low + width), shape, dtype)

    kinds = [
        st.builds(real, FLOATS, shapes, st.integers(-5, 5), st.integers(1, 9)),
        st.builds(whole, WHOLES, shapes, st.integers(-5, 5), st.integers(1, 9)),
        st.builds(lambda shape: spaces.Box(0, 1, shape, np.bool_), shapes),
    ]
    if not bounded:
        kinds.append(st.builds(lambda shape: spaces.Box(-np.inf, np.inf, shape, np.float32), shapes))
        kinds.append(
            st.builds(lambda dtype: spaces.Box(np.array([0, -np.inf], dtype), np.inf, dtype=dtype), FLOATS)
        )
        kinds.append(st.just(spaces.Box(0, 255, (8, 8, 3), np.uint8)))
    return st.one_of(kinds)


CHOICES = st.one_of(
    st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 5), st.integers(-3, 3)),
    st.builds(
        lambda n, start: spaces.MultiDiscrete(n, start=[start] * len(n)),
        st.lists(st.integers(1, 4), min_size=1, max_size=3),
        st.integers(-2, 2),
    ),
    st.just(spaces.MultiDiscrete(np.array([[2, 1], [3, 2]]))),
    st.builds(spaces.MultiBinary, st.one_of(st.integers(1, 4), st.just([2, 2]))),
)
LEAVES = st.one_of(boxes(SHAPES, bounded=False), CHOICES)


def nested(parts):
    keys = st.permutations(["b", "a", "c"])
    ordered = st.builds(
        lambda names, own: spaces.Dict(OrderedDict(zip(names, own, strict=False))),
        keys,
        st.lists(parts, min_size=1, max_size=3),
    )
    return st.one_of(ordered, st.builds(spaces.Tuple, st.lists(parts, min_size=1, max_size=3)))


OBSERVATIONS = st.one_of(LEAVES, nested(LEAVES), nested(nested(LEAVES)), nested(nested(nested(LEAVES))))
REAL = boxes(st.sampled_from([(), (1,), (3,), (2, 2)]), bounded=True)
FEW = st.one_of(
    st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 3), st.integers(-3, 3)),
    st.builds(lambda n: spaces.MultiDiscrete([n, 1, 2]), st.integers(1, 2)),
    st.builds(spaces.MultiBinary, st.integers(1, 2)),
    st.builds(lambda low: spaces.Box(low, low + 1, (2,), np.int16), st.integers(-2, 2)),
)
SEVERAL = st.one_of(CHOICES, nested(st.one_of(FEW, nested(FEW))).filter(lambda space: few(space)))
MOVES = st.one_of(REAL, nested(REAL), nested(nested(REAL)))
TAKES = {
    "DQN": SEVERAL,
    "QRDQN": SEVERAL,
    "CQN": SEVERAL,
    "BCQ": SEVERAL,
    "TD3": MOVES,
    "SAC": MOVES,
    "TQC": MOVES,
    "DDPG": MOVES,
    "TD3BC": MOVES,
    "IQL": MOVES,
    "PPO": st.one_of(SEVERAL, MOVES),
    "PPO that remembers": st.one_of(SEVERAL, MOVES),
}


def few(space):
    """Whether so many combinations can be chosen from one by one; a Box alone is no choice."""
    return not isinstance(joined(space), spaces.Box) and np.prod(joined(space).nvec, dtype=float) <= 512


def numbers(space):
    """Whether there is something to normalise."""
    try:
        return bool(Normaliser(space, ("observations",)).fresh)
    except TypeError:
        return False


def batch_of(space, count):
    parts = [space.sample() for _ in range(count)]
    return stacked(parts)


def stacked(parts):
    if isinstance(parts[0], dict):
        return {key: stacked([part[key] for part in parts]) for key in parts[0]}
    if isinstance(parts[0], tuple):
        return tuple(stacked(list(column)) for column in zip(*parts, strict=True))
    return np.stack([np.asarray(part) for part in parts])


def tensors(space, value):
    if isinstance(value, dict):
        return {key: tensors(space[key], part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(map(tensors, space, value))
    array = np.asarray(value)
    return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float64 else array)


def acting(agent, seen):
    """Greedy actions where episodes begin."""
    return agent.act(seen, memory=agent.memory())


def inside(space, action):
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        return space.contains(action)
    array = np.asarray(action, dtype=space.dtype).reshape(space.shape)
    return space.contains(array[()] if isinstance(space, spaces.Discrete) else array)


def test_every_algorithm_that_takes_spaces_is_tried():
    tried = {learner.partition(" ")[0] for learner in TAKES}
    known = {name for name in PARTS["algorithm"] if not algorithm_named(name).reads_tokens}
    assert tried == known


@pytest.mark.parametrize("learner", TAKES)
@settings(max_examples=4, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_an_algorithm_takes_every_space_that_it_says_it_takes(learner, data, tmp_path_factory):
    observed, acted = data.draw(OBSERVATIONS), data.draw(TAKES[learner])
    folder = tmp_path_factory.mktemp("any")
    algorithm, _, remembers = learner.partition(" ")
    make, online = partial(Env, obs=observed, act=acted), algorithm not in ("CQN", "TD3BC")
    normalise = data.draw(st.sampled_from([None, "auto", True if numbers(observed) else None]))
    exp = ev.Experiment(
        make, algorithm, population=2, num_envs=2, seed=0, device="cpu", eval_episodes=1, keep=1,
        steps_per_generation=32 if online else 4, buffer=16 if algorithm == "PPO" else None, normalise=normalise,
        update_ratio=0.5 if online and algorithm != "PPO" else None, network=ev.Recurrent(16) if remembers else None,
        hyperparameters={"batch_size": 8}, search_space={}, mutations=ev.Mutations(none=0.0, architecture=1.0),
    )  # fmt: skip
    recorded = ev.collect(make, steps=40, num_envs=2, path=folder / "data.h5")
    if not online:
        exp.fill(folder / "data.h5")
    elif algorithm != "PPO":
        exp.fill(32)
    exp.step()
    assert np.isfinite(exp.history.fitness["fitness"]).all()
    agent = exp.best
    seen = batch_of(observed, 5)
    flat = together(joined(acted), acting(agent, seen))
    assert len(flat) == 5
    assert all(inside(acted, apart(joined(acted), one)) for one in flat)
    assert inside(acted, acting(agent, observed.sample()))
    assert exp.rollout(episodes=1).returns == [7.0]
    agent.save(folder / "agent")
    loaded = ev.Agent.load(folder / "agent")
    assert np.array_equal(together(joined(acted), acting(loaded, seen)), flat)
    exp.save(folder / "run")
    again = ev.Experiment.load(folder / "run", environment=make)
    assert np.array_equal(together(joined(acted), acting(again.best, seen)), flat)
    program = torch.export.load(agent.export(folder / "agent.pt2")).module()
    found = program(tensors(observed, seen), *([torch.zeros(5, *agent.module().memory)] if remembers else []))
    assert (found[0] if remembers else found).numel() == np.size(flat)
    assert recorded.observation_space == observed
    assert recorded.action_space == acted
    own = ev.collect(make, agent, steps=20, num_envs=2)
    assert own.mean_return == 7
    if online and algorithm != "PPO":
        exp.fill(32)  # random rollouts again, behind what was learned
