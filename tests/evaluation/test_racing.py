from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import evolab as ev
from evolab.evaluation.racing import Racing


class Noisy(gym.Env):
    """One step; its reward is the action and the luck of the seed."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Box(-1, 1, (1,))
    spent: list[float] = []  # noqa: RUF012

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.ones(2, np.float32), {}

    def step(self, action):
        luck = float(self.np_random.normal())
        Noisy.spent.append(luck)
        return np.ones(2, np.float32), float(action[0]) + luck, True, False, {}


def test_half_goes_to_everyone_and_every_episode_is_spent():
    for episodes in range(1, 20):
        rounds = Racing().rounds(episodes)
        assert sum(rounds) == episodes
        assert rounds[0] * 2 >= episodes
        assert all(rounds)


def test_who_is_clearly_behind_plays_no_further_and_the_two_best_always_do():
    good, close, poor = np.array([10.0, 12.0]), np.array([9.0, 12.5]), np.array([1.0, 3.0])
    assert Racing().line_up([np.empty(0)] * 3, 4) == [0, 1, 2, 0]
    assert Racing().line_up([poor, good, close], 6) == [1, 1, 1, 2, 2, 2]
    assert Racing(width=0).line_up([poor, good, good - 5], 3) == [1, 1, 2], "the best takes what is left over"
    lost = np.array([np.nan, np.nan])
    assert Racing().line_up([lost, good], 2) == [1, 1]
    assert Racing().line_up([lost, lost], 2) == [0, 0]


def test_the_luck_of_a_seed_falls_out_of_the_comparison():
    luck = np.random.default_rng(0).normal(size=8) * 50
    returns = [luck + 10, luck[:4] + 5, luck[:4]]
    assert Racing().fitness(returns) == pytest.approx(luck.mean() + np.array([10, 5, 0]))
    assert np.isnan(Racing().fitness([luck, luck[:2] * np.nan])[1])


def test_an_agents_episodes_go_on_where_it_stopped_and_are_everybodys():
    with ev.envs.make(Noisy, 3, 1, seed=0) as envs:
        population = ev.Population(
            "TD3", envs.single_observation_space, envs.single_action_space, 3, network=[8], seed=0
        )
        unit = population.act(np.ones((3, 1, 2), np.float32), explore=False).ravel()
        Noisy.spent = []
        raced = ev.evaluate(population, envs, 6, seed=5, racing=Racing(width=0.0))
        trials = 3  # each set of environments is tried by one step when it is made
        assert len(Noisy.spent) == 18 + trials, "as many episodes as an even split"
        luck = sorted(set(Noisy.spent))
        plain = ev.evaluate(population, envs, 6, seed=5)
    assert raced - raced.max() == pytest.approx(unit - unit.max(), abs=1e-6)
    assert plain - plain.max() == pytest.approx(unit - unit.max(), abs=1e-6)
    assert 6 < len(luck) < 18, "the first half is common to all, the rest belongs to the two best"


def test_an_experiment_races_records_it_and_goes_on_from_its_configuration():
    exp = ev.Experiment(
        Noisy, "TD3", population=3, num_envs=1, network=[8], steps_per_generation=20, eval_episodes=4,
        racing=Racing(width=0.5), hyperparameters={"batch_size": 8}, search_space={}, seed=1,
    )  # fmt: skip
    exp.fill(24)
    generation = exp.step()
    episodes = [one.episodes for one in generation.evaluations]
    assert sum(episodes) == 12
    assert max(episodes) > min(episodes) >= 2
    assert generation.evaluations[0].fitness == max(one.fitness for one in generation.evaluations)
    assert exp.evaluation_steps == 12 + 21, (
        "twenty fresh episodes, rounded up to the agents, confirm the best"
    )
    assert exp.config["racing"] == {"type": "Racing", "width": 0.5}
    again = ev.Experiment.from_config(exp.config | {"environment": None}, environment=Noisy)
    assert again._run.racing == Racing(width=0.5)


def test_what_is_no_race_is_named():
    with pytest.raises(TypeError, match=r"racing is 3; True, False or ev\.Racing"):
        ev.Experiment("CartPole-v1", "DQN", racing=3)
    with pytest.raises(ValueError, match="Racing: width"):
        Racing(width=-1.0)
