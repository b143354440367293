"""What the bar says of the whole run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from evolab.history.events import Progress
from evolab.reporting import progress
from evolab.reporting.outlook import Outlook


def state(generation=0, steps=0, evaluation=0, fitness=None):
    hall = SimpleNamespace(elite=None if fitness is None else object(), episodes=20, fitness=fitness)
    return SimpleNamespace(generation=generation, total_steps=steps, evaluation_steps=evaluation, hall=hall)


def at(generation, done=0, steps=0, phase="train"):
    return Progress(phase, generation, done, 100, steps)


def test_it_counts_the_generations_of_the_call():
    assert Outlook(state(), generations=30).place(3) == "generation 3 of 30"
    assert Outlook(state(generation=12), generations=30).place(14) == "generation 14 (2 of 30)"
    assert Outlook(state(), max_steps=10).place(3) == "generation 3"


def test_the_time_left_follows_from_the_goal_that_is_nearest():
    now = [0.0]
    outlook = Outlook(state(fitness=312.4), generations=4, max_steps=1_000, clock=lambda: now[0])
    assert outlook.rest(at(1)) == "best confirmed 312.4 ✓"
    now[0] = 60.0
    assert outlook.share(at(3)) == pytest.approx(0.5)
    assert outlook.share(at(3, steps=900)) == pytest.approx(0.9)
    assert outlook.rest(at(3)) == "about 1 min left · best confirmed 312.4 ✓"
    timed = Outlook(state(), minutes=2.0, clock=lambda: now[0])
    now[0] = 150.0
    assert timed.rest(at(1)) == "about 30 s left"


def test_a_terminal_reads_all_of_it(capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(progress, "in_notebook", lambda: False)
    monkeypatch.setattr(progress, "PERIOD", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress.bar("training", 100, outlook=Outlook(state(fitness=9.5), generations=30)) as show:
        show(at(3, done=40))
    assert "generation 3 of 30 · training:  40%" in (told := capsys.readouterr().err)
    assert "best confirmed 9.50 ✓" in told
