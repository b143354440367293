"""Random play while returns stand still: when, where, how much of it, and how long it lasts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import evolab as ev
from evolab.training.random_play import RandomPlay, stands_still
from tests.toys import Toy


def population(persistence, /, **search_space):
    exp = ev.Experiment(Toy, "TD3", population=4, num_envs=3, network=[4], seed=0, device="cpu", draw=False,
                        search_space=search_space, hyperparameters={"persistence": persistence})  # fmt: skip
    return exp.population


def stretches(flags):
    """Mean length of the stretches of True in [T]."""
    edges = np.diff(np.concatenate([[False], flags, [False]]).astype(int))
    return (np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)).mean()


# The mean of exp(u), u uniform from 0 to log 64, cut to whole numbers: about 63 / log 64 - 1/2.
HELD = 63 / np.log(64) - 0.5


def is_random(play, exploring, steps, ends=None):
    """[T, P, E], True where an action is not the policy's own; `ends` is [T] of the steps before which all end."""
    own, found = np.full((4, 3, 1), 7.0), []  # no random action is that large
    for step in range(steps):
        ended = np.full((4, 3), ends is not None and bool(ends[step]))
        found.append(play.stray(own, exploring, ended)[..., 0] != 7.0)
    return np.stack(found)


@pytest.mark.parametrize(("persistence", "expected"), [(1, 2.0), (8, 2 * HELD)])
def test_environments_that_explore_play_at_random_throughout_or_half_of_the_time_in_stretches(
    persistence, expected
):
    play = RandomPlay(population(persistence), 3, np.random.default_rng(0))
    exploring = np.ones((4, 3), dtype=bool)
    exploring[:, 0] = False
    random = is_random(play, exploring, 8000)
    assert not random[:, :, 0].any()  # what plays greedily is left alone
    share = random[:, :, 1:].mean(0)
    throughout = share == 1
    assert 0 < throughout.sum() < throughout.size
    assert share[~throughout] == pytest.approx(0.5, abs=0.1)
    # Two stretches in a row may be of one kind: twice the length of one in the mean.
    lengths = [stretches(random[:, row, 1 + env]) for row, env in np.argwhere(~throughout)]
    assert np.mean(lengths) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(("still", "late"), [(True, 1 / 2), (False, 1 / 3)])
def test_in_some_episodes_the_policy_goes_first_and_what_follows_is_random_to_the_end(still, late):
    play = RandomPlay(population(1), 3, np.random.default_rng(0), still, horizon=50)
    random = is_random(play, np.ones((4, 3), dtype=bool), 50 * 200, np.arange(50 * 200) % 50 == 0)
    episodes = random.reshape(200, 50, 12).transpose(0, 2, 1).reshape(-1, 50)  # [N, T]
    begins, after = episodes.argmax(1), np.maximum.accumulate(episodes, 1)
    to_the_end = (episodes == after).all(1) & (begins > 0)
    # Uniform over 50 steps: one in 50 begins with the first.
    assert to_the_end.mean() == pytest.approx(late * 49 / 50, abs=0.04)
    assert begins[to_the_end].mean() == pytest.approx(25, abs=1.5)
    own = ~episodes.any(1)
    assert own.mean() == pytest.approx(0.0 if still else 2 / 3, abs=0.04)


def test_how_much_of_an_episode_is_random_is_drawn_anew_when_it_has_ended():
    play = RandomPlay(population(8), 3, np.random.default_rng(0))
    exploring, own, ended = np.ones((4, 3), dtype=bool), np.full((4, 3, 1), 7.0), np.zeros((4, 3), dtype=bool)
    play.stray(own, exploring, ended)
    first = play.share.copy()
    play.stray(own, exploring, ended)
    assert (play.share == first).all()
    drawn = []
    for _ in range(200):
        ended[0] = True
        play.stray(own, exploring, ended)
        drawn.append(play.share[0].copy())
    assert (play.share[1:] == first[1:]).all()
    # Half of them from some step on, which is the first here; half of the others throughout.
    assert np.mean(np.array(drawn) == 1) == pytest.approx(0.75, abs=0.1)


def test_random_actions_are_held_for_a_while_and_no_longer_than_an_episode():
    play = RandomPlay(population(8), 3, np.random.default_rng(0))
    ended = np.zeros((4, 3), dtype=bool)
    taken = np.stack([play.act(None, ended)[..., 0] for _ in range(8000)])
    changes = (np.diff(taken, axis=0) != 0).mean()
    assert 1 / changes == pytest.approx(HELD, rel=0.1)
    before = play.act(None, ended)
    ended[1, 2] = True
    assert play.act(None, ended)[1, 2] != before[1, 2]


def test_where_no_exploration_persists_random_actions_are_those_of_the_space():
    agents = population(1)
    play, alike = RandomPlay(agents, 3, np.random.default_rng(0)), np.random.default_rng(0)
    for _ in range(5):
        assert np.array_equal(play.act(None, None), agents.random_actions(3, alike))


def test_where_persistence_is_searched_random_actions_last_whatever_the_agents_at_hand_have():
    """All agents of a run that had found nothing came from one with a persistence of 1: nothing lasted any more."""
    play = RandomPlay(population(1, persistence=ev.Float(1, 4)), 3, np.random.default_rng(0))
    taken = np.stack([play.act(None, None)[..., 0] for _ in range(8000)])
    assert 1 / (np.diff(taken, axis=0) != 0).mean() == pytest.approx(HELD, rel=0.1)


def history(*generations):
    """What `stands_still` reads: the fitness of the agents of some generations."""
    return SimpleNamespace(
        generations=[
            SimpleNamespace(evaluations=[SimpleNamespace(fitness=value) for value in values])
            for values in generations
        ]
    )


@pytest.mark.parametrize(
    ("generations", "expected"),
    [
        ([], True),  # nothing has risen yet
        ([[1.0, 2.0]], True),
        ([[np.nan, np.nan]], True),
        ([[np.nan, np.nan], [np.nan, 1.0]], False),  # the first that is a number
        ([[0.0], [0.0]], True),
        ([[-5.0, -5.0]] * 3, True),
        ([[0.0, 10.0], [3.0, 4.0]], True),
        ([[0.0, 10.0], [3.0, 10.4]], True),  # less than a twentieth of what there was
        ([[0.0, 10.0], [3.0, 11.0]], False),
        ([[0.0, 10.0], [3.0, 4.0], [3.0, 4.0]], True),
        ([[0.0, 10.0], [3.0, 4.0], [3.0, 10.4]], True),
        ([[0.0, 10.0], [3.0, 4.0], [3.0, 10.6]], False),
        ([[0.0, 10.0], [3.0, 11.0], [3.0, 4.0]], False),
        ([[0.0, 10.0], [3.0, 11.0], [3.0, 4.0], [np.nan, 5.0]], True),
    ],
)
def test_returns_stand_still_until_a_record_rises_and_where_it_did_not_for_two_generations(
    generations, expected
):
    assert stands_still(history(*generations)) is expected


class Unpaid(Toy):
    """Pays the same for everything."""

    def earn(self, action):
        return -1.0


@pytest.mark.parametrize(("env", "expected"), [(Unpaid, [1, 2, 3]), (Toy, [1, 2])])
def test_a_run_plays_more_at_random_while_its_returns_stand_still(env, expected, monkeypatch):
    exp = ev.Experiment(env, "TD3", population=4, network=[4], seed=0, device="cpu",
                        steps_per_generation=100)  # fmt: skip
    strayed, real = set(), RandomPlay.stray

    def noted(self, *args):
        if self._still:
            strayed.add(exp.generation + 1)
        assert self._horizon == 50  # of two environments
        return real(self, *args)

    monkeypatch.setattr(RandomPlay, "stray", noted)
    exp.run(generations=3)
    assert sorted(strayed) == expected


def test_random_actions_last_as_soon_as_one_agent_persists():
    agents = population(1)
    agents.individuals[2].hyperparameters["persistence"] = 4
    play = RandomPlay(agents, 3, np.random.default_rng(0))
    acted = np.stack([play.act() for _ in range(50)])
    assert (acted[1:] == acted[:-1]).mean() > 0.5
