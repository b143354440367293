"""What a sweep trains: seeds, settings and grids become runs with names; mistakes are found before anything is trained."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.experiment.sweeps.plan import Plan, is_plain, planned
from evolab.storage.files import Damaged

POLE = {"environment": "CartPole-v1", "generations": 2}


def names(what, **options):
    return [run.name for run in planned(what, POLE | options)]


def test_a_number_is_so_many_seeds():
    runs = planned(3, POLE)
    assert [run.name for run in runs] == ["seed-0", "seed-1", "seed-2"]
    assert [run.options["seed"] for run in runs] == [0, 1, 2]
    assert runs[0].goals.generations == 2


def test_seeds_of_numpy_are_plain_numbers():
    (run,) = planned(np.arange(5, 6), POLE)
    assert run.name == "seed-5"
    assert type(run.options["seed"]) is int


def test_runs_are_named_by_what_sets_them_apart():
    settings = [{"algorithm": "DQN", "population": 2}, {"algorithm": "PPO", "population": 2}]
    assert names(settings) == ["algorithm-DQN", "algorithm-PPO"]


def test_names_are_numbers_where_settings_do_not_make_any():
    settings = [{"network": ev.MLP([16] * k), "hyperparameters": {"lr": 0.1}} for k in (20, 21, 22)]
    assert names(settings) == ["run-1", "run-2", "run-3"]


def test_a_grid_times_seeds_and_a_dotted_name_sets_one_value():
    what = {"seeds": 2, "grid": {"hyperparameters.lr": [0.1, 0.2]}}
    runs = planned(what, POLE | {"hyperparameters": {"batch_size": 8}})
    assert [run.name for run in runs] == [
        "lr-0.1_seed-0", "lr-0.1_seed-1", "lr-0.2_seed-0", "lr-0.2_seed-1",
    ]  # fmt: skip
    assert runs[3].options["hyperparameters"] == {"batch_size": 8, "lr": 0.2}
    assert runs[0].options["hyperparameters"] == {"batch_size": 8, "lr": 0.1}


def test_runs_have_goals_of_their_own():
    first, second = planned([{"seed": 1}, {"seed": 2, "run": {"generations": 5}}], POLE)
    assert (first.goals.generations, second.goals.generations) == (2, 5)


def test_an_epoch_is_what_lies_between_two_checkpoints():
    assert [run.length for run in planned([{"seed": 1}, {"checkpoint_every": 4}], POLE)] == [1, 4]


def test_a_file_sweeps(tmp_path):
    path = tmp_path / "pole.yaml"
    path.write_text("environment: CartPole-v1\nrun: {generations: 3}\nsweep: {seeds: [4, 5]}\n")
    runs = planned(path, {})
    assert [(run.name, run.goals.generations) for run in runs] == [("seed-4", 3), ("seed-5", 3)]


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ([1, {"seed": 2}], {}, "seeds and settings are mixed"),
        ([], {}, "there is no run to sweep over"),
        (0, {}, "seeds is 0; expected a whole number >= 1."),
        ([1, 1], {}, "two runs of the sweep are the same"),
        (
            {"seed": 3},
            {},
            "Unknown part of a sweep 'seed'. Known: configs, grid, seeds; did you mean 'seeds'?",
        ),
        ({"grid": {"algorithm": "DQN"}}, {}, "grid.algorithm is 'DQN'; a list of values is expected."),
        (2, {"folder": "x"}, "folder is set by the sweep itself"),
        (2, {"generations": 0}, "generations is 0; expected a whole number >= 1."),
        (2, {"run": {"generation": 3}}, "Unknown goal of a run 'generation'.*did you mean 'generations'?"),
        ([{"seed.x": 1}], {"seed": 3}, "seed.x is set, but seed is 3, no mapping."),
    ],
)
def test_a_mistake_is_named(what, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        planned(what, POLE | options)


def test_a_run_needs_a_goal():
    with pytest.raises(ValueError, match="a run needs a goal: generations=20"):
        planned(2, {"environment": "CartPole-v1"})


def test_a_file_without_the_section_belongs_to_evolab_run(tmp_path):
    path = tmp_path / "pole.yaml"
    path.write_text("environment: CartPole-v1\n")
    with pytest.raises(ValueError, match="a section sweep: with seeds:"):
        planned(path, {})


def test_an_option_that_does_not_fit_names_its_run():
    plan = Plan(planned([{"algorithm": "DQN"}, {"algorithm": "TD5"}], POLE))
    with pytest.raises(ValueError, match="run algorithm-TD5: Unknown algorithm 'TD5'"):
        plan.check(sends=False)


def test_what_no_file_holds_is_the_user_s_own(tmp_path):
    assert is_plain({"network": ev.MLP([16]), "search_space": {"lr": ev.Float(0.1, 1.0)}})
    assert is_plain(torch.float32)
    assert not is_plain(lambda: None)
    assert not is_plain(ev.Mutations(extra={"mine": (0.1, lambda *_: "")}))
    assert is_plain(tmp_path)
    assert not is_plain({"path": tmp_path})
    (run,) = planned([{"environment": make_nothing}], POLE)
    assert run.own == {"environment": make_nothing}
    assert "environment" not in run.options


def make_nothing():
    raise AssertionError


def test_a_plan_is_read_as_it_was_written(tmp_path):
    plan = Plan(planned(2, POLE | {"network": ev.MLP([16]), "draw": False}), retries=4, threads=2)
    plan.write(tmp_path)
    again = Plan.read(tmp_path)
    assert again == plan


def test_an_object_of_the_user_s_has_to_be_passed_again(tmp_path):
    Plan(planned([{"environment": make_nothing}], POLE)).write(tmp_path)
    with pytest.raises(ValueError, match=r"run .* has its own environment \(make_nothing\)"):
        Plan.read(tmp_path)
    assert Plan.read(tmp_path, {"environment": make_nothing}).runs[0].own == {"environment": make_nothing}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about.pop("runs"), "runs is missing"),
        (lambda about: about.update(threads=0), "threads is 0"),
        (lambda about: about["runs"].update({"../x": about["runs"].pop("seed-0")}), "no plain folder name"),
    ],
)
def test_a_damaged_plan_is_named(tmp_path, change, message):
    Plan(planned(2, POLE)).write(tmp_path)
    about = json.loads((tmp_path / "sweep.json").read_text())
    change(about)
    (tmp_path / "sweep.json").write_text(json.dumps(about))
    with pytest.raises(Damaged, match=message):
        Plan.read(tmp_path)


def test_no_plan_is_no_sweep(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no sweep at"):
        Plan.read(tmp_path)
