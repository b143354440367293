"""The dashboard without a browser: buttons ask, messages are few and small, nothing leaks."""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from evolab.reporting.dashboard.dashboard import Dashboard
from evolab.reporting.rollout import Rollout
from tests.reporting.dashboard.fake import FakeExperiment


def wait(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


class Page:
    """Plays the browser's part: hears every message, and answers unless told to sleep."""

    def __init__(self, board: Dashboard, awake: bool = True) -> None:
        self.board, self.frames, self.awake = board, [], awake
        board.send = self.hear  # type: ignore[method-assign]

    def hear(self, content: dict[str, Any], buffers: Any = None) -> None:
        self.frames.append(json.loads(json.dumps(content, allow_nan=False)))
        if self.awake:
            self.say(type="seen", seq=content["seq"])

    def say(self, **content: Any) -> None:
        self.board._answer(self.board, content, [])

    @property
    def head(self) -> dict[str, Any]:
        return self.frames[-1]["head"] if self.frames else {}

    @property
    def numbers(self) -> list[int]:
        return [row["n"] for frame in self.frames for row in frame.get("rows", [])]


@pytest.fixture
def experiment() -> Iterator[FakeExperiment]:
    made = FakeExperiment(agents=4, cost=0.05)
    yield made
    made.stop()


@pytest.fixture
def board(experiment: FakeExperiment) -> Iterator[Dashboard]:
    made = Dashboard(experiment)
    yield made
    made.close()


def test_step_trains_one_generation_in_the_background(board, experiment):
    page = Page(board)
    page.say(type="step")
    wait(lambda: experiment.generation == 1 and page.head.get("status") == "paused")
    assert page.numbers == [1]


def test_run_sends_every_generation_once_and_pause_stops_it(board, experiment):
    page = Page(board)
    page.say(type="run")
    wait(lambda: experiment.generation >= 5)
    page.say(type="pause")
    wait(lambda: page.head.get("status") == "paused")
    wait(lambda: page.numbers == list(range(1, experiment.generation + 1)))


def test_messages_come_at_most_about_four_times_a_second(board, experiment):
    page = Page(board)
    experiment.start()
    wait(lambda: page.frames)
    before, start = len(page.frames), time.monotonic()
    time.sleep(1.5)
    assert (len(page.frames) - before) / (time.monotonic() - start) < 7


def test_a_page_that_does_not_answer_gets_two_messages(board, experiment):
    page = Page(board, awake=False)
    page.say(type="hello", have=0)
    experiment.start()
    wait(lambda: experiment.generation >= 8)
    assert len(page.frames) <= 3  # one may have been on its way when the page said hello
    page.awake = True
    page.say(type="hello", have=0)
    wait(lambda: page.numbers and page.numbers[-1] >= 8)


def test_a_page_that_comes_back_gets_only_what_it_lacks(board, experiment):
    experiment.run(6)
    page = Page(board)
    page.say(type="hello", have=4)
    wait(lambda: page.numbers[-2:] == [5, 6])


def test_a_slider_counts_from_the_next_generation_and_is_recorded(board, experiment):
    page = Page(board)
    page.say(type="rates", name="architecture", value=0.75)
    assert experiment.mutations.architecture == 0.75
    experiment.step()
    assert experiment.history.generations[-1].mutation_weights["architecture"] == 0.75


def test_a_rate_out_of_range_is_clipped_and_an_unknown_one_is_said(board, experiment):
    page = Page(board)
    page.say(type="rates", name="activation", value=7.0)
    assert experiment.mutations.activation == 1.0
    page.say(type="rates", name="magic", value=0.5)
    wait(lambda: "there is no mutation rate 'magic'" in page.head.get("error", ""))


def test_two_dashboards_on_one_experiment_agree(experiment):
    boards = [Dashboard(experiment) for _ in range(2)]
    pages = [Page(board) for board in boards]
    pages[0].say(type="rates", name="none", value=0.9)
    pages[1].say(type="run")
    wait(lambda: experiment.generation >= 3)
    pages[0].say(type="pause")
    for page in pages:
        wait(
            lambda page=page: (
                page.head.get("status") == "paused" and page.numbers[-1] == experiment.generation
            )
        )
        assert ["none", 0.9, 0.0, 1.0] in page.head["rates"]
    for board in boards:
        board.close()


def test_an_error_of_the_training_thread_is_shown_as_text(experiment):
    experiment.fail_at = 2
    board = Dashboard(experiment)
    page = Page(board)
    page.say(type="run")
    wait(lambda: page.head.get("status") == "failed")
    assert page.head["error"] == "RuntimeError: loss is NaN in <b>agent</b> 3 & 4"
    with pytest.raises(RuntimeError, match="loss is NaN"):
        experiment.step()
    board.close()


def test_pressing_run_after_an_error_says_it_rather_than_swallowing_it(experiment):
    experiment.error = RuntimeError("diverged")
    board = Dashboard(experiment)
    page = Page(board)
    page.say(type="run")
    wait(lambda: page.head.get("error") == "RuntimeError: diverged" and experiment.error is None)
    board.close()


def test_closing_ends_the_thread_and_leaves_training_alone(board, experiment):
    experiment.start()
    board.close()
    wait(lambda: not board._poller.alive)
    wait(lambda: experiment.generation >= 2)
    assert experiment.status == "running"


def test_a_page_that_went_away_ends_the_thread_and_one_that_returns_starts_it(board):
    page = Page(board)
    page.say(type="unseen")
    wait(lambda: not board._poller.alive)
    page.say(type="hello", have=0)
    assert board._poller.alive


def test_a_closed_dashboard_is_garbage():
    experiment = FakeExperiment()
    threads = threading.active_count()
    board = Dashboard(experiment)
    ref = weakref.ref(board)
    board.close()
    wait(lambda: threading.active_count() <= threads)
    del board
    gc.collect()
    assert ref() is None


def test_running_the_cell_again_closes_the_board_it_made_before(monkeypatch, experiment):
    import IPython

    class Shell:
        run = "1"

        def get_parent(self) -> dict[str, Any]:
            return {"metadata": {"cellId": "cell"}, "header": {"msg_id": self.run}}

    shell = Shell()
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    first, beside = Dashboard(experiment), Dashboard(experiment)
    shell.run = "2"
    again = Dashboard(experiment)
    assert first.comm is None
    assert beside.comm is None
    assert again.comm is not None
    # IPython's `Out` keeps the old boards; with them every experiment of a cell that is run 200 times.
    assert first.experiment is None
    assert repr(first).startswith("Dashboard(")
    assert repr(first).endswith(": exp.report(), exp.plot()")
    again.close()


def test_an_episode_is_recorded_off_the_training_thread(board, experiment):
    page = Page(board)
    experiment.step()
    page.say(type="rollout", agent="best")
    wait(lambda: board.rollout.get("source", "").startswith("data:image/"))
    assert len(board.rollout["source"]) <= 90_000
    assert board.rollout["agent"] == experiment.history.generations[-1].best.agent


def test_an_episode_that_fails_says_so_in_its_panel(board, experiment, monkeypatch):
    page = Page(board)
    experiment.step()
    wait(lambda: not page.head.get("rendering"))

    def fail(**_: Any) -> None:
        raise LookupError("nobody is best")

    monkeypatch.setattr(experiment, "rollout", fail)
    wait(lambda: not board._feed.rendering)
    page.say(type="rollout", agent="elite")
    wait(lambda: "LookupError: nobody is best" in page.head.get("rollout_error", ""))


def test_an_environment_without_pictures_is_no_error_and_is_asked_once(experiment, monkeypatch):
    """A red "No episode" came by itself, and the button stayed enabled."""
    asked = []

    def draws_nothing(**_: Any) -> Rollout:
        asked.append(1)
        return Rollout(returns=[1.0])

    monkeypatch.setattr(experiment, "rollout", draws_nothing)
    board = Dashboard(experiment, rollout_every=1)
    page = Page(board)
    for number in (1, 2, 3):
        experiment.step()
        wait(lambda number=number: number in page.numbers)
    wait(lambda: page.head["no_pictures"])
    assert "draws no pictures" in page.head["no_pictures"]
    assert page.head["rollout_error"] == ""
    assert len(asked) == 1
    board.close()


def test_the_newest_film_is_sent_as_a_gif(board, experiment):
    page = Page(board)
    files: list[Any] = []
    board.send = lambda content, buffers=None: files.append((content, buffers))
    experiment.step()
    page.say(type="rollout", agent="best")
    wait(lambda: board._feed.rollout)
    page.say(type="film")
    wait(lambda: any(content["type"] == "film" for content, _ in files))
    content, buffers = next(f for f in files if f[0]["type"] == "film")
    assert content["name"].endswith("-generation-1.gif")
    assert buffers[0][:4] == b"GIF8"


def test_the_bundle_has_a_widget_a_picture_a_table_and_text(board, experiment):
    experiment.run(3)
    bundle = board._repr_mimebundle_()
    assert set(bundle) == {
        "application/vnd.jupyter.widget-view+json", "text/html", "image/png", "text/plain",
    }  # fmt: skip
    assert "<img" in bundle["text/html"]
    assert "<table" in bundle["text/html"]
    assert "3 generations of 4 agents" in bundle["text/plain"]


def test_names_are_escaped_in_every_still(experiment):
    experiment.name = "<script>alert(1)</script>"
    board = Dashboard(experiment)
    assert "<script>" not in board._repr_mimebundle_()["text/html"]
    board.close()


def test_what_a_notebook_saves_follows_when_training_rests(board, experiment):
    assert board.state["rows"] == []
    experiment.run(2)
    wait(lambda: board.state["rows"] and board.state["rows"][-1]["n"] == 2)
    assert not board.state["head"]["alive"]
