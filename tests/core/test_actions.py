"""Whole numbers in a Box share its range equally, in both directions."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.algorithms.clipped_gaussian import clipped_gaussian
from evolab.core.actions import actions_of
from evolab.envs.actions import as_batch
from tests.any_env import Env, first
from tests.small import by_episodes

CPU = torch.device("cpu")
BOXES = {
    "two": (spaces.Box(0, 1, (1,), np.int32), [0, 1]),
    "five": (spaces.Box(-2, 2, (1,), np.int64), [-2, -1, 0, 1, 2]),
    "bytes": (spaces.Box(0, 3, (1,), np.uint8), [0, 1, 2, 3]),
    "small": (spaces.Box(-3, -1, (1,), np.int8), [-3, -2, -1]),
    "bool": (spaces.Box(0, 1, (1,), np.bool_), [False, True]),
    "scalar": (spaces.Box(0, 1, (), np.int32), [0, 1]),
}
EACH = pytest.mark.parametrize(("space", "values"), BOXES.values(), ids=BOXES)


@EACH
def test_each_whole_number_has_an_equal_share_of_the_range(space, values):
    actions = actions_of(space, CPU, torch.float64)
    count = 600 * len(values)
    unit = (torch.arange(count, dtype=torch.float64) + 0.5) / count * 2 - 1
    reached = actions.to_numpy(actions.to_environment(unit[:, None]))
    assert reached.dtype == space.dtype
    assert reached.shape == (count, *space.shape)
    found, counts = np.unique(reached, return_counts=True)
    assert found.tolist() == values
    assert counts.tolist() == [600] * len(values)
    edges = actions.to_numpy(actions.to_environment(torch.tensor([[-1.0], [1.0]], dtype=torch.float64)))
    assert edges.ravel().tolist() == [values[0], values[-1]]


def test_an_algorithm_sees_a_whole_number_as_the_middle_of_its_share():
    five = actions_of(BOXES["five"][0], CPU, torch.float64)
    seen = five.to_unit(torch.tensor([[-2], [-1], [0], [1], [2]]), 1)
    assert seen.ravel().tolist() == pytest.approx([-0.8, -0.4, 0.0, 0.4, 0.8])
    two = actions_of(BOXES["bool"][0], CPU, torch.float64)
    assert two.to_unit(torch.tensor([[False], [True]]), 1).ravel().tolist() == [-0.5, 0.5]
    assert two.grain.tolist() == [0.5]


def test_bounds_of_their_own_for_every_entry():
    space = spaces.Box(np.array([0, -1]), np.array([9, 0]), (2,), np.int16)
    actions = actions_of(space, CPU, torch.float32)
    assert actions.grain.tolist() == pytest.approx([0.1, 0.5])
    assert actions.to_environment(torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.05, 0.05]])).tolist() == [
        [0, -1],
        [9, 0],
        [5, 0],
    ]


@EACH
def test_filling_tries_every_whole_number_equally_often(space, values):
    population = ev.Population("TD3", spaces.Box(-1, 1, (3,)), space, 2, seed=0)
    drawn = population.random_actions(3_000, np.random.default_rng(0))
    assert drawn.dtype == space.dtype
    assert drawn.shape == (2, 3_000, *space.shape)
    found, counts = np.unique(drawn, return_counts=True)
    assert found.tolist() == values
    assert np.abs(counts / 6_000 - 1 / len(values)).max() < 0.03  # five standard deviations


def test_actions_on_their_way_into_an_environment_are_rounded():
    space = BOXES["five"][0]
    batch, bad = as_batch(space, np.array([[[1.6], [-1.6], [7.0], [np.nan]]]), (1, 4))
    assert batch.ravel().tolist() == [2, -2, 2, 0]
    assert bad.tolist() == [False, False, False, True]
    batch, _ = as_batch(BOXES["bool"][0], np.array([[[0.4], [0.6]]]), (1, 2))
    assert batch.ravel().tolist() == [False, True]


def test_infinite_bounds_of_whole_numbers_are_refused_too():
    space = spaces.Box(-np.inf, np.inf, (1,), np.int32)
    with pytest.raises(ValueError, match="infinite bounds"):
        actions_of(space, CPU, torch.float32)


def normal(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ppo_knows_the_probability_of_a_whole_number(dtype):
    # Mean 0, deviation 1 in [-1, 1]; shares of five values end at -0.6, -0.2, 0.2, 0.6.
    middles = torch.tensor([-0.8, -0.4, 0.0, 0.4, 0.8], dtype=dtype).reshape(1, 5, 1)
    zero = torch.zeros(1, 1, 1, dtype=dtype)
    found, _ = clipped_gaussian(zero, zero, middles, torch.tensor([0.2], dtype=dtype))
    inner, middle, outer = normal(0.6) - normal(0.2), normal(0.2) - normal(-0.2), 1 - normal(0.6)
    assert found.exp().ravel().tolist() == pytest.approx([outer, inner, middle, inner, outer], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mean", [-1.0, -0.3, 0.999])
@pytest.mark.parametrize("log_deviation", [-5.0, -1.0, 2.0])
@pytest.mark.parametrize("count", [1, 2, 7, 256, 65_536])
def test_probabilities_of_all_whole_numbers_sum_to_one(dtype, mean, log_deviation, count):
    grain = torch.tensor([1 / count], dtype=dtype)
    middles = ((torch.arange(count, dtype=dtype) + 0.5) / count * 2 - 1).reshape(1, count, 1)
    at = torch.full((1, 1, 1), mean, dtype=dtype, requires_grad=True)
    spread = torch.full((1, 1, 1), log_deviation, dtype=dtype, requires_grad=True)
    found, _ = clipped_gaussian(at, spread, middles, grain)
    assert float(found.detach().double().exp().sum()) == pytest.approx(
        1, abs=2e-3 if dtype == torch.float32 else 1e-4
    )
    assert bool(torch.isfinite(found).all())
    gradient = torch.autograd.grad(found.sum(), [at, spread], allow_unused=True)
    assert all(part is None or bool(torch.isfinite(part).all()) for part in gradient)


def test_a_mixed_range_of_one_value_costs_nothing():
    found, _ = clipped_gaussian(
        torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), torch.tensor([1.0])
    )
    assert found.tolist() == [[0.0]]


@pytest.mark.parametrize("algorithm", ["TD3", "SAC", "PPO", "DDPG"])
@pytest.mark.parametrize("name", ["two", "bool", "scalar"])
def test_the_action_that_pays_is_found_acted_and_evaluated(algorithm, name):
    """With the action as reward over five steps TD3, SAC and PPO earned 0 of 5."""
    space = BOXES[name][0]
    exp = ev.Experiment(
        partial(Env, act=space, reward=first, length=5),
        algorithm,
        population=2,
        num_envs=4,
        steps_per_generation=400 if algorithm != "PPO" else 1024,
        network=[16],
        hyperparameters={"lr": 0.01} if algorithm == "PPO" else {"batch_size": 32},
        search_space={},
        eval_episodes=2,
        seed=1,
        device="cpu",
        **by_episodes(2) | ({"update_ratio": None} if algorithm == "PPO" else {}),
    )
    if algorithm != "PPO":
        exp.fill(200)
    exp.run(generations=2)
    assert max(exp.history.fitness["fitness"]) == 5
    action = exp.best.act(np.zeros(3, np.float32))
    assert space.contains(np.asarray(action, dtype=space.dtype).reshape(space.shape))
    assert int(np.asarray(action).reshape(-1)[0]) == 1


@pytest.mark.parametrize("name", ["five", "bool", "bytes"])
def test_modules_and_exported_programs_give_whole_numbers(tmp_path, name):
    space, values = BOXES[name]
    agent = ev.Population("TD3", spaces.Box(-1, 1, (3,)), space, 1, seed=3, device="cpu")[0]
    seen = np.random.default_rng(0).uniform(-1, 1, (64, 3)).astype(np.float32)
    acted = agent.act(seen)
    assert acted.dtype == space.dtype
    module = agent.module()(torch.from_numpy(seen))
    assert module.ravel().tolist() == acted.ravel().tolist()
    program = torch.export.load(agent.export(tmp_path / "agent.pt2")).module()
    found = program(torch.from_numpy(seen))
    assert found.numpy().dtype == space.dtype
    assert (found.numpy() == acted).all()
    assert set(acted.ravel().tolist()) <= set(values)
    agent.save(tmp_path / "agent")
    assert (ev.Agent.load(tmp_path / "agent").act(seen) == acted).all()
