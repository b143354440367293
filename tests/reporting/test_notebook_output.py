"""A cell that ends in an object does not keep it for ever."""

from __future__ import annotations

import gc
import weakref

import pytest
from IPython.core.interactiveshell import InteractiveShell

from evolab.reporting.notebook_output import release_shown
from tests.experiment.toy_runs import toy


class Large:
    """Shows itself as an experiment does."""

    def __repr__(self):
        return "Large(8)"

    def _ipython_display_(self):
        release_shown(self)


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    made = InteractiveShell.instance()
    made.user_ns["Large"] = Large
    yield made
    made.history_manager.enabled = False
    InteractiveShell.clear_instance()


def test_every_earlier_one_is_freed_when_the_cell_runs_again(shell):
    alive = weakref.WeakSet()
    for _ in range(5):
        assert shell.run_cell("thing = Large()\nthing", store_history=True).success
        alive.add(shell.user_ns["thing"])
        gc.collect()
        assert len(alive) == 1, "the one that the user's own name holds"
    assert [repr(value) for value in shell.user_ns["_oh"].values()] == ["Large(8)"] * 5
    assert repr(shell.user_ns["_"]) == "Large(8)"
    assert isinstance(shell.user_ns["thing"], Large)


def test_in_a_terminal_every_earlier_experiment_is_freed_too(shell):
    """No page was there to close its dashboard, which kept it, and its buffer, for ever."""
    shell.user_ns["make"] = lambda: toy()
    alive = weakref.WeakSet()
    for _ in range(3):
        assert shell.run_cell("exp = make()\nexp", store_history=True).success
        alive.add(shell.user_ns["exp"])
        gc.collect()
        assert len(alive) == 1, "the one that the user's own name holds"


def test_nothing_happens_outside_ipython():
    release_shown(Large())
