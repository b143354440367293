"""Batches that are larger than what is stored stop nobody."""

from __future__ import annotations

import pytest

import evolab as ev
from tests.experiment.toy_runs import SMALL, toy, updates
from tests.small import by_episodes
from tests.toys import Choosing, Toy


def test_a_range_beyond_the_buffer_is_cut_to_it_and_said():
    with pytest.warns(UserWarning, match=r"batch_size reaches beyond the buffer, which holds 64 transitions: it "
                      r"starts at 16 and evolves within Integer\(low=8, high=64"):  # fmt: skip
        exp = toy(buffer=64, search_space={"batch_size": ev.Integer(8, 512)})
    assert (exp.search_space["batch_size"].low, exp.search_space["batch_size"].high) == (8, 64)
    assert exp.config["search_space"]["batch_size"]["high"] == 64
    with pytest.warns(UserWarning, match="it starts at 64 and stays there"):
        exp = toy(
            buffer=64, hyperparameters={"batch_size": 256}, search_space={"batch_size": ev.Integer(64, 512)}
        )
    assert exp.population[0].hyperparameters["batch_size"] == 64
    assert exp.search_space == {}


def test_evolabs_own_range_is_cut_without_a_word():
    exp = ev.Experiment(Toy, buffer=100, **SMALL, **by_episodes(3))
    assert exp.search_space["batch_size"].high == 100
    assert exp.population[0].hyperparameters["batch_size"] == 100
    exp = ev.Experiment(Toy, buffer=20, **SMALL, **by_episodes(3))
    assert "batch_size" not in exp.search_space
    exp.fill(24)
    exp.step()  # 3 agents, 2 environments: 24 updates each, from 20 transitions
    assert updates(exp) == [24] * 3


def test_one_agents_batch_is_cut_to_what_is_stored_and_stops_no_other():
    """Generations with batches of 48, 20, 15 and 114 learned nothing at all from a buffer of 64."""
    exp = toy(search_space={"batch_size": ev.Integer(8, 500)}, evolving=False, population=2, update_ratio=0.5)
    agents = [exp.population.individual(row) for row in range(2)]
    agents[1].hyperparameters["batch_size"] = 400
    exp.population.rebuild(agents)
    exp.fill(32)  # and 4 are added by the first step
    with pytest.warns(
        UserWarning, match=r"batch_size is 400 in agent 1, and 36 transitions are stored"
    ) as told:
        exp.run(generations=2)
    assert len([one for one in told if "batch_size" in str(one.message)]) == 1
    assert updates(exp) == [48, 48]


@pytest.mark.parametrize("batch", [16, 2048])
def test_ppo_learns_in_generations_shorter_than_a_rollout(batch):
    """1000 steps in 8 environments with batches of 2048: three generations, and no update."""
    exp = ev.Experiment(
        Choosing, "PPO", hyperparameters={"batch_size": batch, "epochs": 3},
        **{**SMALL, "steps_per_generation": 10}, evolving=False,
    )  # fmt: skip
    exp.run(generations=2)
    assert updates(exp) == [6] * 3  # 3 passes a generation over 10 steps, which are one minibatch
    exp.close()


def test_ppo_drops_what_a_longer_generation_leaves():
    exp = ev.Experiment(
        Choosing, "PPO", hyperparameters={"batch_size": 16, "epochs": 3}, buffer=8, evolving=False,
        **{**SMALL, "steps_per_generation": 22},
    )  # fmt: skip
    exp.step()
    assert (
        updates(exp) == [3] * 3
    )  # 8 steps in 2 environments are one minibatch; the 6 transitions left are not
    exp.close()
