"""The progress bar shows itself while something runs, and nothing is left of it afterwards."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import IPython.display  # noqa: F401  # the bar looks for it among the loaded modules
import pytest

from evolab.history.events import Progress
from evolab.reporting import progress


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What a notebook's cell was told to show, in order, by a bar without patience."""
    told: list[dict[str, str]] = []
    handle = SimpleNamespace(
        display=lambda data, raw: told.append(data), update=lambda data, raw: told.append(data)
    )
    monkeypatch.setattr("IPython.display.DisplayHandle", lambda: handle)
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setattr(progress, "PERIOD", 0.0)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    return told


def test_a_notebook_keeps_nothing_of_it(outputs):
    with progress.bar("training", 100) as show:
        show(Progress("train", 3, 40, 100, 900))
        show(Progress("evaluate", 3, 1, 2, 1_000))
    assert "generation 3 · training 40 / 100" in outputs[0]["text/html"]
    assert outputs[1]["text/plain"] == "generation 3 · evaluating 1 / 2"
    assert outputs[-1] == {"text/html": "", "text/plain": ""}


def test_what_is_over_at_once_shows_no_bar(outputs, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 60.0)
    with progress.bar("training", 100) as show:
        show(Progress("train", 1, 40, 100, 40))
    assert outputs == []


def test_a_terminal_gets_a_line(capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(progress, "in_notebook", lambda: False)
    monkeypatch.setattr(progress, "PERIOD", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.bar("filling", 10) as show:
        show(Progress("fill", 0, 10, 10, 10))
    assert "filling the buffer: 100%" in capsys.readouterr().err


def test_it_can_be_switched_off(outputs, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    with progress.bar("training", 100) as show:
        show(Progress("train", 1, 40, 100, 40))
    assert outputs == []


def test_a_log_gets_a_line_a_minute(capsys, monkeypatch):
    """A bar wrote 100 to 200 kB a run into logs that are no terminal."""
    clock = [1000.0]
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(progress, "in_notebook", lambda: False)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress._Lines, "due", 1060.0)
    for generation in range(1, 31):  # thirty generations of ten seconds each, shown ten times a second
        with progress.bar("training", 100) as show:
            for done in range(1, 101):
                clock[0] += 0.1
                show(Progress("train", generation, done, 100, 1_000 * generation))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) in (4, 5), "in five minutes"
    assert lines[0].startswith("generation 6 · training ") or lines[0].startswith("generation 7 · training ")
    assert lines[0].endswith("training steps")


def test_an_experiment_can_be_told_to_be_silent(capsys, monkeypatch):
    import evolab as ev

    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    options = {"population": 2, "num_envs": 2, "steps_per_generation": 8, "eval_steps": 4, "network": [8]}
    for shown in (True, False):
        exp = ev.Experiment(
            "CartPole-v1", "DQN", hyperparameters={"batch_size": 4}, progress=shown, **options
        )
        exp.fill(8)
        exp.step()
        exp.close()
        assert ("filling" in capsys.readouterr().err) is shown
    assert "progress" not in exp.config
