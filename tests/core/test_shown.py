"""Whatever is public says what it is and what to call next, in one line, wherever it stands alone."""

from __future__ import annotations

import inspect

import pytest
from torch import nn

import evolab as ev
from evolab.core.shown import plainly
from evolab.evolution.selection.truncation import Truncation

NEEDED = {"Float": (1e-4, 1e-2), "Integer": (8, 512), "Choice": (32, 64), "Stack": (nn.Linear,)}
"""What a part cannot be made without."""

APART = {
    "Agent", "Dataset", "DatasetError", "Experiment", "History", "Population",
}  # fmt: skip
"""Made of others, or raised: see `tests/experiment/test_first_words.py`."""

OPTIONS = sorted(name for name in ev.__all__ if inspect.isclass(getattr(ev, name)) and name not in APART)


@pytest.mark.parametrize("name", OPTIONS)
def test_options_say_what_to_call_with_them(name):
    made = getattr(ev, name)(*NEEDED.get(name, ()))
    what, _, calls = repr(made).partition("): ")
    assert what.startswith(f"{name}(")
    assert "ev.Experiment(" in calls or ".fill(" in calls or ".add(" in calls
    assert "\n" not in repr(made)


def test_the_call_has_the_names_that_were_used():
    assert repr(ev.Tournament()).endswith("elitism=True): ev.Experiment(env, selection=ev.Tournament(...))")
    assert repr(ev.SAC()).endswith("): ev.Experiment(env, algorithm=ev.SAC(...)), ev.search_space('SAC')")


def test_a_class_of_ones_own_is_no_part_of_evolab():
    class Halving(Truncation):
        pass

    assert repr(Halving()).endswith("): ev.Experiment(env, selection=Halving(...))")


def test_among_others_options_are_shown_without_calls():
    assert "encoder=MLP(hidden=(8,), " in repr(ev.Recurrent(encoder=ev.MLP([8])))
    assert repr(ev.Recurrent(encoder=ev.MLP([8]))).count("ev.Experiment") == 1
    space = ev.Experiment("CartPole-v1", search_space={"lr": ev.Float(1e-4, 1e-2)}).search_space
    assert repr(space).startswith("{'lr': Float(low=0.0001, high=0.01, log=True, ")
    assert "ev." not in repr(space)
    pretty = pytest.importorskip("IPython.lib.pretty").pretty
    assert "ev." not in pretty(space)
    config = ev.Experiment("CartPole-v1", search_space={"lr": ev.Float(1e-4, 1e-2)}).config
    assert pretty(config["search_space"]["lr"]).startswith(
        "{'type': 'Float',\n"
    )  # over several lines, as any dict


def test_a_value_that_is_no_options_is_shown_as_python_writes_it():
    assert plainly(ev.MLP) == repr(ev.MLP)
    assert plainly([1, "a"]) == "[1, 'a']"


def test_a_buffer_with_something_in_it_says_who_learns_from_it():
    exp = ev.Experiment("CartPole-v1", "DQN", population=2, seed=1)
    exp.fill(20)
    assert repr(exp.buffer).endswith("transitions, shared): population.learn(buffer), exp.run()")
