"""What is set between two generations, or passed when a run is loaded."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import evolab as ev
from tests.experiment.toy_runs import same, toy
from tests.toys import Toy

CHANGES = {
    "selection": ("truncation", ev.Truncation()),
    "mutations": ({"none": 0.9}, ev.Mutations(none=0.9)),
    "search_space": ({"lr_actor": ev.Float(1e-5, 2e-5)}, {"lr_actor": ev.Float(1e-5, 2e-5)}),
    "steps_per_generation": (10, 10),
    "update_ratio": (0.5, 0.5),
    "eval_episodes": (3, 3),
    "eval_steps": (4, 4),
    "confirmation": (5, 5),
    "evaluation_share": (0.5, 0.5),
    "evolving": (False, False),
    "revive": ("resting", "resting"),
    "target": (50, 50.0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_set_holds_from_the_next_generation_and_is_recorded_saved_and_resumed(exp, tmp_path, name):
    """`exp.search_space = {...}` and `exp.eval_episodes = 7` passed, and nothing happened."""
    given, expected = CHANGES[name]
    exp.step()
    setattr(exp, name, given)
    if name == "search_space":
        expected = {
            "lr_actor": dataclasses.replace(expected["lr_actor"], grow=exp.search_space["lr_actor"].grow)
        }
    assert getattr(exp, name) == expected
    exp.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", environment=Toy)
    assert getattr(again, name) == expected
    assert again.config == exp.config != toy().config
    for one in (exp, again):
        assert list(one.step().changes) == [name], "the generation that it holds for says so"
        assert one.step().changes == {}
    same(again, exp)
    exp.save(tmp_path / "run")
    assert ev.Experiment.load(tmp_path / "run", environment=Toy).history == exp.history


def test_settings_do_what_they_say(exp):
    exp.step()
    exp.eval_episodes, exp.eval_steps, exp.steps_per_generation, exp.update_ratio = 3, 4, 10, 0.5 / 3
    exp.evolving = False
    before = {e.agent: (e.steps, e.updates) for e in exp.history.generations[0].evaluations}
    ids = exp.population.ids
    generation = exp.step()
    assert exp.population.ids == ids
    assert not generation.births
    assert {(e.episodes, e.length) for e in generation.evaluations} == {(3, 4.0)}
    survivors = [e for e in generation.evaluations if e.agent in before]
    assert {(e.steps - before[e.agent][0], e.updates - before[e.agent][1]) for e in survivors} == {(10, 5)}


def test_a_search_space_of_later_is_where_hyperparameters_mutate(exp):
    exp.step()
    exp.search_space = {"lr_actor": ev.Float(1e-5, 2e-5)}
    exp.mutations = ev.Mutations(none=0, architecture=0, parameters=0, activation=0, resample=1.0)
    exp.step()
    changed = [b for b in exp.history.generations[1].births if b.kind == "hyperparameters"]
    assert changed
    assert all(b.detail.startswith("lr_actor") for b in changed)
    values = exp.population.table.hyper["lr_actor"].tolist()
    assert {1e-5 <= value <= 2e-5 for value in values} == {True, False}, "those of the survivors stay"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mutatons", r"Unknown setting of Experiment 'mutatons'.*did you mean 'mutations'\?"),
        (
            "population",
            r"population is the same for a whole run.*from_config\(exp.config \| \{'population': 8\}\)",
        ),
        ("seed", "seed is the same for a whole run"),
        ("history", "history can be read only. Can be set: target, selection"),
        ("step", "step can be read only"),
    ],
)
def test_what_cannot_be_set_says_so(exp, name, message):
    with pytest.raises(AttributeError, match=message):
        setattr(exp, name, 8)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("selection", "tournamnet", ValueError),
        ("eval_episodes", 0, ValueError),
        ("search_space", {"lr_actr": ev.Float(0.1, 0.2)}, ValueError),
        ("revive", "rest", ValueError),
        ("update_ratio", "1", TypeError),
    ],
)
def test_a_bad_setting_is_refused_and_changes_nothing(exp, name, value, error):
    before = exp.config
    with pytest.raises(error):
        setattr(exp, name, value)
    assert exp.config == before
    assert exp.step().changes == {}


@pytest.mark.parametrize(
    ("asks", "meanwhile", "then"), [("stop", "stopping", "stopped"), ("pause", "pausing", "paused")]
)
def test_the_status_says_how_a_run_comes_to_rest(exp, asks, meanwhile, then):
    """After `pause()` it said "stopping", as after `stop()`."""
    exp.start()
    with exp._runner.lock:  # it cannot come to rest meanwhile
        getattr(exp, asks)()
        assert exp.status == meanwhile
    assert exp.wait(60) == exp.status == then


@pytest.fixture
def saved(exp, tmp_path):
    exp.step()
    exp.save(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_that_is_passed_when_loading_holds_and_is_recorded(saved, name):
    given, _ = CHANGES[name]
    later, loaded = (
        ev.Experiment.load(saved, environment=Toy),
        ev.Experiment.load(saved, environment=Toy, **{name: given}),
    )
    setattr(later, name, given)
    assert loaded.config == later.config
    assert list(loaded.step().changes) == [name]
    later.step()
    same(loaded, later)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("population", 3),
        ("network", ev.MLP([16])),
        ("hyperparameters", {"lr_actor": 1e-3}),
        ("draw", True),
        ("load", "elsewhere"),
        ("buffer", 10),
        ("dtype", torch.float64),
    ],
)
def test_what_the_saved_agents_have_settled_is_refused_by_name(saved, name, value):
    """They were ignored, or the next step broke."""
    with pytest.raises(ValueError, match=f"Experiment.load takes no {name}: the saved"):
        ev.Experiment.load(saved, environment=Toy, **{name: value})


def test_other_options_are_applied_when_loading_and_unknown_ones_refused(saved):
    again = ev.Experiment.load(saved, environment=Toy, num_envs=4, keep=1, vectorization="sync")
    assert (again.config["num_envs"], again.config["keep"]) == (4, 1)
    assert again.step().best.steps > 0
    with pytest.raises(ValueError, match=r"algorithm is DDPG; the saved agents learn by TD3. Leave it out."):
        ev.Experiment.load(saved, environment=Toy, algorithm="DDPG")
    with pytest.raises(
        ValueError, match=r"Unknown option of Experiment 'selecton'.*did you mean 'selection'\?"
    ):
        ev.Experiment.load(saved, environment=Toy, selecton="truncation")
    with pytest.raises(ValueError, match=r"'learning_rate'\. In evolab that is hyperparameters="):
        ev.Experiment.load(saved, environment=Toy, learning_rate=1e-3)
    assert ev.Experiment.load(saved, environment=Toy, vector=None).generation == again.generation - 1
