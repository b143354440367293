"""How a run begins where nothing was filled in."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import evolab as ev
from evolab.population.acting import values
from evolab.training.act_and_learn import fill, warm_up_steps
from tests.toys import Toy


def state_of(batch=8):
    exp = ev.Experiment(Toy, "TD3", population=4, num_envs=2, network=[4], seed=0, device="cpu", draw=False,
                        search_space={}, hyperparameters={"batch_size": batch})  # fmt: skip
    return exp._state


@pytest.mark.parametrize(
    ("max_steps", "batch", "expected"),
    [
        (None, 8, 1000),
        (None, 2000, 2000),  # batches that can be had
        (100_000, 8, 1000),
        (5000, 8, 500),  # a tenth
        (500, 64, 64),  # and no less than a batch
        (50, 64, 42),  # but for the vector step of eight that a generation takes at least
        (9, 64, 1),
        (8, 64, 0),
        (1, 64, 0),
    ],
)
def test_random_steps_before_learning_leave_something_of_the_budget(max_steps, batch, expected):
    assert warm_up_steps(state_of(batch), max_steps) == expected


def test_what_was_spent_before_counts():
    state = state_of()
    state.count(300)
    state.evaluator.resume(150)
    assert warm_up_steps(state, 500) == 42
    assert warm_up_steps(state, 400) == 0


def test_filling_ends_with_the_vector_step_that_reaches_it():
    state = state_of()
    list(fill(state, 17))
    assert state.total_steps == len(state.buffer) == 24


class Constant(gymnasium.Env):
    """Three steps that earn 1 each, from an observation that tells nothing."""

    observation_space, action_space = spaces.Box(0, 1, (1,)), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 3
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.zeros(1, np.float32), 1.0, self.left == 0, False, {}


@pytest.mark.parametrize(
    "algorithm", ["DQN", "PPO", ev.TD3(), "DDPG", "SAC"], ids=["DQN", "PPO", "TD3", "DDPG", "SAC"]
)
def test_what_a_critic_expects_stands_beside_what_is_earned(algorithm):
    discrete = algorithm in ("DQN", "PPO")
    exp = ev.Experiment(
        Constant if discrete else "Pendulum-v1", algorithm, population=2, num_envs=2, network=ev.MLP([8]),
        steps_per_generation=60,
        hyperparameters={"discount": 0.5}, search_space={}, evolving=False, seed=1, progress=False,
    )  # fmt: skip
    exp.step()
    for one in exp.history.generations[-1].evaluations:
        assert one.losses
        assert all(np.isfinite(list(one.losses.values())))
        assert np.isfinite(one.value)
        if discrete:
            assert one.discounted == 1 + 0.5 + 0.25
    known = [
        one.losses["critic"] for one in exp.history.generations[-1].evaluations if "critic" in one.losses
    ]
    told = exp.history.generations[-1].losses
    assert not known or told["critic"] == pytest.approx(np.mean(known), rel=1e-4)
    if algorithm == "DQN":
        start = np.zeros((2, 1, 1), np.float32)
        found = values(exp.population.table, start)[:, 0]
        rows = {one.agent: one.value for one in exp.history.generations[-1].evaluations}
        assert found == pytest.approx([rows[individual.id] for individual in exp.population.individuals])
    exp.close()


def test_recorded_data_give_losses_and_no_expectation():
    options = {"population": 2, "network": ev.MLP([8]), "steps_per_generation": 5, "progress": False}
    exp = ev.Experiment("CartPole-v1", "CQN", seed=1, **options)
    exp.fill({"observations": np.zeros((40, 4), np.float32), "actions": np.zeros(40, np.int64), "rewards": np.ones(40),
              "terminals": np.arange(40) % 10 == 9})  # fmt: skip
    exp.step()
    one = exp.history.generations[-1].best
    assert one.losses
    assert np.isnan(one.value)
    assert np.isnan(one.discounted)
    exp.close()
