"""A target, a budget or rewards that stand in the way are said once, with what helps, and nothing hangs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from gymnasium import spaces

import evolab as ev
from tests.small import recorded
from tests.toys import Choosing, Toy


def quick(environment=Toy, **options):
    settings = {"population": 4, "num_envs": 2, "network": [4], "seed": 0, "device": "cpu", "progress": False,
                "steps_per_generation": 20, "hyperparameters": {"batch_size": 8}, "update_ratio": 0.1}  # fmt: skip
    exp = ev.Experiment(environment, **settings | options)
    if not exp.algorithm.on_policy:
        exp.fill(80)
    return exp


def test_a_target_beyond_what_the_environment_pays_ends_by_budget_and_says_how_far_it_came(capsys):
    exp = quick()
    exp.run(max_steps=1000, target=500.0)
    told = capsys.readouterr().err
    assert told.count("the target of 500 was not reached in") == 1
    known = exp._state.hall
    assert (
        f"in {exp.total_steps + exp.evaluation_steps} steps: the elite averages {known.fitness:.4g} over"
        in told
    )
    assert f"over {known.episodes} fresh episodes." in told
    assert "the environment may not pay as much" in told
    exp.close()


def test_without_a_confirmed_agent_it_says_what_the_best_one_seems_to_have(capsys):
    exp = quick(evaluation_share=0.0)
    exp.run(max_steps=300, target=500.0)
    assert f"the best agent, not confirmed, seems to have {exp.best.fitness:.4g}" in capsys.readouterr().err
    exp.close()


def test_a_target_is_no_matter_where_the_run_ends_for_another_reason(capsys):
    exp = quick(target=500.0)
    exp.step()
    exp.run(generations=1)
    exp.run(max_steps=2000, target=-1000.0)
    assert not capsys.readouterr().err
    exp.close()


class Silent(Choosing):
    def earn(self, action):
        return 0.0


@pytest.mark.parametrize("algorithm", ["DQN", "PPO"])
def test_rewards_that_never_change_are_said_once_with_what_helps(algorithm, capsys):
    options = {"update_ratio": None, "buffer": 8} if algorithm == "PPO" else {}
    exp = quick(Silent, algorithm=algorithm, **options)
    exp.run(generations=1)
    assert not capsys.readouterr().err, "one generation says little"
    exp.run(generations=4)
    told = capsys.readouterr().err
    assert told.count("rewards have told no agent from another") == 1
    assert "in each of 2 generations all agents had the same fitness, 0 in the last" in told
    assert "Check that step() returns what the agent earns" in told
    exp.close()


class Same(Toy):
    """Pays for every step, whatever is done."""

    def earn(self, action):
        return 1.0


def test_rewards_that_are_the_same_for_everybody_are_said_although_returns_grow_with_the_generations(capsys):
    exp = quick(Same, steps_per_generation=None, num_envs=1)
    exp._state.change(steps_per_generation=6)
    exp.step()
    exp._state.change(steps_per_generation=12)
    assert not capsys.readouterr().err
    exp.step()
    assert [generation.fitness for generation in exp.history] == [6.0, 10.0]
    assert "all agents had the same fitness, 10 in the last" in capsys.readouterr().err
    exp.close()


def test_an_only_agent_is_compared_with_what_it_was(capsys):
    for environment, told in ((Silent, True), (Toy, False)):
        exp = quick(environment, population=1)
        exp.run(generations=7)
        assert not capsys.readouterr().err
        exp.step()
        assert bool(capsys.readouterr().err) is told
        exp.close()


class Rare(Silent):
    """Pays once in a while."""

    def earn(self, action):
        return float(self.np_random.uniform() < 0.05)


def test_rewards_that_come_rarely_are_rewards(capsys):
    exp = quick(Rare)
    exp.run(generations=4)
    assert not capsys.readouterr().err
    exp.close()


def test_a_budget_below_one_generation_says_what_would_be_enough_and_that_is_enough(capsys):
    options = {"steps_per_generation": None, "hyperparameters": {"batch_size": 8}}
    settings = {
        "population": 4,
        "network": [4],
        "seed": 0,
        "device": "cpu",
        "update_ratio": 0.01,
        "progress": False,
    }
    exp = ev.Experiment(Toy, **settings | options)
    exp.run(max_steps=200)
    told = capsys.readouterr().err
    assert "max_steps=200 is too small for one generation of 4 agents, which was cut short" in told
    assert "max_steps=3000 should be enough for one." in told
    exp.close()
    exp = ev.Experiment(Toy, **settings | options)
    exp.run(max_steps=3000)
    assert not capsys.readouterr().err
    assert exp.history.generations[0].total_steps >= 2000
    exp.close()


def test_a_budget_of_updates_too(capsys):
    exp = ev.Experiment(recorded(), population=2, network=[4], device="cpu", steps_per_generation=40, seed=0,
                        hyperparameters={"batch_size": 8}, fitness=ev.FQE(members=2, hidden=[8], first=30))  # fmt: skip
    exp.run(max_steps=20)
    assert "max_steps=80 should be enough for one." in capsys.readouterr().err
    exp.close()


@pytest.mark.parametrize("budget", [1, 7, 40, 100, 900])
def test_the_smallest_budget_is_passed_by_one_vector_step_at_most(budget, capsys):
    exp = ev.Experiment(Toy, population=4, num_envs=2, network=[4], seed=0, device="cpu")
    exp.run(max_steps=budget)
    assert exp.generation == 1
    assert budget <= exp.total_steps + exp.evaluation_steps < budget + 8
    assert exp.elite.act(exp.population.observation_space.sample()).shape == (1,)
    assert "is too small for one generation" in capsys.readouterr().err
    exp.close()


class Huge(Toy):
    """Observations of 2**40, as PPO diverged on."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Dict(
            {"time": spaces.Box(0, 2**40, (1,), np.int64), "camera": spaces.Box(0, 255, (3,), np.float32)}
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.seen(), {}

    def step(self, action):
        _, *rest = super().step(action)
        return self.seen(), *rest

    def seen(self):
        return {"time": np.array([2**40]), "camera": np.full(3, 255, np.float32)}


@pytest.mark.parametrize("algorithm", ["TD3", "PPO"])
def test_observations_too_large_to_learn_from_are_said_once_with_what_helps(algorithm, capsys):
    exp = quick(Huge, algorithm=algorithm, update_ratio=None, buffer=8 if algorithm == "PPO" else 100)
    with pytest.warns(UserWarning, match=r"observations reach 1\.1e\+12, .*normalise='observations'"):
        exp.step()
    exp.step()
    assert "observations reach" not in capsys.readouterr().err, "it is said once"
    exp.close()


def test_observations_that_are_normalised_are_not_spoken_of(capsys):
    exp = quick(Huge, algorithm="TD3", update_ratio=None, buffer=100, normalise="observations")
    exp.step()
    assert "observations reach" not in capsys.readouterr().err
    exp.close()


def test_observations_that_are_scaled_already_are_not_spoken_of(capsys):
    class Pictures(Huge):
        def seen(self):
            return {"time": np.array([99_999]), "camera": np.full(3, 255, np.float32)}

    exp = quick(Pictures)
    exp.step()
    assert "observations reach" not in capsys.readouterr().err
    exp.close()


# Calls that train nothing, or less than a generation ------------------------------------------------------


def said(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    return line


def number_in(line, name):
    return float(re.search(rf"{name}=?([\d.]+) should be enough", line)[1])


@pytest.mark.parametrize("fitness", ["acting", "return"])
def test_a_spent_budget_says_what_was_taken_and_what_is_enough_for_one_more_generation(fitness, capsys):
    exp = quick(fitness=fitness, eval_episodes=1)
    exp.run(generations=2)
    taken = exp.total_steps + exp.evaluation_steps
    assert not capsys.readouterr().err
    exp.run(max_steps=taken)
    line = said(capsys)
    assert f"max_steps={taken} counts all steps of the run" in line
    assert f"{taken:,} were taken before. Nothing was trained" in line
    assert exp.generation == 2
    exp.run(max_steps=int(number_in(line, "max_steps")))
    assert exp.generation == 3
    assert exp.total_steps == exp.history.generations[1].total_steps + 80, "a whole generation of four agents"
    assert not capsys.readouterr().err
    exp.close()


def test_steps_that_are_too_few_for_an_evaluation_are_said_each_time(capsys):
    """The call returned without a word."""
    exp = quick(fitness="return", eval_episodes=1)
    exp.step()
    taken = exp.total_steps + exp.evaluation_steps
    for _ in range(2):
        exp.run(max_steps=taken + 45)  # four episodes of ten steps, and a vector step of eight
        assert f"{taken:,} were taken before, and the 45 that are left are too few for an evaluation" in said(
            capsys
        )
    exp.start(max_steps=taken + 45)
    exp.wait()
    assert "Nothing was trained" in said(capsys)
    assert exp.generation == 1
    exp.close()


def test_a_budget_that_cuts_the_only_generation_of_a_later_call_says_what_is_enough(capsys):
    exp = quick()
    exp.step()
    taken = exp.total_steps + exp.evaluation_steps
    exp.run(max_steps=taken + 30)
    line = said(capsys)
    assert f"max_steps={taken + 30} is too small for one generation of 4 agents" in line
    assert f"max_steps={taken + 80} should be enough for one" in line
    exp.run(max_steps=taken + 300)  # cut at its end, after whole ones
    assert not capsys.readouterr().err
    exp.close()


def test_a_target_that_is_reached_already_is_said_and_generations_go_on(capsys):
    exp = quick(eval_episodes=1, fitness="return")
    exp.run(generations=50, target=-1e9)
    number = exp.generation
    assert number < 50
    for goals in ({"target": -1e9}, {"max_steps": 10**6}, {"minutes": 5}):
        exp.run(**goals)
        line = said(capsys)
        assert "the target of -1e+09 is reached" in line
        assert "Nothing was trained; pass generations=" in line
    assert exp.generation == number
    exp.run(generations=1)
    assert exp.generation == number + 1
    assert not capsys.readouterr().err
    exp.close()
