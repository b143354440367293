"""Generalised advantage estimates, against their definition and against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evolab.algorithms.ppo import advantages
from evolab.data.buffers.rollout import RolloutSteps


def estimated(reward, value, next_value, terminated, ended, valid, discount, trace):
    """[P, T, E], from parts of that shape."""
    rollout = RolloutSteps(None, None, reward.flatten(1), None, terminated.flatten(1), ended=ended.flatten(1),
                      valid=valid.flatten(1), num_envs=reward.shape[2])  # fmt: skip
    return advantages(rollout, value.flatten(1), next_value.flatten(1), discount, trace).view_as(reward)


def slow(reward, value, next_value, terminated, ended, valid, discount, trace):
    """The definition, written out: for each step the weighted sum of all errors that follow in its episode."""
    agents, steps, members = reward.shape
    found = np.zeros(reward.shape)
    for agent in range(agents):
        for member in range(members):
            for start in range(steps):
                weight = 1.0
                for step in range(start, steps):
                    place = agent, step, member
                    if not valid[place]:
                        break
                    following = 0.0 if terminated[place] else next_value[place]
                    found[agent, start, member] += weight * (
                        reward[place] + discount[agent] * following - value[place]
                    )
                    if ended[place]:
                        break
                    weight *= discount[agent] * trace[agent]
    return found


def drawn(shape=(3, 17, 4), seed=0):
    """Random rewards and values, with episodes that end either way, and with faults."""
    rng = np.random.default_rng(seed)
    reward, value, next_value = rng.normal(size=(3, *shape))
    terminated = rng.random(shape) < 0.1
    ended = terminated | (rng.random(shape) < 0.1)
    valid = rng.random(shape) > 0.05
    assert terminated.any()
    assert (ended & ~terminated).any()
    assert not valid.all()
    return [reward, value, next_value, terminated, ended, valid]


@pytest.mark.parametrize("seed", range(3))
def test_advantages_are_those_of_the_definition(seed):
    parts = drawn(seed=seed)
    discount, trace = np.array([0.99, 0.5, 1.0]), np.array([0.95, 1.0, 0.0])
    found = estimated(*(torch.as_tensor(part, dtype=torch.float64) for part in [*parts, discount, trace]))
    assert np.allclose(found.numpy(), slow(*parts, discount, trace), atol=1e-12, rtol=0)


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)[None, :, None]


def test_a_truncated_episode_bootstraps_and_a_terminated_one_does_not():
    zero, one = numbers(0, 0), numbers(0, 1)
    rest = (numbers(1, 1), torch.tensor([0.5]), torch.tensor([1.0]))
    reward, value, following = numbers(1, 1), numbers(2, 4), numbers(4, 8)
    # the last step: 1 + 0.5 * 8 - 4 = 1, or 1 - 4 = -3; the first: 1 + 0.5 * 4 - 2 = 1, and half of the last
    assert estimated(reward, value, following, zero, one, *rest).flatten().tolist() == [1.5, 1.0]
    assert estimated(reward, value, following, one, one, *rest).flatten().tolist() == [-0.5, -3.0]


def test_nothing_of_the_next_episode_reaches_the_one_before():
    reward = numbers(0, 0, 100)
    args = (numbers(0, 0, 0), numbers(0, 0, 0), numbers(0, 0, 0), numbers(0, 1, 0), numbers(1, 1, 1))
    found = estimated(reward, *args, torch.tensor([0.9]), torch.tensor([1.0]))
    assert found.flatten().tolist() == [0.0, 0.0, 100.0]
