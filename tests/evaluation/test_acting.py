"""What agents earn while they learn: which episodes count, and what is known where none has ended."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import evolab as ev
from evolab.evaluation.acting import Acting, TrainingEpisodes


def agents(*ids, slots=None):
    return [SimpleNamespace(id=id, slot=slot) for id, slot in zip(ids, slots or range(len(ids)), strict=True)]


def begun(num_envs, *ids, number=1, greedy=True, slots=None):
    episodes = TrainingEpisodes()
    episodes.begin(agents(*ids, slots=slots), num_envs, number, greedy)
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
        )
    )


def test_where_none_may_be_greedy_every_episode_counts():
    episodes = begun(2, 7, 8, greedy=False)
    assert episodes.exploring is True
    step(episodes, [[1, 2], [3, 4]])
    step(episodes, [[1, 2], [3, 4]], ended=[[1, 0], [0, 0]], cut=[[0, 0], [0, 1]])
    step(episodes, [[5, 2], [3, 4]], ended=[[1, 0], [0, 0]])
    assert episodes.returns == [[2.0, 5.0], [8.0]]
    assert episodes.lengths == [[2, 1], [2]]


def test_of_several_environments_the_first_is_greedy_and_the_others_explore():
    episodes = begun(3, 7, 8)
    assert episodes.exploring.tolist() == [[False, True, True]] * 2
    step(episodes, [[1, 10, 100], [2, 20, 200]], ended=[[1, 1, 1], [0, 1, 0]])
    assert episodes.returns == [[1.0], []], "what explores tells nobody apart"
    assert episodes.exploring.tolist() == [[False, True, True]] * 2


def test_an_only_environment_explores_in_every_second_episode_half_of_the_agents_this_way_round():
    episodes = begun(1, 7, 8, number=1)
    assert episodes.exploring.tolist() == [[False], [True]]
    step(episodes, [[1], [2]], ended=[[1], [0]])
    assert episodes.exploring.tolist() == [[True], [True]]
    step(episodes, [[3], [4]], ended=[[1], [1]])
    assert episodes.exploring.tolist() == [[False], [False]]
    step(episodes, [[5], [6]], ended=[[0], [1]])
    assert episodes.returns == [[1.0], [6.0]]
    assert begun(1, 7, 8, number=2).exploring.tolist() == [[True], [False]], "the next generation swaps them"
    assert begun(1, 7, 8, slots=[4, 6]).exploring.tolist() == [[False], [False]], "it follows the slots"


def test_an_episode_that_a_fault_broke_off_counts_for_nothing():
    episodes = begun(1, 7, greedy=False)
    step(episodes, [[1]])
    step(episodes, [[50]], valid=[[0]], ended=[[1]])
    assert not episodes.ended(0)
    step(episodes, [[2]])
    step(episodes, [[2]], cut=[[1]])
    assert (episodes.returns, episodes.lengths) == ([[4.0]], [[2]])
    assert episodes.ended(0)


def test_a_generation_may_end_when_every_agent_ended_an_episode_and_something_is_known_of_each():
    episodes = begun(1, 7, 8)
    assert not episodes.tell_of_all
    step(episodes, [[1], [2]], ended=[[1], [1]])
    assert not episodes.tell_of_all, "the second one has only explored"
    step(episodes, [[1], [2]], ended=[[0], [1]])
    assert episodes.tell_of_all
    assert episodes.end() == [(1.0, 1.0), (2.0, 1.0)]
    episodes.begin(agents(8, 9, slots=[1, 0]), 1, 2, True)
    step(episodes, [[1], [2]], ended=[[1], [0]])
    assert not episodes.tell_of_all, "the newborn has ended none"
    step(episodes, [[1], [2]], ended=[[0], [1]])
    assert not episodes.tell_of_all, "it explored"
    step(episodes, [[1], [2]], ended=[[0], [1]])
    assert episodes.tell_of_all, "of the other something is known from before"


def test_an_agent_is_known_by_its_newest_greedy_episodes_and_the_dead_are_forgotten():
    episodes = begun(1, 7, 8, greedy=False)
    step(episodes, [[1], [2]], ended=[[1], [1]])
    step(episodes, [[3], [2]], ended=[[1], [0]])
    assert episodes.end() == [(2.0, 1.0), (2.0, 1.0)]
    episodes.begin(agents(8, 9), 1, 2, False)
    step(episodes, [[5], [6]])
    step(episodes, [[5], [6]])
    assert episodes.end() == [(2.0, 1.0), (12.0, 2.0)], "of the newborn the episode under way is all there is"
    assert set(episodes.known) == {8, 9}


def test_of_an_agent_that_took_no_step_nothing_is_known():
    episodes = begun(1, 7, 8, greedy=False)
    step(episodes, [[1], [2]], valid=[[0], [1]])
    (mean, length), other = episodes.end()
    assert np.isnan(mean)
    assert length == 0.0
    assert other == (2.0, 1.0)


@pytest.fixture
def population():
    with ev.envs.make("CartPole-v1", population=2, num_envs=1) as envs:
        yield ev.Population(
            "DQN", envs.single_observation_space, envs.single_action_space, 2, network=[4], seed=0
        )


def test_fitness_is_the_mean_and_an_agent_whose_weights_are_not_finite_has_none(population):
    episodes = begun(2, *population.ids, greedy=False)
    step(episodes, [[1, 3], [2, 2]], ended=[[1, 1], [1, 0]])
    population.table["q"][1, 0] = float("nan")
    acting = Acting(episodes)
    (fitness,) = acting.estimate(population, ev.ReplayBuffer(10), 0)
    assert fitness[0] == 2.0
    assert np.isnan(fitness[1])
    assert acting.lengths.tolist() == [[1, 1], [1, 0]]
    assert (acting.by_returns, acting.by_acting, acting.episodes) == (True, True, 0)


def test_the_length_of_an_agent_that_ended_no_greedy_episode_is_that_of_what_is_known(population):
    episodes = begun(1, *population.ids)
    step(episodes, [[1], [2]])
    step(episodes, [[1], [2]])
    acting = Acting(episodes)
    (fitness,) = acting.estimate(population, ev.ReplayBuffer(10), 0)
    assert fitness.tolist() == [2.0, 4.0]
    assert acting.lengths.tolist() == [[2], [2]]


def test_what_is_known_outlives_a_checkpoint(population):
    episodes = begun(1, 3, 12, greedy=False)
    step(episodes, [[1], [2.5]], ended=[[1], [1]])
    episodes.end()
    state, tensors = Acting(episodes).take_state()
    assert not tensors
    again = TrainingEpisodes()
    Acting(again).put_state(state, tensors)
    assert again.known == episodes.known == {3: (1.0, 1.0), 12: (2.5, 1.0)}
