"""A dashboard of runs follows folders that others write to: what it says, how much, and what it survives."""

from __future__ import annotations

import json
import time

import pytest

import evolab as ev
from evolab.history.history import History
from evolab.reporting.comparison.association import association
from evolab.reporting.comparison.dashboard import RunsDashboard, dashboard
from evolab.reporting.comparison.feed import PART, RunsFeed
from evolab.reporting.comparison.settings import flat
from evolab.storage import lock
from tests.reporting.comparison.made import bad_runs, config, make_runs, write_run
from tests.reporting.dashboard.fake import FakeExperiment, make_history


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("runs")
    make_runs(made, 12)
    return made


def followed(folder) -> RunsFeed:
    feed = RunsFeed(folder)
    feed.look()
    return feed


def rows_of(feed: RunsFeed) -> dict:
    return feed.state()["rows"]


def test_a_row_is_what_the_history_says(folder):
    feed = followed(folder)
    history = History.from_json_lines(folder / "lr0.001-h64" / "seed2" / "history")
    row, last = rows_of(feed)["lr0.001-h64/seed2"], history.generations[-1]
    assert (row["n"], row["t"], row["seed"]) == (12, last.total_steps + last.evaluation_steps, 2)
    assert row["best"] == pytest.approx(max(g.fitness for g in history), rel=1e-4)
    assert row["now"] == pytest.approx(last.fitness, rel=1e-4)
    assert row["w"]["lr_actor"] == pytest.approx(last.best.hyperparameters["lr_actor"], rel=1e-4)
    assert row["shape"] == list(last.best.hidden)
    curve = feed.state()["curves"]["lr0.001-h64/seed2"]
    assert curve["f"] == sorted(curve["f"])
    assert curve["t"][-1] == row["t"]


def test_settings_that_differ_are_the_columns(folder):
    feed = followed(folder)
    assert feed.columns == ["network.hidden", "hyperparameters.lr_actor"]
    assert rows_of(feed)["lr0.0003-h128/seed1"]["v"] == ["128×128", 3e-4]


def test_names_that_a_setting_lists_are_no_widths_of_layers():
    """The legend of a comparison said "draw lr×discount×tau"."""
    told = flat({"draw": ["lr", "tau"], "network": {"hidden": [64, 32]}})
    assert (told["draw"], told["network.hidden"]) == ("lr, tau", "64×32")


def test_only_what_changed_is_told_and_curves_come_in_parts(tmp_path):
    for i in range(PART + 3):
        write_run(tmp_path / f"run{i}", config(i), make_history(3, 4, seed=i))
    feed = followed(tmp_path)
    first = feed.messages()
    assert len(first[0]["rows"]) == PART + 3
    assert [len(m["curves"]) for m in first[1:]] == [PART, 3]
    assert feed.messages() == []
    write_run(tmp_path / "run4", config(4), make_history(5, 4, seed=4))
    assert feed.look()
    head, curves = feed.messages()
    assert list(head["rows"]) == list(curves["curves"]) == ["run4"]
    assert head["rows"]["run4"]["n"] == 5


def test_a_run_that_was_rolled_back_and_trained_again_is_read_anew(tmp_path):
    write_run(tmp_path / "run", config(), make_history(8, 4, seed=1))
    feed = followed(tmp_path)
    assert rows_of(feed)["run"]["n"] == 8
    for path in (tmp_path / "run" / "history").iterdir():
        path.unlink()
    other = make_history(9, 4, seed=2)
    write_run(tmp_path / "run", config(), other)
    feed.look()
    assert rows_of(feed)["run"]["n"] == 9
    assert rows_of(feed)["run"]["best"] == pytest.approx(max(g.fitness for g in other), rel=1e-4)
    curve = feed.runs["run"].curve
    assert curve.fitness == [g.fitness for g in other]


def test_half_a_line_waits_for_the_other_half(tmp_path):
    write_run(tmp_path / "run", config(), make_history(4, 4))
    path = tmp_path / "run" / "history" / "generations.jsonl"
    whole = path.read_text()
    path.write_text(whole[: len(whole) - 40])
    feed = followed(tmp_path)
    assert rows_of(feed)["run"]["n"] == 3
    path.write_text(whole)
    feed.look()
    assert rows_of(feed)["run"]["n"] == 4


def test_a_run_is_open_while_a_process_writes_to_it(tmp_path):
    folder = write_run(tmp_path / "run", config(), make_history(3, 4))
    feed = followed(tmp_path)
    assert not rows_of(feed)["run"]["writing"]
    lock.acquire(folder)
    assert feed.look()
    assert rows_of(feed)["run"]["writing"]
    lock.release(folder)
    assert feed.look()
    assert not rows_of(feed)["run"]["writing"]


def test_what_is_no_run_is_named_and_breaks_nothing(tmp_path):
    bad_runs(tmp_path)
    feed = followed(tmp_path)
    rows = rows_of(feed)
    readable = {"good", "half", "later", "one/x", "two/x", "<b>markup"}
    assert set(rows) == readable | {"broken", "garbled", "just begun"}
    assert all(rows[name]["trouble"] == "" and rows[name]["n"] == 2 + (name != "half") for name in readable)
    assert "experiment.json is damaged" in rows["broken"]["trouble"]
    assert "history is damaged: a line lacks 'evaluations'" in rows["garbled"]["trouble"]
    for name in rows:
        assert ("error" in feed.details(name)) == (name in ("broken", "garbled", "just begun")), name
    board = RunsDashboard(followed(tmp_path))
    assert repr(board).endswith(" runs): ev.compare(folder), ev.load(folder)")
    assert "<b>markup" not in board._still()["text/html"]
    assert "&lt;b&gt;markup" in board._still()["text/html"]
    board.close()


def test_two_folders_may_hold_runs_of_one_name(tmp_path):
    for i in (1, 2):
        write_run(tmp_path / f"part{i}" / "run", config(i), make_history(3, 4, seed=i))
    rows = rows_of(followed([tmp_path / "part1", tmp_path / "part2"]))
    assert sorted(row["seed"] for row in rows.values()) == [1, 2]
    assert len(rows) == 2


def test_runs_that_come_and_go_are_followed(tmp_path):
    write_run(tmp_path / "one", config(1), make_history(3, 4))
    feed = followed(tmp_path)
    feed.messages()
    (tmp_path / "one" / "experiment.json").rename(tmp_path / "gone")
    for path in (tmp_path / "one" / "history").iterdir():
        path.unlink()
    write_run(tmp_path / "two", config(2), make_history(3, 4))
    feed._scanned = -1e9
    feed.look()
    head = feed.messages()[0]
    assert head["gone"] == ["one"]
    assert list(head["rows"]) == ["two"]


def test_runs_of_this_notebook_need_no_folder():
    experiment = FakeExperiment(agents=4, cost=0)
    experiment.run(3)
    feed = followed([experiment, make_history(2, 4)])
    assert [row["n"] for row in rows_of(feed).values()] == [3, 2]
    experiment.run(1)
    assert feed.look()
    assert [row["n"] for row in rows_of(feed).values()] == [4, 2]


@pytest.mark.parametrize(
    ("status", "is_open"),
    [
        ("idle", False), ("running", True), ("pausing", True), ("paused", False), ("stopping", True),
        ("stopped", False), ("failed", False),
    ],
)  # fmt: skip
def test_a_run_of_this_notebook_is_open_until_it_has_come_to_rest(status, is_open):
    experiment = FakeExperiment(agents=4, cost=0)
    experiment.run(1)
    experiment.status = status
    row, past = rows_of(followed([experiment, make_history(2, 4)])).values()
    assert row["writing"] is is_open
    assert past["writing"] is False


def test_the_winners_way_is_told_on_demand(folder):
    told = followed(folder).details("lr0.001-h64/seed1")
    line = [e for e, _ in History.from_json_lines(folder / "lr0.001-h64" / "seed1" / "history").ancestry()]
    assert told["n"] == [e.generation for e in line]
    assert told["hidden"] == [list(e.hidden) for e in line]
    assert followed(folder).details("nothing")["error"] == "this run is gone."


def test_importance_finds_what_matters_and_says_how_sure_it_is():
    scores = [float(i) for i in range(20)]
    strength, low, high = association([2.0 * s for s in scores], scores)
    assert strength == pytest.approx(1)
    assert low > 0.9
    strength, low, high = association([(7 * i) % 20 for i in range(20)], scores)
    assert strength < 0.5
    assert low < 0.2
    assert high > strength
    assert association(["a" if s < 10 else "b" for s in scores], scores)[0] > 0.8
    assert association([1, 2, 3, 4], [1, 2, 3, 4]) is None  # too few
    assert association([1] * 9, scores[:9]) is None


def test_what_is_not_there_is_said():
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        ev.dashboard("nowhere-at-all")
    with pytest.raises(ValueError, match="nothing to follow"):
        ev.dashboard([])


def test_fifty_runs_of_a_thousand_generations_are_read_in_seconds(tmp_path):
    """The page has the table at once, from the facts alone; curves follow."""
    write_run(tmp_path / "run0", config(0), make_history(1000, 4))
    files = {
        p.relative_to(tmp_path / "run0"): p.read_bytes()
        for p in (tmp_path / "run0").rglob("*")
        if p.is_file()
    }
    for i in range(1, 50):
        for name, data in files.items():
            (tmp_path / f"run{i}" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / f"run{i}" / name).write_bytes(data)
    feed, start = RunsFeed(tmp_path), time.process_time()
    feed.look(quick=True)
    assert len(feed.messages(everything=True)[0]["rows"]) == 50
    assert time.process_time() - start < 1.0  # 0.1 s on a quiet machine
    start = time.process_time()
    feed.look()
    messages = feed.messages(everything=True)
    assert time.process_time() - start < 12  # 1.5 s on a quiet machine
    assert max(len(json.dumps(m)) for m in messages) < 200_000


def test_the_board_tells_a_page_and_waits_for_its_answers(tmp_path):
    write_run(tmp_path / "run", config(), make_history(3, 4))
    board, heard = dashboard(tmp_path), []
    board.send = lambda content, buffers=None: heard.append(content)
    board._answer(board, {"type": "hello"}, [])
    end = time.monotonic() + 120
    while not any("run" in m.get("curves", {}) for m in heard):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert heard[0]["reset"]
    board._answer(board, {"type": "details", "run": "run"}, [])
    while not any(m["type"] == "details" for m in heard):
        assert time.monotonic() < end
        time.sleep(0.05)
    board.close()
    board._thread.join(5)
    assert not board._thread.is_alive()
