"""The contract of what tells how good agents are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.evaluation.evaluator import Evaluator
from evolab.evaluation.fitness import Fitness, Given, Returns
from tests.small import recorded
from tests.toys import Still


class Ready:
    """Of the user's own; one figure for everybody, and a state."""

    def __init__(self, *figures):
        self.figures = list(figures)

    def estimate(self, population, buffer, seed):
        yield 1, 2
        self.measures = {"spread": np.arange(len(population), dtype=float)}
        yield np.full(len(population), self.figures[0])
        self.figures.pop(0)

    def take_state(self):
        return {"figures": self.figures}, {"one": torch.ones(1)}

    def put_state(self, state, tensors):
        assert tensors["one"].tolist() == [1.0]
        self.figures = list(state["figures"])


def offline(fitness):
    exp = ev.Experiment(None, "CQN", population=2, network=[8], steps_per_generation=5, seed=1,
                        hyperparameters={"batch_size": 8}, fitness=fitness)  # fmt: skip
    exp.fill(recorded())
    return exp


def test_the_declared_defaults_are_those_of_a_measure_without_episodes():
    plain = Fitness()
    assert (plain.beside_returns, plain.by_returns, plain.episodes, plain.lengths) == (False, False, 0, None)
    assert not plain.measures
    assert plain.take_state() is None
    with pytest.raises(NotImplementedError, match="Fitness must define estimate"):
        plain.estimate(None, None, 0)


def test_an_object_of_the_users_own_needs_estimate_alone():
    class Bare:
        def estimate(self, population, buffer, seed):
            yield np.array([1.0, 2.0])

    exp = offline(Bare())
    generation = exp.step()
    assert [one.fitness for one in generation.evaluations] == [2.0, 1.0]
    assert [one.episodes for one in generation.evaluations] == [0, 0]
    assert generation.confirmed is None
    assert exp.elite.fitness == 2.0
    exp.close()


def test_what_it_declares_is_taken_over_and_its_state_is_saved(tmp_path):
    exp = offline(Ready(1.0, 2.0, 3.0, 4.0))
    exp.run(generations=2)
    assert exp.history.fitness["spread"].tolist() == [0.0, 1.0] * 2
    exp.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", fitness=Ready(9.0))
    assert again.step().fitness == exp.step().fitness == 3.0
    exp.close()
    again.close()


def test_one_that_ends_without_figures_is_named():
    class Empty:
        def estimate(self, population, buffer, seed):
            yield 1, 2

    exp = offline(Empty())
    with pytest.raises(ValueError, match=r"Empty\.estimate ended without an array"):
        exp.step()
    exp.close()


def test_returns_are_means_of_whole_episodes_whose_lengths_are_known():
    envs = ev.envs.make(Still, population=3, num_envs=1)
    population = ev.Population(
        "DQN", envs.single_observation_space, envs.single_action_space, 3, network=[8], seed=0
    )
    evaluator = Evaluator(envs)
    returns = Returns(evaluator, episodes=4)
    *progress, fitness = returns.estimate(population, ev.ReplayBuffer(), seed=3)
    assert returns.by_returns
    assert returns.lengths.shape == (3, 4)
    assert fitness.tolist() == returns.lengths.mean(1).tolist(), "one is earned per step"
    assert evaluator.steps == returns.lengths.sum()
    assert all(total == 12 for _, total in progress)
    *_, other = returns.estimate(population, ev.ReplayBuffer(), seed=4)
    assert other.tolist() != fitness.tolist()
    assert evaluator.steps > returns.lengths.sum()
    evaluator.close()
    envs.close()


def test_beside_returns_counts_where_there_is_an_environment():
    class Beside(Ready):
        beside_returns = True

    assert Given(Beside(1.0)).beside_returns
    exp = ev.Experiment("CartPole-v1", "CQN", population=2, network=[8], steps_per_generation=5, seed=1, eval_steps=9,
                        confirmation=2, hyperparameters={"batch_size": 8}, fitness=Beside(-5.0))  # fmt: skip
    exp.fill(recorded())
    generation = exp.step()
    assert generation.fitness > 0
    assert generation.confirmed is not None
    assert sorted(exp.history.fitness["spread"]) == [0.0, 1.0]
    assert (exp.history.fitness["length"] > 1).all()
    exp.close()
