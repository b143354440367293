"""What an experiment answers, islands answer too: after a run, and after they were loaded."""

from __future__ import annotations

import pytest

import evolab as ev
from tests.experiment.islands.test_islands_of_an_experiment import islands


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    exp = islands(tmp_path_factory.mktemp("calls") / "s", islands=2, trackers="csv")
    exp.fill(120)
    exp.run(generations=4)
    yield exp
    exp.close()


@pytest.fixture(params=["after a run", "after load"])
def exp(request, trained):
    if request.param == "after a run":
        yield trained
        return
    again = ev.load(trained.folder, progress=False)
    yield again
    again.close()


def test_history_and_lineage(exp):
    assert len(exp.history) == exp.generation == 4
    for table in (exp.history.fitness, exp.history.mutations, exp.history.hyperparameters):
        assert {*table["agent"] % 2} == {0, 1}
    best = exp.history.generations[-1].best.agent
    line = exp.history.lineage(best)
    assert line["agent"].iloc[-1] == best
    assert line["generation"].tolist() == [1, 2, 3, 4]
    assert len(exp.schedule()) == 4


def test_agents_play(exp):
    for agent in (exp.best, exp.elite):
        assert agent.act(exp.island(0).population.observation_space.sample()).shape == (1,)
    assert len(exp.rollout(max_steps=3).returns) == 1
    assert exp.evaluate(1, "best", max_steps=3, seed=1).steps == 3


def test_figures_the_dashboard_and_the_report(exp, tmp_path):
    for name in ("fitness", "lineage", "hyperparameters", "mutations", "losses"):
        assert getattr(exp.plot, name)().data
    assert exp.plot() is not None
    board = exp.dashboard()
    assert len(board.state["rows"]) == 4
    board.close()
    assert "island-1" in exp.report(tmp_path / "report.html").read_text()
    assert "leads" in repr(exp)


def test_one_agent_is_trained_anew_by_the_winner_s_settings(exp):
    again = exp.replay(progress=False)
    assert len(again.population) == 1
    again.close()
    certificate = exp.certify(2, episodes=1, seed=1)
    assert len(certificate.per_seed) == 2


def test_save_and_what_lists_and_compares_runs(exp, tmp_path):
    place = exp.save(tmp_path / "copy")
    for folder in (place, exp.folder):
        assert len(ev.runs(folder)) == 2
        (line,) = (line for line in ev.compare(folder).data if line.name)
        assert line.name.startswith("island-0, island-1")  # of one setting: their median
    board = ev.dashboard(exp.folder)
    assert len(board.feed.runs) == 2
    board.close()


def test_trackers_follow_each_island(exp):
    for number in range(2):
        (rows,) = (exp.folder / f"island-{number}").rglob("*.csv")
        told = rows.read_text().splitlines()
        assert len(told) == 1 + 4 * 3  # a line for each agent of each generation, once
