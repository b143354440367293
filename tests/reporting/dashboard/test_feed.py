"""What the head of a dashboard says of the elite is what the run says."""

from __future__ import annotations

import dataclasses
import json

import pytest

import evolab as ev
from evolab.history.display import number
from evolab.reporting.comparison.feed import RunsFeed
from evolab.reporting.dashboard.feed import Feed
from evolab.reporting.dashboard_server.followed_run import FollowedRun
from tests.reporting.comparison.made import config, write_run
from tests.reporting.dashboard.fake import make_history


@pytest.fixture(scope="module")
def run():
    exp = ev.Experiment("CartPole-v1", algorithm="DQN", population=2, num_envs=1, network=[8], steps_per_generation=40,
                        eval_steps=30, fitness="return", target=30.0, seed=1, hyperparameters={"batch_size": 8})  # fmt: skip
    exp.fill(50)
    exp.run(generations=2)
    yield exp
    exp.close()


def test_the_confirmed_value_is_what_is_known_of_the_elite_and_not_a_lucky_mean_of_a_generation(run):
    """Two episodes had 500 and the next two 441: the head said 500 with a tick, `exp.record` 471 over 4."""
    lucky = dataclasses.replace(run.history.generations[0], confirmed=1e6)
    run.history.generations[0] = lucky
    mean, episodes = run.confirmed
    assert f"{number(mean)} \N{CHECK MARK} over {episodes} fresh episodes" in run.record
    said = Feed(run).state()
    assert (said["confirmed"], said["fresh"]) == (pytest.approx(mean, rel=1e-3), episodes)
    assert said["head"]["solved"] == run.solved
    table = RunsFeed([run])
    table.look()
    (row,) = table.messages(everything=True)[0]["rows"].values()
    assert row["confirmed"] == said["confirmed"]


def test_a_folder_tells_of_its_elite_by_the_newest_checkpoint(tmp_path):
    history = make_history(3, 4)
    for place, confirmed in enumerate((250.0, 190.0, 180.0)):
        history.generations[place] = dataclasses.replace(history.generations[place], confirmed=confirmed)
    folder = write_run(tmp_path / "run", config(), history)
    facts = json.loads((folder / "experiment.json").read_text())
    followed = FollowedRun(folder)
    followed.look()
    assert (followed.confirmed, followed.solved) == ((250.0, None), True), (
        "the checkpoint says nothing of an elite"
    )
    (folder / "experiment.json").write_text(json.dumps(facts | {"elite_fitness": 185.0}))
    assert (followed.confirmed, followed.solved) == ((185.0, None), False)
    (folder / "experiment.json").write_text(json.dumps(facts | {"elite_fitness": 260.0, "generation": 2}))
    assert followed.confirmed == (250.0, None), "the checkpoint is older than the history"


def test_a_run_that_was_saved_has_its_report_and_its_hint_there(run, tmp_path):
    """It went to the working directory, where the report of another run stood."""
    assert Feed(run).head()["folder"] == ""
    run.save(tmp_path / "small")
    assert run.report() == tmp_path / "small" / "report.html"
    assert Feed(run).head()["folder"] == str(tmp_path / "small")
