"""Many runs side by side."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import evolab as ev
from evolab.history.events import Evaluation, Generation
from evolab.reporting.comparison.curves import Named, labelled
from evolab.reporting.comparison.figure import compare
from evolab.reporting.comparison.listing import runs
from tests.reporting.comparison.made import bad_runs

QUICK = {
    "population": 2,
    "num_envs": 2,
    "steps_per_generation": 12,
    "eval_steps": 8,
    "network": [16],
    "fitness": "return",
    "hyperparameters": {"batch_size": 8, "epsilon_steps": 1_000},  # else fewer where there are more agents
    "search_space": {"batch_size": ev.Integer(4, 16)},
    "device": "cpu",
}


def trained(folder, seed, **options):
    exp = ev.Experiment("CartPole-v1", "DQN", seed=seed, folder=folder, **{**QUICK, **options})
    exp.fill(40)
    exp.run(generations=2)
    exp.close()
    return exp


def told(fitness, every=100):
    """A history whose best agents had these fitnesses."""
    history = ev.History()
    for number, value in enumerate(fitness, 1):
        one = Evaluation(number, 0, None, value, 1, 1.0, 1, number * every, 1, {}, (16,), ("relu",), 1)
        history.append(Generation(number, number * every, 0, {"train": 2.0}, (one,), ()))
    return history


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    trained(folder / "a", 1)
    trained(folder / "deep" / "b", 2)
    trained(folder / "c", 1, population=3)
    return folder


def test_a_folder_of_runs_is_a_table(place):
    table = runs(place)
    assert set(table["run"]) == {"a", "deep/b", "c"}
    assert table["run"].iloc[0] == "c"  # the newest first
    assert list(table["environment"].unique()) == ["CartPole-v1"]
    assert list(table["algorithm"].unique()) == ["DQN"]
    assert list(table["generation"].unique()) == [2]
    row = table.set_index("run").loc["a"]
    loaded = ev.Experiment.load(place / "a")
    assert row["best_fitness"] == max(g.fitness for g in loaded.history)
    assert row["total_steps"] == loaded.total_steps
    assert row["evaluation_steps"] == loaded.evaluation_steps > 0
    assert row["seconds"] > 0


def test_a_damaged_run_is_named_and_left_out(place, tmp_path):
    import shutil

    shutil.copytree(place, tmp_path / "runs")
    (tmp_path / "runs" / "a" / "experiment.json").write_text("{")
    with pytest.warns(UserWarning, match=r"a is left out: .*experiment\.json is damaged"):
        assert set(runs(tmp_path / "runs")["run"]) == {"deep/b", "c"}


def test_an_empty_folder_is_an_empty_table(tmp_path):
    assert list(runs(tmp_path).columns)[:3] == ["run", "environment", "algorithm"]
    assert len(runs(tmp_path)) == 0
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        runs(tmp_path / "nowhere")


def test_anytime_curves_are_the_median_of_the_best_so_far():
    chart = compare(
        {"mine": [told([1, 5, 3]), told([2, 2, 9]), told([0, 7, 8])], "other": told([4, float("nan"), 6])}
    )
    low, high, mine, other = chart.data
    assert mine.name == "mine · median of 3"
    np.testing.assert_array_equal(mine.x, [100, 200, 300])
    np.testing.assert_array_equal(mine.y, [1, 5, 8])
    np.testing.assert_array_equal(low.y, [0.5, 3.5, 6.5])
    np.testing.assert_array_equal(high.y, [1.5, 6, 8.5])
    assert high.fill == "tonexty"
    # A stepped median left a slanted area.
    assert {trace.line.shape for trace in chart.data} == {"hv"}
    np.testing.assert_array_equal(other.x, [100, 300])
    np.testing.assert_array_equal(other.y, [4, 6])


def test_runs_that_differ_in_their_seed_alone_are_one_curve(place):
    names = [
        trace.name for trace in compare([place / "a", place / "deep" / "b", place / "c"]).data if trace.name
    ]
    assert names == ["a, b (population 2) · median of 2", "c (population 3)"]
    assert "a, deep/b (population 2) · median of 2" in [trace.name for trace in compare(place).data]
    assert [trace.name for trace in compare(place).data if trace.name] != []
    loaded = ev.Experiment.load(place / "a")
    assert compare([loaded], axis="seconds").data[0].name == "DQN, CartPole-v1"


def test_labels_that_would_be_equal_are_kept_apart():
    runs = [Named("", {"network": {"type": "Mine", "x": x}}, told([1])) for x in ("a" * 50, "a" * 51)]
    assert list(labelled(runs)) == [f"x {'a' * 40}", f"x {'a' * 40}'"]


def test_a_label_says_what_differs_and_which_run_it_is():
    """It said "search_space ..., mutations Mutations", without a folder's name."""
    configs = [
        {
            "mutations": {"type": "Mutations", "none": none},
            "search_space": {"lr": {"type": "Float", "low": low, "high": 0.01}},
        }
        for none, low in ((0.4, 1e-4), (0.8, 1e-3))
    ]
    runs = [Named(name, config, told([1])) for name, config in zip(("quiet", "loud"), configs)]
    assert list(labelled(runs)) == [
        "quiet (mutations.none 0.4, search_space.lr 1.0e-4 to 0.01)",
        "loud (mutations.none 0.8, search_space.lr 1.0e-3 to 0.01)",
    ]


def test_a_label_says_what_tells_kinds_apart():
    """Of many settings that differ it listed the first, which were the same in most."""
    configs = [
        {"environment": "Pole", "algorithm": "DQN", "a": 1, "b": 1, "lr": lr, "only": 1} for lr in (0.1, 0.2)
    ]
    configs += [{"environment": "Lake", "algorithm": "TD3", "a": 2, "b": 2, "lr": lr} for lr in (0.1, 0.2)]
    runs = [Named("", config, told([1])) for config in configs]
    assert list(labelled(runs)) == [
        "Pole, lr 0.1, …",
        "Pole, lr 0.2, …",
        "Lake, lr 0.1, …",
        "Lake, lr 0.2, …",
    ]


def test_a_target_is_drawn_and_names_are_escaped(place, tmp_path):
    folder = tmp_path / "<b>bold"
    trained(folder, 1, target=450.0)
    chart = compare([folder])
    assert [shape.y0 for shape in chart.layout.shapes] == [450]
    assert chart.layout.annotations[0].text == "target 450"
    assert chart.data[0].name.startswith("&lt;b&gt;bold")


def test_what_cannot_be_read_is_named_and_the_other_runs_are_compared(tmp_path):
    """One half-written folder broke the figure of all."""
    bad_runs(tmp_path)
    with pytest.warns(UserWarning, match="is left out") as said:
        names = " ".join(trace.name for trace in compare(tmp_path).data if trace.name)
    told_of = sorted(Path(str(one.message).split(" is left out: ")[0]).name for one in said)
    assert told_of == ["broken", "garbled", "just begun"]
    for name in ("good", "half", "later", "one/x", "two/x", "&lt;b&gt;markup"):
        assert name in names, name
    with pytest.raises(FileNotFoundError, match="there is no saved run"):
        compare([tmp_path / "just begun"])  # asked for by name


def test_steps_count_evaluation():
    history = told([1, 2])
    last = history.generations[1]
    one = dataclasses.replace(last, evaluation_steps=50)
    assert compare([ev.History([history.generations[0], one])]).data[0].x[-1] == 250


def test_nothing_to_compare_is_said_so(tmp_path):
    with pytest.raises(ValueError, match="nothing to compare"):
        compare([])
    with pytest.raises(TypeError, match=r"a run to compare is 3 \(int\); a path is expected"):
        compare(3)
    with pytest.raises(FileNotFoundError, match="no saved run"):
        compare([tmp_path])
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere\. exp\.save"):
        compare(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="axis is 'hours'"):
        compare([told([1])], axis="hours")
