"""How far a run is, what is left of its budget, and when a generation is over."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest

import evolab as ev
from evolab.training.act_and_learn import Watch
from evolab.training.budget import Budget
from tests.small import by_episodes, recorded
from tests.toys import Choosing, Endless, Toy


def state_of(environment=Toy, algorithm="TD3", **options):
    settings = {"population": 4, "num_envs": 2, "network": [4], "seed": 0, "device": "cpu"}
    return ev.Experiment(environment, algorithm, **settings | options)._state


@pytest.fixture
def state():
    return state_of()


def test_what_is_left_of_a_budget_counts_training_and_evaluation(state):
    assert (state.left, state.spent) == (math.inf, None)
    state.seek(None, Budget(100))
    state.count(60)
    assert (state.left, state.spent) == (40, None)
    state.evaluator.resume(30)
    assert state.left == 10
    state.evaluator.resume(50)
    assert (state.left, state.spent) == (0, "max_steps"), "never less than nothing"


def test_confirmations_may_take_their_share_of_all_steps_and_no_more_than_is_left(state):
    state.count(800)
    assert state.allowance == pytest.approx(160.0)
    state.evaluator.resume(200)
    assert state.allowance == pytest.approx(0.0), "a fifth of a thousand"
    state.evaluator.resume(700)
    assert state.allowance == pytest.approx(-400.0), "what was taken too much is paid back"
    state.evaluator.resume(0)
    state.change(evaluation_share=0.5)
    assert state.allowance == pytest.approx(400.0)
    state.seek(None, Budget(820))
    assert state.allowance == 20


def test_where_every_agent_plays_for_its_fitness_nothing_is_saved():
    state = state_of(**by_episodes(4))
    state.seek(None, Budget(10))
    state.count(20)
    assert state.allowance == math.inf


def test_a_generation_that_is_left_to_evolab_stores_two_thousand_transitions(state):
    assert state.expected_steps == 500
    assert not state.over(498)
    assert state.over(500)
    assert not state.cut


@pytest.mark.parametrize(
    ("environment", "horizon", "expected"),
    [("CartPole-v1", 100, 500), ("CartPole-v1", 400, 800), ("CartPole-v1", 9000, 1000), (Endless, 9000, 18_000),
     (Endless, 90_000, 20_000)],
)  # fmt: skip
def test_it_is_longer_where_episodes_did_not_end_and_no_longer_than_they_can_be(
    environment, horizon, expected
):
    """Of two environments; CartPole ends after 500 steps, and what never does is cut after 10 000."""
    state = state_of(environment, None)
    state.episodes.horizon = horizon
    assert state.expected_steps == expected


def test_where_acting_is_not_the_fitness_a_generation_does_not_grow():
    state = state_of(**by_episodes(4))
    state.episodes.horizon = 4000
    assert state.expected_steps == 500


def test_a_rollout_fits_into_a_generation():
    state = state_of(Choosing, "PPO", num_envs=8, buffer=ev.RolloutBuffer(128))
    assert state.expected_steps == 128 * 8


def test_a_fixed_length_holds_whatever_ends(state):
    state.change(steps_per_generation=30)
    state.episodes.horizon = 4000
    assert state.expected_steps == 30
    assert not state.over(28)
    assert state.over(30)


def test_a_generation_that_the_budget_ends_is_cut(state):
    state.seek(None, Budget(100))
    state.count(100)
    assert state.over(26)
    assert state.cut
    assert state.over(500)
    assert not state.cut, "it was whole all the same"


def test_updates_from_data_are_counted_by_the_thousand():
    state = state_of(None, "CQN", population=2, num_envs=None, fitness=Constant())
    assert state.expected_steps == 1000, "before there are data as well"
    exp = ev.Experiment(recorded(), population=2, network=[4], fitness=Constant(), device="cpu")
    assert exp._state.expected_steps == 1000
    assert not exp._state.over(999)
    assert exp._state.over(1000)


class Confirmed(NamedTuple):
    confirmed: float | None


class Constant:
    def estimate(self, population, buffer, seed):
        yield np.zeros(len(population))


def test_what_was_told_is_not_told_again(state, capsys):
    for _ in range(2):
        state.tell("one", "this helps.")
    state.tell("two", "this as well.")
    assert capsys.readouterr().err == "this helps.\nthis as well.\n"


@pytest.mark.parametrize(
    ("confirmed", "episodes", "solved"),
    [([None, 90.0], 100, True), ([90.0, None], 100, False), ([90.0, 89.0], 100, False), ([95.0], 99, False),
     ([], 100, False)],
)  # fmt: skip
def test_a_target_is_reached_by_what_the_newest_generation_has_shown(state, confirmed, episodes, solved):
    """In enough episodes: a hundred, where episodes are saved."""
    state.history.generations.extend(Confirmed(value) for value in confirmed)
    state.hall.archive(state.population[0], 95.0, episodes)
    assert not state.solved, "nothing is looked for"
    state.seek(90.0)
    assert state.solved is solved


def test_progress_is_shown_at_the_end_on_an_interrupt_and_when_time_is_over(state):
    assert not Watch(state).due()
    assert Watch(state).due(ended=True)
    state.interrupt()
    assert Watch(state).due()
    state.interrupt(False)
    assert not Watch(state).due()
    clock = iter([0.0, 2.0, 2.0])
    state.seek(None, Budget(seconds=1.0, clock=lambda: next(clock)))
    assert Watch(state).due()
