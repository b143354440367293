"""Random play while nothing tells the agents apart: when, where, how much of it, and how long it lasts."""

from __future__ import annotations

import numpy as np
import pytest

import evolab as ev
from evolab.training import learning
from evolab.training.random_play import held, straying
from tests.toys import Toy


def population(persistence):
    exp = ev.Experiment(Toy, "TD3", population=4, num_envs=3, network=[4], seed=0, device="cpu", draw=False,
                        search_space={}, hyperparameters={"persistence": persistence})  # fmt: skip
    return exp.population


def stretches(flags):
    """Mean length of the stretches of True in [T]."""
    edges = np.diff(np.concatenate([[False], flags, [False]]).astype(int))
    return (np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)).mean()


@pytest.mark.parametrize(("persistence", "expected"), [(1, 2.0), (8, 16.0)])
def test_half_of_the_steps_are_random_in_stretches_twice_as_long_as_an_action_is_held(persistence, expected):
    agents = population(persistence)
    stray = straying(agents, 3, np.random.default_rng(0))
    exploring = np.ones((4, 3), dtype=bool)
    exploring[:, 0] = False
    own = np.full((4, 3, 1), 7.0)  # no random action is that large
    random = np.stack([stray(own, exploring, None)[..., 0] != 7.0 for _ in range(4000)])  # [T, P, E]
    assert not random[:, :, 0].any()  # what plays greedily is left alone
    assert random[:, :, 1:].mean() == pytest.approx(0.5, abs=0.03)
    assert stretches(random[:, 2, 1]) == pytest.approx(expected, rel=0.15)


def test_random_actions_are_held_as_long_as_exploration_persists_and_no_longer_than_an_episode():
    act = held(population(8), 3, np.random.default_rng(0))
    ended = np.zeros((4, 3), dtype=bool)
    taken = np.stack([act(None, ended)[..., 0] for _ in range(4000)])
    changes = (np.diff(taken, axis=0) != 0).mean()
    assert 1 / changes == pytest.approx(8, rel=0.1)
    before = act(None, ended)
    ended[1, 2] = True
    assert act(None, ended)[1, 2] != before[1, 2]


class Unpaid(Toy):
    """Pays the same for everything."""

    def earn(self, action):
        return -1.0


@pytest.mark.parametrize(("env", "expected"), [(Unpaid, [2, 3]), (Toy, [])])
def test_a_run_plays_at_random_after_each_generation_in_which_all_earned_the_same(env, expected, monkeypatch):
    exp = ev.Experiment(env, "TD3", population=4, network=[4], seed=0, device="cpu",
                        steps_per_generation=100)  # fmt: skip
    strayed, real = [], learning.straying

    def noted(*args):
        strayed.append(exp.generation + 1)
        return real(*args)

    monkeypatch.setattr(learning, "straying", noted)
    exp.run(generations=3)
    assert strayed == expected


def test_a_single_agent_has_nobody_to_be_told_apart_from(monkeypatch):
    monkeypatch.setattr(learning, "straying", None)
    ev.Experiment(Unpaid, "TD3", population=1, network=[4], seed=0, device="cpu",
                  steps_per_generation=100).run(generations=2)  # fmt: skip
