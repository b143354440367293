"""Islands that do not wait for each other, and islands that send transitions: what was taken is logged, and found again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import replace

import pytest

import evolab as ev
from evolab.experiment.engines import worker
from evolab.experiment.engines.migration import KEPT, best_of, origin_of, send, transitions_of
from evolab.experiment.engines.orders import Report
from evolab.experiment.sweeps import asynchronous
from evolab.experiment.sweeps.asynchronous import AloneJob
from evolab.experiment.sweeps.plan import Plan
from evolab.storage.files import first_bytes
from evolab.storage.folders import Saved
from tests.experiment.sweeps.test_migration_orders import isles
from tests.experiment.sweeps.test_sweep import FOUR, SMALL, holder
from tests.small import assert_same, experiment


def alone(folder, **options):
    return isles(folder, every=1, **{"generations": 4, "synchronous": False, "transitions": 20, **options})


def log(folder):
    """What every island took into each of its epochs."""
    found = {}
    for path in sorted((folder / ".taken").glob("*.json")):
        about = json.loads(path.read_text())
        found[about["run"], about["epoch"]] = [(one["run"], one["generation"]) for one in about["inbox"]]
    return found


def assert_equal(folder, other):
    for number in range(3):
        one, two = (ev.load(home / f"island-{number}") for home in (folder, other))
        assert_same(one, two)
        one.close()
        two.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return alone(tmp_path_factory.mktemp("alone") / "local").folder


def test_what_was_taken_from_whom_is_in_the_log_and_in_the_history(undisturbed):
    taken = log(undisturbed)
    assert {*taken} == {(f"island-{number}", epoch) for number in range(3) for epoch in range(1, 5)}
    assert all(taken[f"island-{number}", 1] == [] for number in range(3))
    assert any(givers for givers in taken.values())
    came = 0
    for number in range(3):
        exp = ev.load(undisturbed / f"island-{number}")
        births = exp.history.mutations
        for birth in births[births["kind"] == "migrated"].itertuples():
            came += 1
            givers = dict(taken[f"island-{number}", birth.generation])
            _, giver = origin_of(birth.detail)
            assert birth.detail.endswith(f"generation {givers[giver]}")
        exp.close()
    assert came


def test_by_the_log_alone_the_same_is_found_by_other_workers(tmp_path, undisturbed):
    """Even where it says that an island took what a slow one had sent long ago."""
    home = tmp_path / "s"
    shutil.copytree(undisturbed / ".taken", home / ".taken")
    found = alone(home, engine="folder", workers=2)
    assert found.finished
    assert log(home) == log(undisturbed)
    assert_equal(home, undisturbed)


def test_who_is_killed_takes_the_same_again(tmp_path):
    made = alone(tmp_path / "s", engine="folder", workers=2, wait=False, generations=3)
    killed, deadline = 0, time.monotonic() + 1800
    try:
        while not made.wait(0.1) and time.monotonic() < deadline:
            held = holder(made.folder)
            if not killed and held and list(made.folder.glob("*/generation-*")):
                os.kill(held[0], signal.SIGKILL)
                killed += 1
    finally:
        made.stop()
    assert killed
    assert made.finished
    home = tmp_path / "again"
    shutil.copytree(made.folder / ".taken", home / ".taken")
    alone(home, generations=3)
    assert_equal(home, made.folder)


def test_who_fails_again_and_again_is_left_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    told = worker._report

    def fails(experiment, order, known, over):
        if order.run == "island-1" and order.epoch == 2:
            raise OSError("the simulator has lost its licence")
        return told(experiment, order, known, over)

    monkeypatch.setattr(worker, "_report", fails)
    made = alone(tmp_path / "s", generations=3, retries=1)
    assert "1 of 3 runs were given up: island-1." in capsys.readouterr().err
    assert made.table["generation"].tolist() == [3, 1, 3]
    monkeypatch.undo()
    assert alone(tmp_path / "s", generations=3).finished


def test_nobody_waits_for_who_is_behind_but_stays_within_reach(tmp_path, undisturbed, monkeypatch):
    home = tmp_path / "s"
    shutil.copytree(undisturbed, home, ignore=shutil.ignore_patterns(".lock"))
    plan = Plan.read(home)
    more = replace(plan, runs=[replace(run, goals=replace(run.goals, generations=9)) for run in plan.runs])
    report = Report.read(home, "island-1")
    replace(report, epoch=2, generation=2, over=None).write(home)
    orders = AloneJob(home, more).orders()
    assert [(order.run, order.epoch) for order in orders] == [
        ("island-1", 3),
        ("island-0", 5),
        ("island-2", 5),
    ]
    taken = {order.run: order.inbox for order in orders}
    assert taken["island-1"] == tuple(log(home)["island-1", 3])
    monkeypatch.setattr(asynchronous, "AHEAD", 2)
    assert [order.run for order in AloneJob(home, more).orders()] == ["island-1"]


def test_a_log_waits_until_what_it_names_is_there(tmp_path, undisturbed):
    home = tmp_path / "s"
    shutil.copytree(undisturbed / ".taken", home / ".taken")
    about = json.loads((home / ".taken" / "island-0-000001.json").read_text())
    about["inbox"] = [{"run": "island-2", "generation": 3}]
    (home / ".taken" / "island-0-000001.json").write_text(json.dumps(about))
    plan = Plan.read(undisturbed)
    assert [order.run for order in AloneJob(home, plan).orders()] == ["island-1", "island-2"]


def test_a_checkpoint_that_is_damaged_is_gone_back_behind(tmp_path, undisturbed):
    home = tmp_path / "s"
    shutil.copytree(undisturbed, home, ignore=shutil.ignore_patterns(".lock"))
    (home / "island-1" / "generation-000004" / "population.safetensors").write_bytes(b"x")
    again = alone(home)
    assert again.finished
    assert_equal(home, undisturbed)


def test_what_a_goal_cut_short_is_computed_again(tmp_path):
    cut = isles(tmp_path / "s", every=2, generations=None, max_steps=550, synchronous=False)
    assert cut.finished
    table = cut.table
    assert (table["generation"] % 2).any()
    again = isles(tmp_path / "s", every=2, generations=4, synchronous=False)
    assert again.table["generation"].tolist() == [4, 4, 4]


def test_an_entry_of_the_log_is_written_once(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    assert first_bytes(path, b"a")
    assert not first_bytes(path, b"b")
    assert path.read_bytes() == b"a"
    path.unlink()

    def none(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", none)
    assert first_bytes(path, b"c")
    assert not first_bytes(path, b"d")
    assert path.read_bytes() == b"c"
    assert [one.name for one in tmp_path.iterdir()] == ["x.json"]


def test_a_log_that_a_crash_cut_short_is_written_again(tmp_path, undisturbed, monkeypatch):
    home = tmp_path / "s"
    shutil.copytree(undisturbed / ".taken", home / ".taken")
    path = home / ".taken" / "island-0-000001.json"
    path.write_text("{")
    job = AloneJob(home, Plan.read(undisturbed))
    assert [order.run for order in job.orders()] == ["island-1", "island-2"]  # somebody may be writing it
    monkeypatch.setattr(asynchronous, "STALE", 0.0)
    job.orders()
    assert [order.run for order in job.orders()] == ["island-0", "island-1", "island-2"]


# Transitions -------------------------------------------------------------------------------------


def test_transitions_come_in_with_the_agents(tmp_path, undisturbed):
    exp = ev.load(undisturbed / "island-0")
    sent = transitions_of(undisturbed / "island-0", 4)
    assert len(sent["reward"]) == 20
    newest = exp.buffer.newest(20)
    assert all((sent[name] == newest[name]).all() for name in sent)
    exp.close()
    first = {number: transitions_of(undisturbed / f"island-{number}", 1)["reward"] for number in range(3)}
    told = log(undisturbed)
    for (run, epoch), givers in told.items():
        for giver, generation in givers:
            if generation == 1:
                found = ev.load(undisturbed / run, generation=epoch)
                stored = found.buffer.fields["reward"][: len(found.buffer)].tolist()
                assert {*first[int(giver[-1])].tolist()} <= {*stored}
                found.close()


@pytest.mark.parametrize("algorithm", ["DQN", "SAC"])
def test_islands_that_wait_send_transitions_too_and_end_the_same(tmp_path, algorithm):
    whole = isles(tmp_path / "whole", algorithm, every=1, generations=3, transitions=15)
    isles(tmp_path / "cut", algorithm, every=1, generations=1, transitions=15)
    cut = isles(tmp_path / "cut", algorithm, every=1, generations=3, transitions=15)
    assert_equal(cut.folder, whole.folder)
    without = isles(tmp_path / "without", algorithm, every=1, generations=3)
    one, other = (ev.load(home.folder / "island-0") for home in (whole, without))
    assert one.buffer.added == other.buffer.added + 2 * 15
    assert one.total_steps == other.total_steps  # they are counted where they were made
    one.close()
    other.close()


def test_an_outbox_outlives_the_checkpoint_and_the_oldest_go(tmp_path, monkeypatch):
    exp = experiment("DQN", folder=tmp_path / "a", keep=1)
    monkeypatch.setattr("evolab.experiment.engines.migration.KEPT", 2)
    for number in (1, 2, 3):
        exp.step()
        send(tmp_path / "a", number, exp.buffer, 5)
    asks = best_of(tmp_path / "a", 2, exp.population)
    assert asks.origin == f"agent {asks.individual.id} of a, generation 2"
    assert not (tmp_path / "a" / "generation-000002").exists() or exp.history.generations[1].best
    assert sorted(one.name for one in (tmp_path / "a" / "outbox").iterdir()) == ["000002", "000003"]
    kept = Saved(tmp_path / "a" / "outbox" / "000003", "outbox").tensors("population.safetensors")
    assert all(name.startswith("best/") for name in kept)
    exp.close()
    assert KEPT > 2 * asynchronous.AHEAD  # what an island may still ask for is there


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"algorithm": "PPO"},
            "transitions are exchanged between replay buffers that all agents share; PPO learns",
        ),
        ({"buffer": ev.ReplayBuffer(50, shared=False)}, "between replay buffers that all agents share; TD3"),
        ({"transitions": -1}, "transitions is -1"),
        ({"synchronous": 3}, "synchronous"),
    ],
)
def test_a_mistake_is_named(tmp_path, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        alone(tmp_path / "s", **options)


def test_an_experiment_has_them_too(tmp_path):
    about = {**SMALL, **FOUR[0], "islands": 2, "every": 1, "seed": 3, "progress": False}
    exp = ev.Experiment(folder=tmp_path / "s", transitions=10, synchronous=False, **about)
    exp.run(generations=2)
    assert exp.generation == 2
    again = ev.load(tmp_path / "s")
    assert again.config["synchronous"] is False
    assert again.config["transitions"] == 10
    exp.close()
    again.close()
    with pytest.raises(ValueError, match=r"begun with synchronous=False, transitions=10; now it is True, 0"):
        ev.sweep(
            {"islands": 2, "every": 1},
            tmp_path / "s",
            generations=3,
            **{k: v for k, v in about.items() if k not in ("islands", "every")},
        )
