"""The wording of errors is part of the interface: what came, what was expected, what to do."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

import evolab as ev
from evolab.core import checks

ALGORITHMS = ["TD3", "BC", "DQN", "CQN"]


def test_unknown_name_lists_the_known_and_suggests_the_nearest():
    assert str(checks.unknown("algorithm", "TD5", ALGORITHMS)) == (
        "Unknown algorithm 'TD5'. Known: BC, CQN, DQN, TD3; did you mean 'TD3'?"
    )


def test_no_suggestion_where_nothing_is_close():
    assert str(checks.unknown("algorithm", "zzz", ["BC"])) == "Unknown algorithm 'zzz'. Known: BC."


def test_spelling_is_compared_without_case():
    assert checks.nearest("td3", ALGORITHMS) == "did you mean 'TD3'?"


def test_a_name_that_is_no_string_is_still_answered():
    assert "Unknown algorithm 3" in str(checks.unknown("algorithm", 3, ALGORITHMS))


def test_a_long_list_is_cut_short():
    message = str(checks.unknown("environment", "x", [f"Env{i:03d}-v0" for i in range(100)]))
    assert "and 40 more" in message


def test_missing_package_names_the_command_that_installs_it():
    assert str(checks.missing("the W&B tracker", "wandb", "wandb")) == (
        'the W&B tracker needs wandb: pip install "evolab[wandb]".'
    )


@pytest.mark.parametrize("value", [4, np.int64(4), np.uint8(4)])
def test_whole_numbers_become_int(value):
    number = checks.positive_integer("population", value)
    assert number == 4
    assert type(number) is int


def test_population_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"^population is 0; expected a whole number >= 1\.$"):
        checks.positive_integer("population", 0)


def test_whole_float_is_refused_with_its_cure():
    with pytest.raises(TypeError, match=r"population is 4\.0 \(float\).* Write population=4\."):
        checks.positive_integer("population", 4.0)


@pytest.mark.parametrize("value", [True, "4", 4.5, None, math.nan])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(TypeError, match="expected a whole number"):
        checks.positive_integer("population", value)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), Fraction(1, 2)])
def test_numbers_become_float(value):
    assert type(checks.finite("sd", value)) is float


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused(value):
    with pytest.raises(ValueError, match="expected a finite number"):
        checks.finite("sd", value)


def test_range_is_named():
    with pytest.raises(ValueError, match=r"^tau is 1\.5; expected a number in \[0, 1\]\.$"):
        checks.finite("tau", 1.5, low=0.0, high=1.0)
    with pytest.raises(ValueError, match=r"expected a number >= 0\.$"):
        checks.finite("sd", -1, low=0.0)
    with pytest.raises(ValueError, match=r"expected a number <= 2\.$"):
        checks.finite("sd", 3, high=2.0)


@pytest.mark.parametrize("value", [True, "0.5", None, [0.5]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match="expected a number"):
        checks.finite("sd", value)


def test_probability_lies_between_zero_and_one():
    assert checks.probability("none", 1) == 1.0
    with pytest.raises(ValueError, match=r"none is -0\.1; expected a number in \[0, 1\]"):
        checks.probability("none", -0.1)


def test_a_path_is_text_or_a_path_and_knows_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert checks.path("folder", "~/run") == tmp_path / "run"
    assert checks.path("folder", tmp_path) == tmp_path
    for value in (3, None, b"run", ["run"]):
        with pytest.raises(TypeError, match=r"folder is .*; a path is expected, such as 'runs/lander'\."):
            checks.path("folder", value)


PATHS = {
    "Experiment.load": ev.Experiment.load,
    "Agent.load": ev.Agent.load,
    "load": ev.load,
    "from_config": ev.Experiment.from_config,
    "runs": ev.runs,
    "from_pretrained": ev.GPT.from_pretrained,
    "from_json_lines": ev.History.from_json_lines,
    "start_from": lambda value: ev.Experiment("CartPole-v1", "DQN", population=1, load=value),
    "evaluate": lambda value: ev.Experiment("CartPole-v1", "DQN", population=1).evaluate(1, agent=value),
}


@pytest.mark.parametrize("name", PATHS)
def test_what_takes_a_path_says_so(name):
    """`ev.load(3)` ended in pathlib's own sentence."""
    said = r"is 3\.5 .*; a path is expected|Unknown agent 3\.5|load is 3\.5; an agent, or the path"
    with pytest.raises((TypeError, ValueError), match=said):
        PATHS[name](3.5)
