from __future__ import annotations

import inspect

import pytest

import evolab as ev
from evolab.core.plain_values import from_plain
from evolab.experiment.config.config import ExperimentConfig
from evolab.experiment.config.conversions import read
from evolab.experiment.config.island_options import IslandOptions


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.json", "{", "run.json: not well formed"),
        ("run.yaml", "a: [", "run.yaml: not well formed"),
        ("run.yaml", "- 1", "run.yaml: a mapping of options is expected, list came."),
        ("run.yaml", "!!python/object/apply:os.system ['true']", "run.yaml: not well formed"),
    ],
)
def test_damaged_files_are_named_and_nothing_is_executed(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


def test_yaml_and_json_give_the_same(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "algorithm: DQN\npopulation: 3\nsearch_space:\n  lr: {type: Float, low: 0.1, high: 1}\n"
    )
    (tmp_path / "run.json").write_text(
        '{"algorithm": "DQN", "population": 3, "search_space": {"lr": {"type": "Float", "low": 0.1, "high": 1}}}'
    )
    assert read(tmp_path / "run.yaml") == read(tmp_path / "run.json")
    found = from_plain(read(tmp_path / "run.yaml"))
    assert found["search_space"] == {"lr": ev.Float(0.1, 1)}


@pytest.mark.parametrize("racing", [False, None])
def test_an_option_that_is_gone_and_was_not_used_is_dropped(racing):
    assert read({"population": 3, "racing": racing}) == {"population": 3}


@pytest.mark.parametrize("racing", [True, {"type": "Racing", "width": 2.0}])
def test_a_run_that_raced_goes_on_with_the_even_split_and_says_so(racing):
    saved = ev.Experiment("CartPole-v1", "DQN", population=2, seed=1).config | {"racing": racing}
    with pytest.warns(UserWarning, match="racing is gone: all agents now play equally many"):
        again = ev.Experiment.from_config(saved)
    assert "racing" not in again.config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hyperparameters": [1]}, r"hyperparameters is \[1\]; a dict by name is expected"),
        ({"search_space": 3}, "search_space is 3; a dict by name is expected"),
        ({"env_kwargs": 3}, "env_kwargs is 3; a dict by name is expected"),
        ({"draw": 2}, "draw is 2; True, False or names"),
        ({"folder": 3}, "folder is 3; a path is expected"),
        ({"load": 3}, "load is 3; an agent, or the path of one, is expected"),
        ({"fitness": 3}, "fitness is 3; 'acting', 'return', 'fqe' or an object with estimate"),
        ({"dtype": "float33"}, "dtype is 'float33'; a dtype such as torch.float32 is expected"),
    ],
)
def test_options_of_the_wrong_kind_are_named(options, message):
    with pytest.raises(TypeError, match=message):
        ev.Experiment("CartPole-v1", "DQN", **options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("populaton", r"Unknown option of Experiment 'populaton'.*did you mean 'population'\?"),
        ("learning_rate", r"In evolab that is hyperparameters=\{'lr': \.\.\.\}"),
        ("total_timesteps", r"In evolab that is exp.run\(max_steps=\.\.\.\)"),
        ("pop_size", "In evolab that is population="),
    ],
)
def test_an_unknown_option_of_the_constructor_says_what_is_near(name, message):
    """It got Python's own message, and `learning_rate` was answered with "did you mean 'learn_step'"."""
    with pytest.raises(ValueError, match=message):
        ev.Experiment("CartPole-v1", "DQN", **{name: 4})


def test_the_signature_shows_every_option_and_the_docstring_explains_it():
    shown = list(inspect.signature(ev.Experiment).parameters)
    assert shown == [*ExperimentConfig.names(), *IslandOptions.names()]
    for name in shown:
        assert f"    {name}: " in ev.Experiment.__doc__, name
    own = {*ExperimentConfig.names()} - {"folder", "progress", "vector"}
    assert set(ev.Experiment("CartPole-v1", "DQN").config) == own
