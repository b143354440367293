"""Who plays fresh episodes at the end of a generation."""

from __future__ import annotations

import pytest

import evolab as ev
from evolab.evolution.hall_of_fame import HallOfFame
from tests.toys import Toy


@pytest.fixture
def exp():
    made = ev.Experiment(
        Toy, "TD3", population=4, num_envs=2, network=[4], steps_per_generation=30, seed=0, selection=ev.Tournament(),
        hyperparameters={"batch_size": 8},
    )  # fmt: skip
    yield made
    made.close()


def test_all_agents_are_tried_the_best_first_until_nobody_can_be(exp, monkeypatch):
    tried, means = [], iter([3.0, 7.0, None, 9.0])

    def confirm(promise, target, play):
        tried.append((promise.row, promise.fitness))
        yield from ()
        return next(means)

    def observe_elite(promise, target, play):
        tried.append("elite")
        yield from ()

    monkeypatch.setattr(exp._state.hall, "confirm", confirm)
    monkeypatch.setattr(exp._state.hall, "observe_elite", observe_elite)
    monkeypatch.setattr(exp._state.hall, "fitness", 1e6)
    generation = exp.step()
    assert tried[0] == "elite"
    assert [fitness for _, fitness in tried[1:]] == [one.fitness for one in generation.evaluations][:3]
    assert len({row for row, _ in tried[1:]}) == 3
    assert generation.confirmed == 7.0


def test_trying_them_takes_no_more_than_its_share_and_one_trial(exp):
    for _ in range(6):
        exp.step()
    assert exp.evaluation_steps > 0
    longest = exp._state.evaluator.longest
    assert exp.evaluation_steps <= 0.2 * (exp.total_steps + exp.evaluation_steps) + 20 * longest


def test_an_agent_that_seems_worst_can_become_the_elite(exp, monkeypatch):
    """By what agents earn while they learn the best policy of a generation is often not seen."""
    monkeypatch.setattr(type(exp._state), "allowance", property(lambda state: 1e6))
    worst = []

    def play(hall, promise, target, play):
        yield from ()
        worst[:] = [promise.population.ids[promise.row]]
        hall.archive(promise.agent, -promise.fitness, 3)
        return -promise.fitness

    monkeypatch.setattr(HallOfFame, "confirm", play)
    generation = exp.step()
    assert len({one.fitness for one in generation.evaluations}) == 4
    assert exp.elite.id == worst[0] == generation.evaluations[-1].agent


@pytest.mark.parametrize(("fitness", "looked_at"), [(-1e6, False), (1e6, True)])
def test_an_elite_that_most_agents_surpass_costs_no_further_episodes(exp, monkeypatch, fitness, looked_at):
    """Of idle agents in MountainCarContinuous-v0 each episode takes 999 steps, and nothing can be learned from it."""
    calls = []

    def observe_elite(promise, target, play):
        calls.append(promise.row)
        yield from ()

    monkeypatch.setattr(exp._state.hall, "observe_elite", observe_elite)
    monkeypatch.setattr(exp._state.hall, "fitness", fitness)
    exp.step()
    assert bool(calls) is looked_at
