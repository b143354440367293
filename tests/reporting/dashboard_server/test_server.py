"""The dashboard of `evolab board`: who may read it, what it tells, and that it follows runs that others write."""

from __future__ import annotations

import base64
import http.client
import json
import re
import threading
import zlib
from urllib.parse import quote

import pytest

from evolab.__main__ import main
from evolab.history.history import History
from evolab.reporting.dashboard_server.followed_run import FollowedRun
from evolab.reporting.dashboard_server.news import RunNews, RunsNews
from evolab.reporting.dashboard_server.server import DashboardServer
from tests.reporting.comparison.made import config, write_run
from tests.reporting.dashboard.fake import make_history

ODD = "a <b>&\"' run"


@pytest.fixture
def runs(tmp_path):
    write_run(tmp_path / "runs" / ODD, config(1), make_history(5, 4, seed=1))
    write_run(tmp_path / "runs" / "deep" / "second", config(2), make_history(7, 4, seed=2))
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "experiment.json").write_text("{")
    (tmp_path / "outside").mkdir()
    return tmp_path / "runs"


@pytest.fixture
def board(runs):
    made = DashboardServer(runs, port=0)
    thread = threading.Thread(target=made.serve)
    thread.start()
    yield made
    made.close()
    thread.join()


def ask(board, path, method="GET", **headers):
    """Status, headers and body of one request to an address below the token."""
    line = http.client.HTTPConnection("127.0.0.1", board.port, timeout=20)
    line.request(method, path if path.startswith("/") else f"/{board.token}/{path}", headers=headers)
    answer = line.getresponse()
    found = answer.status, answer.headers, answer.read().decode()
    line.close()
    return found


def news(board, path):
    status, headers, body = ask(board, path)
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    return json.loads(body)


def test_only_this_machine_with_the_token_may_read(board):
    assert board._server.server_address[0] == "127.0.0.1"
    assert ask(board, "")[0] == 200
    assert ask(board, "", Host="localhost:9000")[0] == 200  # through a tunnel with another port
    for host in ("evil.example", f"evil.example:{board.port}", "127.0.0.1.evil.example", ""):
        assert ask(board, "", Host=host)[0] == 403, host
    for path in (
        "/",
        "/wrong/",
        f"/{board.token[:-1]}/",
        f"/{board.token}",
        "/%C3%A9/",
    ):
        assert ask(board, path)[0] == 403, path
    assert ask(board, "news", **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(board, "news", method)[0] == 501, method
    headers = ask(board, "")[1]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"


def test_no_address_leads_to_other_files(board):
    for path in ("../outside", "style.css/../../x", "experiment.json", "%2e%2e/"):
        assert ask(board, path)[0] == 404, path
    for name in ("../outside", "/etc", ".", "", "deep"):
        assert ask(board, f"frame?run={quote(name, safe='')}")[0] == 404, name


def test_it_tells_all_runs_and_then_what_has_changed(board, runs, monkeypatch):
    monkeypatch.setattr("evolab.reporting.dashboard_server.news.PERIOD", 0.0)
    monkeypatch.setattr("evolab.reporting.comparison.feed.SCAN", 0.0)
    first = news(board, "news?since=0")
    assert first["reset"]
    assert {*first["rows"]} == {ODD, "deep/second", "broken"}
    assert first["rows"]["broken"]["trouble"]
    version = news(board, f"news?since={first['version']}")["version"]  # with the curves
    assert {*news(board, "news?since=0")["curves"]} == {ODD, "deep/second"}
    quiet = news(board, f"news?since={version}")
    assert (quiet["rows"], quiet["curves"], quiet["gone"], quiet["reset"]) == ({}, {}, [], False)
    make_history(9, 4, seed=2).to_json_lines(runs / "deep" / "second" / "history")
    (runs / "broken" / "experiment.json").unlink()
    grown = news(board, f"news?since={version}")
    assert {*grown["rows"]} == {*grown["curves"]} == {"deep/second"}
    assert grown["rows"]["deep/second"]["n"] == 9
    assert grown["gone"] == ["broken"]
    assert news(board, "news?since=99999")["reset"]  # of a board before this one
    assert news(board, "details?run=deep%2Fsecond")["n"][-1] == 9


def test_a_run_s_page_is_told_its_generations_and_then_the_new_ones(board, runs, monkeypatch):
    monkeypatch.setattr("evolab.reporting.dashboard_server.news.PERIOD", 0.0)
    address = f"frame?run={quote(ODD, safe='')}"
    first = news(board, address)
    assert [row["n"] for row in first["rows"]] == [1, 2, 3, 4, 5]
    assert first["head"]["status"] == "idle"
    assert (first["head"]["name"], first["head"]["algorithm"], first["head"]["target"]) == (
        "FakeLander-v1",
        "TD3",
        200,
    )
    assert first["head"]["no_pictures"]
    make_history(6, 4, seed=1).to_json_lines(runs / ODD / "history")
    then = news(board, f"{address}&epoch={first['epoch']}&after=5")
    assert [row["n"] for row in then["rows"]] == [6]
    assert "rows" not in news(board, f"{address}&epoch={then['epoch']}&after=6")


def test_a_run_that_was_taken_back_is_told_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("evolab.reporting.dashboard_server.news.PERIOD", -1.0)
    place = write_run(tmp_path / "run", config(1), make_history(6, 4, seed=1))
    told = RunNews(place)
    first = told.since(0, 0)
    other = make_history(4, 4, seed=5)
    for file in (place / "history").iterdir():
        file.unlink()
    other.to_json_lines(place / "history")
    second = told.since(first["epoch"], 6)
    assert second["reset"]
    assert second["epoch"] != first["epoch"]
    assert [row["n"] for row in second["rows"]] == [1, 2, 3, 4]


def test_a_followed_run_is_read_on_generation_by_generation_as_it_was_written(tmp_path):
    whole = make_history(8, 4, seed=3)
    place = write_run(tmp_path / "run", config(1), History(whole.generations[:3]))
    run = FollowedRun(place)
    for until in (3, 4, 8, 8):
        History(whole.generations[:until]).to_json_lines(place / "history")
        run.look()
        assert run.history == History(whole.generations[:until])
    assert (run.generation, run.total_steps) == (8, whole.generations[-1].total_steps)
    with pytest.raises(RuntimeError, match=r"a dashboard only reads. `evolab run .*` goes on with the run"):
        run.start()


def test_a_row_whose_generation_has_not_ended_waits(tmp_path):
    whole = make_history(3, 4, seed=3)
    place = write_run(tmp_path / "run", config(1), whole)
    heads = place / "history" / "generations.jsonl"
    lines = heads.read_text().splitlines(keepends=True)
    heads.write_text("".join(lines[:2]) + lines[2][:20])  # a crash, or a write that is under way
    run = FollowedRun(place)
    run.look()
    assert run.generation == 2
    heads.write_text("".join(lines))
    run.look()
    assert run.history == whole


def test_one_run_s_folder_is_its_own_page(tmp_path):
    place = write_run(tmp_path / "run", config(1), make_history(3, 4, seed=3))
    made = DashboardServer(place, port=0)
    page, _ = made.answer("", {})
    assert "run.js" in page
    assert len(json.loads(made.answer("frame", {})[0])["rows"]) == 3
    made._server.server_close()


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        DashboardServer(tmp_path / "nowhere", port=0)
    RunsNews(tmp_path)  # no run yet is none of the board's faults


def test_the_command_prints_the_address_and_serves_until_it_is_ended(runs, capsys, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(DashboardServer, "serve", interrupted)
    assert main(["board", str(runs), "--port", "0"]) == 0
    assert re.search(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", capsys.readouterr().out)
    assert main(["board", str(runs / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("newest", range(5, 6_000, 83))
def test_the_newest_generations_are_read_alone_and_whole(long_run, newest):
    whole, place = long_run
    run = FollowedRun(place, newest)
    run.look()
    assert list(run.history) == whole.generations[run.before :]
    assert run.before > 0


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """A run of forty generations, and its folder."""
    whole = make_history(40, 4, seed=3)
    return whole, write_run(tmp_path_factory.mktemp("runs") / "long", config(1), whole)


def test_a_long_run_s_page_shows_its_newest_generations_first_and_then_all(long_run):
    whole, place = long_run
    told = RunNews(place, newest=9_000)
    first = told.since(0, 0)
    shown = [row["n"] for row in first["rows"]]
    assert shown == list(range(first["head"]["unread"] + 1, 41))
    assert 5 < len(shown) < 20
    assert first["best"] is None  # known once everything is read
    told.reading.join()
    then = told.since(first["epoch"], 40)
    assert then["reset"]
    assert [row["n"] for row in then["rows"]] == list(range(1, 41))
    assert then["best"] == pytest.approx(max(g.fitness for g in whole), rel=1e-3)
    assert "unread" not in then["head"]
    assert "rows" not in told.since(then["epoch"], 40)


def test_generations_that_end_while_older_ones_are_read_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("evolab.reporting.dashboard_server.news.PERIOD", -1.0)
    whole = make_history(42, 4, seed=3)
    place = write_run(tmp_path / "run", config(1), History(whole.generations[:40]))
    told = RunNews(place, newest=9_000)
    first = told.since(0, 0)
    told.reading.join()
    whole.to_json_lines(place / "history")
    then = told.since(first["epoch"], 40)
    assert [row["n"] for row in then["rows"]] == list(range(1, 43))


def test_a_run_whose_beginning_is_damaged_shows_its_newest_generations_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("evolab.reporting.dashboard_server.news.PERIOD", -1.0)
    place = write_run(tmp_path / "run", config(1), make_history(40, 4, seed=3))
    file = place / "history" / "fitness.jsonl"
    file.write_text("[}\n" + file.read_text())
    told = RunNews(place, newest=9_000)
    first = told.since(0, 0)
    assert first["head"]["error"] == ""
    told.reading.join()
    then = told.since(first["epoch"], 40)
    assert "fitness.jsonl, line 1 is damaged" in then["head"]["error"]
    assert "unread" not in then["head"]
    assert first["rows"]


def test_a_page_is_told_with_its_first_answer_what_the_family_tree_needs_of_old_generations(tmp_path):
    place = write_run(tmp_path / "run", config(1), make_history(250, 4, seed=3))
    told = RunNews(place).since(0, 0)
    old = json.loads(zlib.decompress(base64.b64decode(told["past"])))
    assert [row["n"] for row in old] == list(range(1, old[-1]["n"] + 1))
    assert all("id" in row for row in told["rows"] if row["n"] > old[-1]["n"])


@pytest.mark.parametrize("newest", [30, 400_000])
def test_lines_of_another_form_name_the_history(tmp_path, newest):
    place = write_run(tmp_path / "run", config(1), make_history(3, 4, seed=3))
    (place / "history" / "generations.jsonl").write_text("[3]\n")
    told = RunNews(place, newest).since(0, 0)
    assert told["head"]["error"].startswith(f"{place / 'history'} is damaged: a line has another form")


def test_a_page_can_say_which_board_it_has_seen(tmp_path):
    """Epochs in nanoseconds were rounded by JavaScript, so that every answer held the whole run."""
    told = RunNews(write_run(tmp_path / "run", config(1), make_history(3, 4, seed=3)))
    epoch = told.since(0, 0)["epoch"]
    assert int(float(epoch)) == epoch > 0
    assert epoch < 2**53
