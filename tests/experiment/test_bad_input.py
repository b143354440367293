"""What an experiment refuses before time is spent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.evolution.mutation.mutations import KINDS
from tests.experiment.toy_runs import toy, updates
from tests.toys import Choosing, Toy


class Outside(Toy):
    """Shows numbers that its space does not have."""

    def show(self):
        return np.array([99.0, 0.0], np.float32)


class Sick(Toy):
    """Every reward is NaN."""

    def earn(self, action):
        return float("nan")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ev.Experiment("LunarLanderContinous-v3"), r"LunarLanderContinuous-v3"),
        (lambda: toy("TD5"), r"Unknown algorithm 'TD5'. Known: .*DQN.*TD3.*did you mean 'TD3'\?"),
        (lambda: toy(population=0), "population is 0; expected a whole number >= 1."),
        (lambda: toy(num_envs=0), "num_envs is 0; expected a whole number >= 1."),
        (lambda: toy(seed=-1), "seed is -1; expected a whole number >= 0."),
        (lambda: toy(hyperparameters={"lr_actr": 1e-3}),
         r"Unknown hyperparameter of TD3 'lr_actr'. Known: .*did you mean 'lr_actor'\?"),
        (lambda: toy(hyperparameters={"gamma": 0.9}), "evolab calls it discount."),
        (lambda: toy(hyperparameters={"batch_size": 64}), "batch_size is 64; its range is 8 to 32."),
        (lambda: toy(hyperparameters={"discount": 1.5}), "discount is 1.5; its range is 0.0 to 1.0."),
        (lambda: toy(search_space={"discount": ev.Float(0.5, 2.0)}), "discount is 2.0; its range is 0.0 to 1.0."),
        (lambda: toy(device="gpu"), "device is 'gpu'; 'auto', 'cpu', 'cuda' or 'meta' is expected."),
        (lambda: toy(fitness="returns"), r"Unknown fitness 'returns'. Known: acting, fqe, return; did you mean 'return'\?"),
        (lambda: toy(selection=ev.Tournament(size=5)), r"Tournament\(size=5\) is larger than the population of 3"),
        (lambda: toy(selection=ev.Tournament(size=0)), "is 0; expected a whole number >= 1"),
        (lambda: toy(search_space={"lr_actor": ev.Float(1e-2, 1e-4)}), "low must be below high"),
        (lambda: toy(mutations=ev.Mutations(none=-1.0)), "Mutations: none"),
        (lambda: toy(mutations=dict.fromkeys(KINDS, 0.0)), "at least one must be positive"),
        (lambda: toy(network=ev.Stack(lambda inputs, outputs: torch.nn.Linear(inputs, outputs + 1))),
         r"the module gives .*; .* is expected, one column per output"),
        (lambda: toy(eval_episodes=0), "eval_episodes is 0; expected a whole number >= 1."),
        (lambda: ev.Experiment(None, "TD3"), "learns by acting|without an environment there are no returns"),
        (lambda: toy(environment=Outside), "Outside"),
        (lambda: toy(network=[]), "widths of at least 1 are expected"),
    ],
)  # fmt: skip
def test_bad_values_are_refused_before_time_is_spent(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: toy("DQN", environment=Toy),
            "DQN needs Discrete or MultiDiscrete actions; .*Use TD3 or DDPG for it.",
        ),
        (
            lambda: toy("TD3", environment=Choosing),
            r"TD3 needs Box actions; .*Discrete\(3\). Use DQN for it.",
        ),
        (lambda: toy(hyperparameters={"lr_actor": "1e-3"}), "lr_actor is '1e-3'; a number from"),
        (lambda: toy(hyperparameters={"batch_size": 16.5}), "batch_size is 16.5; it must be a whole number."),
        (
            lambda: toy(search_space={"batch_size": ev.Float(8, 16)}),
            "batch_size is a whole number. Use ev.Integer.",
        ),
        (
            lambda: toy(search_space={"lr_actor": (1e-4, 1e-2)}),
            "ev.Float, ev.Integer or ev.Choice is expected",
        ),
        (lambda: toy(population=2.0), r"population is 2.0 \(float\); .* Write population=2."),
        (lambda: toy(network=3.5), r"network is 3\.5; ev.MLP\(\[64, 64\]\)"),
        (lambda: toy(algorithm=3), r"algorithm is 3; a name such as 'DQN' or an object, ev.DQN\(...\)"),
        (lambda: toy(mutations=3), r"mutations is 3; ev.Mutations\(...\)"),
        (
            lambda: toy(selection=3),
            r"selection is 3; a name such as 'Tournament' or an object, ev.Tournament\(...\)",
        ),
        (lambda: toy(buffer=[]), r"buffer is \[\]; ev.ReplayBuffer\(...\)"),
    ],
)
def test_values_of_the_wrong_type_are_refused_before_time_is_spent(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_shorthands_stand_for_objects():
    exp = toy(selection="truncation", mutations={"none": 0.9}, buffer=123, network=ev.MLP([8]))
    assert isinstance(exp.selection, ev.Truncation)
    assert exp.mutations == ev.Mutations(none=0.9)
    assert exp.buffer.capacity == 123
    with pytest.raises(ValueError, match=r"Unknown selection 'tournamnet'. .*did you mean 'Tournament'\?"):
        toy(selection="tournamnet")


@pytest.mark.parametrize("filled", [0, 12])
def test_a_buffer_without_a_batch_is_filled_by_itself(filled):
    exp = toy()
    if filled:
        exp.fill(filled)
    exp.step()
    assert exp.total_steps == filled + 1002 + 72, "a thousand random steps are 167 vector steps of six"
    assert updates(exp) == [24] * 3
    exp.close()


def test_data_do_not_come_by_themselves():
    exp = ev.Experiment(None, "CQN", population=2)
    for call in (exp.step, exp.start):
        with pytest.raises(ValueError, match=r"there are no data yet. Call exp.fill\('data.h5'\) first."):
            call()
    exp.close()


def test_goals_that_are_none_are_refused():
    exp = toy()
    with pytest.raises(ValueError, match=r"run\(\) needs a goal"):
        exp.run()
    with pytest.raises(ValueError, match="generations is 0; expected a whole number"):
        exp.run(generations=0)
    with pytest.raises(ValueError, match="fill is 0; expected a whole number"):
        exp.fill(0)


def test_a_batch_that_outgrows_the_buffer_waits_for_more():
    exp = toy(hyperparameters={"batch_size": 16}, search_space={"batch_size": ev.Integer(8, 4096, grow=50.0)},
              mutations=ev.Mutations(none=0, architecture=0, parameters=0, activation=0))  # fmt: skip
    exp.fill(60)
    exp.run(generations=4)
    assert exp.generation == 4
    exp.close()


def test_rewards_that_are_not_numbers_stop_the_run_with_the_environments_name():
    exp = toy(environment=Sick)
    with pytest.raises(
        ev.envs.EnvironmentFault, match=r"Sick: environment .* failed 10 times in a row: reward nan"
    ):
        exp.fill(60)


def test_unknown_options_of_a_configuration_are_refused():
    with pytest.raises(
        ValueError, match=r"Unknown option of Experiment 'populaton'.*did you mean 'population'\?"
    ):
        ev.Experiment.from_config({"environment": "CartPole-v1", "algorithm": "DQN", "populaton": 3})
    with pytest.raises(FileNotFoundError, match=r"no configuration at nowhere.yaml"):
        ev.Experiment.from_config("nowhere.yaml")


def test_spaces_are_the_environments_own(exp):
    assert isinstance(exp.population.action_space, spaces.Box)
    assert exp.name == "Toy"
    assert exp.algorithm.name == "TD3"


def test_an_unknown_option_of_mutations_is_named():
    with pytest.raises(ValueError, match="Unknown option of Mutations 'parametres'"):
        toy(mutations={"parametres": 0.1})
