"""What agents earn while they learn: which episodes count, and what is known where none has ended."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import evolab as ev
from evolab.evaluation.training_fitness import Acting, TrainingEpisodes


def begun(agents, num_envs, greedy=True):
    episodes = TrainingEpisodes()
    episodes.begin(agents, num_envs, greedy)
    return episodes


def step(episodes, reward, ended=None, valid=None, cut=None):
    """One step of all environments, [P, E] each."""
    reward = np.array(reward, dtype=float)
    none = np.zeros(reward.shape, dtype=bool)
    episodes.add(
        SimpleNamespace(
            reward=reward,
            terminated=none if ended is None else np.array(ended, dtype=bool),
            truncated=none if cut is None else np.array(cut, dtype=bool),
            valid=~none if valid is None else np.array(valid, dtype=bool),
            metrics={},
        )
    )


def test_where_none_is_greedy_every_episode_counts():
    episodes = begun(2, 2, greedy=False)
    assert episodes.exploring is True
    step(episodes, [[1, 2], [3, 4]])
    step(episodes, [[1, 2], [3, 4]], ended=[[1, 0], [0, 0]], cut=[[0, 0], [0, 1]])
    step(episodes, [[5, 2], [3, 4]], ended=[[1, 0], [0, 0]])
    assert episodes.returns == [[2.0, 5.0], [8.0]]
    assert episodes.lengths == [[2, 1], [2]]


def test_of_several_environments_the_first_is_greedy_and_alone_counts():
    episodes = begun(2, 3)
    assert episodes.exploring.tolist() == [[False, True, True]] * 2
    step(episodes, [[1, 10, 100], [2, 20, 200]], ended=[[1, 1, 1], [0, 1, 0]])
    assert episodes.returns == [[1.0], []], "what explores tells nobody apart"
    assert episodes.end() == [(1.0, 1.0), (2.0, 2.0)]


def test_an_only_environment_explores_and_counts():
    episodes = begun(2, 1)
    assert episodes.exploring is True
    step(episodes, [[1], [2]], ended=[[1], [0]])
    assert episodes.returns == [[1.0], []]


def test_an_episode_that_a_fault_broke_off_counts_for_nothing():
    episodes = begun(1, 1)
    step(episodes, [[1]])
    step(episodes, [[50]], valid=[[0]], ended=[[1]])
    assert episodes.returns == [[]]
    step(episodes, [[2]])
    step(episodes, [[2]], cut=[[1]])
    assert (episodes.returns, episodes.lengths) == ([[4.0]], [[2]])


def test_an_agent_that_ended_none_has_what_it_has_earned_so_far_and_seems_to_take_twice_as_long():
    episodes = begun(2, 1)
    for _ in range(3):
        step(episodes, [[1], [2]], ended=[[1], [0]])
    assert episodes.end() == [(1.0, 1.0), (6.0, 6.0)]


def test_episodes_are_discounted_by_each_agent_s_own_factor():
    episodes = TrainingEpisodes()
    episodes.begin(2, 1, greedy=True, discount=[0.5, 0.9])
    step(episodes, [[1], [1]])
    step(episodes, [[1], [1]])
    step(episodes, [[4], [4]], ended=[[1], [1]])
    assert episodes.discounted == [[1 + 0.5 + 4 / 4], [pytest.approx(1 + 0.9 + 0.81 * 4)]]
    step(episodes, [[7], [7]], valid=[[0], [1]])  # broken off: the next step begins an episode
    step(episodes, [[2], [2]], ended=[[1], [1]])
    assert episodes.discounted[0][1] == 2.0
    assert episodes.discounted[1][1] == pytest.approx(7 + 0.9 * 2)
    assert episodes.returns == [[6.0, 2.0], [6.0, 9.0]]


def test_of_an_agent_that_took_no_step_nothing_is_known():
    episodes = begun(2, 1)
    step(episodes, [[1], [2]], valid=[[0], [1]])
    (mean, length), other = episodes.end()
    assert np.isnan(mean)
    assert length == 0.0
    assert other == (2.0, 2.0)


def test_a_generation_in_which_half_of_the_agents_end_no_episode_is_followed_by_a_longer_one():
    episodes = begun(3, 1)
    for ended, horizon in (([[1], [1], [0]], 0), ([[1], [0], [0]], 8), ([[1], [0], [0]], 8)):
        for taken in range(4):
            step(episodes, [[1], [1], [1]], ended=ended if taken == 1 else None)
        episodes.end()
        assert episodes.horizon == horizon
        episodes.begin(3, 1, True)
    step(episodes, [[1], [1], [1]])
    episodes.end()
    assert episodes.horizon == 8, "one that was cut makes no other shorter"


def test_a_generation_in_which_half_of_the_agents_end_several_episodes_is_followed_by_a_shorter_one():
    """Who hovers at first needs long generations; who lands in a third of the time does not any more."""
    episodes = begun(2, 1)
    for ended, horizon in ((0, 12), (2, 12), (3, 6)):  # of the first agent; the other one ends as many
        for taken in range(6):
            step(episodes, [[1], [1]], ended=[[1], [1]] if taken < ended else None)
        episodes.end()
        assert episodes.horizon == horizon
        episodes.begin(2, 1, True)


@pytest.fixture
def population():
    with ev.envs.make("CartPole-v1", population=2, num_envs=1) as envs:
        yield ev.Population(
            "DQN", envs.single_observation_space, envs.single_action_space, 2, network=[4], seed=0
        )


def test_fitness_is_the_mean_and_an_agent_whose_weights_are_not_finite_has_none(population):
    episodes = begun(2, 2, greedy=False)
    step(episodes, [[1, 3], [2, 2]], ended=[[1, 1], [1, 0]])
    population.table["q"][1, 0] = float("nan")
    acting = Acting(episodes)
    (fitness,) = acting.estimate(population, ev.ReplayBuffer(10), 0)
    assert fitness[0] == 2.0
    assert np.isnan(fitness[1])
    assert acting.lengths.tolist() == [[1, 1], [1, 0]]
    assert (acting.by_returns, acting.by_acting, acting.episodes) == (True, True, 0)


def test_the_length_of_an_episode_under_way_is_what_it_seems_to_be(population):
    episodes = begun(2, 1)
    step(episodes, [[1], [2]])
    step(episodes, [[1], [2]])
    acting = Acting(episodes)
    (fitness,) = acting.estimate(population, ev.ReplayBuffer(10), 0)
    assert fitness.tolist() == [2.0, 4.0]
    assert acting.lengths.tolist() == [[4], [4]]


def test_how_long_the_next_generation_is_outlives_a_checkpoint():
    episodes = begun(1, 1)
    for _ in range(5):
        step(episodes, [[1]])
    episodes.end()
    state, tensors = Acting(episodes).take_state()
    assert not tensors
    again = TrainingEpisodes()
    Acting(again).put_state(state, tensors)
    assert again.horizon == episodes.horizon == 10
