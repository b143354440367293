"""What version 0.1.0 left on disk is read for good: a run after two generations, and an agent.

The folders in `tests/fixtures/` were written once by that version and are never written anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import evolab as ev

FIXTURES = Path(__file__).parent / "fixtures"


def copied(name, tmp_path):
    """A copy, for loading a run leaves a lock behind."""
    return shutil.copytree(FIXTURES / name, tmp_path / name)


@pytest.fixture
def run(tmp_path):
    """The saved run, loaded."""
    exp = ev.Experiment.load(copied("run_of_0_1_0", tmp_path))
    yield exp
    exp.close()


def test_its_counters_agents_and_elite_are_there(run):
    assert (run.generation, run.total_steps, run.evaluation_steps) == (2, 424, 546)
    assert sorted(run.population.ids) == [4, 7, 8, 9]
    assert (run.best.id, run.best.fitness) == (4, 10.5)
    assert (run.elite.id, run.elite.fitness) == (3, 10.25)
    assert len(run.buffer) == 200


def test_its_agents_explore_as_they_did(run):
    assert {agent.hyperparameters["persistence"] for agent in run.population} == {1.0}
    assert run.elite.hyperparameters["persistence"] == 1.0
    assert "persistence" not in run.population.search_space


def test_it_learns_and_is_measured_as_it_was(run):
    """Its ratio counted an agent's own steps, where one counts every transition that is stored now."""
    told = run.config
    assert (told["fitness"], told["revive"], told["population"]) == ("return", False, 4)
    assert (told["update_ratio"], told["steps_per_generation"]) == (0.25, 40)


def test_its_history_is_there(run):
    fitness = run.history.fitness.set_index(["generation", "agent"])
    assert fitness.fitness.to_dict() == {
        (1, 0): 9.5, (1, 1): 10.0, (1, 2): 9.0, (1, 3): 10.5,
        (2, 3): 9.0, (2, 4): 10.5, (2, 5): 9.0, (2, 6): 10.5,
    }  # fmt: skip
    assert fitness.is_elite[fitness.is_elite].index.tolist() == [(1, 3), (2, 4)]
    births = run.history.mutations.set_index(["generation", "agent"]).sort_index()
    assert births.parent.tolist() == [3, 0, 3, 1, 4, 6, 6, 5]
    assert births.kind.tolist() == [
        "elite", "activation", "hyperparameters", "parameters",
        "elite", "hyperparameters", "parameters", "hyperparameters",
    ]  # fmt: skip
    assert births.detail[1, 4] == "activation relu -> gelu"
    assert [one.losses["q"] for one in run.history] == pytest.approx([1.1889874756, 1.1155295908])
    assert [one.confirmed for one in run.history] == [10.25, 9.25]


def test_it_steps_on_and_saves(run, tmp_path):
    generation = run.step()
    assert (generation.number, generation.total_steps) == (3, 584)
    assert sorted(one.agent for one in generation.evaluations) == [4, 7, 8, 9]
    assert {one.updates for one in generation.evaluations} == {120}
    run.save(tmp_path / "again")
    again = ev.Experiment.load(tmp_path / "again")
    assert again.history == run.history
    again.close()


def test_an_older_generation_of_it_is_there_too(tmp_path):
    exp = ev.Experiment.load(copied("run_of_0_1_0", tmp_path), generation=1)
    assert exp.generation == 1
    assert sorted(exp.population.ids) == [3, 4, 5, 6]
    exp.close()


@pytest.mark.parametrize(
    ("folder", "known", "actions"),
    [
        (
            "agent_of_0_1_0",
            {"agent": 4, "parent": 0, "fitness": 10.5, "architecture": "16 gelu"},
            [1, 1, 0, 0],
        ),
        ("run_of_0_1_0/elite", {"agent": 3, "parent": None, "fitness": 10.25}, [0, 0, 0, 1]),
    ],
)
def test_an_agent_acts_as_it_did(tmp_path, folder, known, actions):
    agent = ev.Agent.load(copied(folder, tmp_path))
    said = agent.describe()
    assert {name: said[name] for name in known} == known
    assert said["network_size"] == 114
    np.testing.assert_array_equal(agent.act(3 * np.eye(4, dtype="f")), actions)
