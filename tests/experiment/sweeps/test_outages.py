"""Islands while the network is gone: storage that is away is waited for, who stands still too, and all end the same."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace

import pytest

import evolab as ev
from evolab.experiment.engines import worker
from evolab.experiment.engines.on_ray import RunActor, about
from evolab.experiment.engines.orders import Report
from evolab.experiment.engines.worker import Host
from evolab.experiment.islands.joined_history import JoinedHistory
from evolab.experiment.sweeps.joining import job_of, join
from evolab.experiment.sweeps.migration_orders import IslandsJob
from evolab.experiment.sweeps.plan import Plan
from evolab.storage import lock, outage
from tests.experiment.sweeps.test_asynchronous import alone, log
from tests.experiment.sweeps.test_asynchronous import assert_equal as assert_same_islands
from tests.experiment.sweeps.test_migration_orders import assert_equal, copied, isles, undisturbed
from tests.experiment.sweeps.test_sweep import holder

__all__ = ["undisturbed"]  # a fixture

LASTS = 1.5  # seconds without storage; nothing but how much meets them depends on it


def away(home):
    """Take a folder away, as an unmounted share is."""
    home.rename(home.with_name("elsewhere"))


def back(home):
    assert not home.exists(), "something was made in the place of storage that is away"
    home.with_name("elsewhere").rename(home)


PARTS = {
    "training": (ev.Experiment, "run", 5),
    "an exchange": (worker, "best_of", 2),
    "a report": (Report, "write", 7),
    "a commit": (IslandsJob, "_commit", 2),
    "looking": (IslandsJob, "_newest", 5),
}
"""Where storage goes away: at which call of what."""


@pytest.mark.parametrize("part", PARTS)
def test_no_generation_is_lost_or_computed_twice_for_want_of_storage(
    tmp_path, undisturbed, monkeypatch, part
):
    """Checkpoints were given up, and the sweep fell."""
    home, calls, trained = tmp_path / "s", [], []
    where, name, times = PARTS[part]
    whole = getattr(where, name)

    def gone(*given, **options):
        calls.append(1)
        if len(calls) == times:
            away(home)
            threading.Timer(LASTS, back, [home]).start()
        return whole(*given, **options)

    monkeypatch.setattr(where, name, gone)
    run = ev.Experiment.run

    def counted(self, generations, **options):
        before = self.generation
        run(self, generations, **options)
        trained.extend((self.folder.name, number) for number in range(before, self.generation))

    monkeypatch.setattr(ev.Experiment, "run", counted) if name != "run" else None
    made = isles(home, retries=0)
    assert len(calls) >= times
    assert made.finished
    assert_equal(home, undisturbed)
    assert len(trained) <= 3 * 6 + 2  # M of them again at most
    assert ev.load(home).history.generations[-1].number == 6


def test_processes_wait_for_their_folder(tmp_path, undisturbed):
    home = tmp_path / "s"
    made = isles(home, engine="folder", workers=2, wait=False, retries=0)
    while not list(home.glob(".epochs/*")) and not made.wait(0.02):
        pass
    away(home)
    time.sleep(LASTS)
    back(home)
    assert made.wait(300)
    assert made.finished
    assert_equal(home, undisturbed)
    said = "".join(path.read_text() for path in home.glob(".reports/worker-*.log"))
    assert "Traceback" not in said


def test_a_worker_that_begins_while_its_folder_is_away_waits(tmp_path, undisturbed, monkeypatch):
    """It ended with a traceback, and the driver began another one."""
    monkeypatch.setattr("evolab.experiment.sweeps.joining.leave_with", lambda parent: None)
    home = tmp_path / "s"
    copied(undisturbed, home)
    away(home)
    returning = threading.Timer(LASTS, back, [home])
    returning.start()
    assert join(home, os.getppid()) == 0
    returning.join()
    assert_equal(home, undisturbed)
    with pytest.raises(FileNotFoundError, match="there is no sweep at"):
        join(tmp_path / "nowhere")


@pytest.mark.slow
def test_a_whole_minute_without_storage_changes_nothing(tmp_path, undisturbed, monkeypatch):
    monkeypatch.setattr("tests.experiment.sweeps.test_outages.LASTS", 60.0)
    test_processes_wait_for_their_folder(tmp_path, undisturbed)


def test_a_sweep_that_waits_for_its_folder_can_be_stopped(tmp_path, undisturbed):
    home = tmp_path / "s"
    job = copied(undisturbed, home)
    assert len(job.orders()) == 3
    away(home)
    threading.Timer(0.5, job.rest).start()
    assert job.orders() == []


def test_what_cannot_be_read_is_not_taken_for_what_never_was(tmp_path, undisturbed):
    """A look at a folder that was away found no epoch, and would have had all of them computed again."""
    home = tmp_path / "s"
    job = copied(undisturbed, home)
    job.orders()
    job._committed = None
    away(home)
    with pytest.raises(OSError, match="the folder is away"):
        job._newest()
    back(home)
    assert job._newest()["epoch"] == 3


def stand_still(made, seen):
    """Have a worker of a sweep stand still until `seen` says so, as a machine whose network is gone."""
    while not (held := holder(made.folder)) or not list(made.folder.glob("*/generation-*")):
        assert not made.wait(0.01)
    try:
        os.kill(held[0], signal.SIGSTOP)
        while not seen():
            assert not made.wait(0.02)
    except BaseException:
        made.stop()
        raise
    finally:
        os.kill(held[0], signal.SIGCONT)


def epochs(made):
    return sorted(Report.read(made.folder, f"island-{number}").epoch for number in range(3))


def test_the_others_wait_for_who_stands_still(tmp_path, undisturbed):
    made = isles(tmp_path / "s", engine="folder", workers=2, wait=False)

    def others_have_ended():
        first, second, third = epochs(made)
        assert third - first <= 1
        return second > first

    stand_still(made, others_have_ended)
    assert made.wait(300)
    assert made.finished
    assert_equal(made.folder, undisturbed)


def test_islands_that_do_not_wait_go_on(tmp_path):
    made = alone(tmp_path / "s", engine="folder", workers=2, wait=False)
    stand_still(made, lambda: epochs(made)[1] >= epochs(made)[0] + 2 or epochs(made)[1] == 4)
    assert made.wait(300)
    assert made.finished
    again = tmp_path / "again"
    again.mkdir()
    (made.folder / ".taken").rename(again / ".taken")
    alone(again)
    assert len(log(again)) == 12
    assert_same_islands(again, made.folder)


def test_who_stood_still_for_so_long_that_another_took_its_run_writes_nothing(
    tmp_path, undisturbed, monkeypatch
):
    """It wrote its report over the one of who had led the run on."""
    home = tmp_path / "s"
    job = copied(undisturbed, home)
    order = job.orders()[0]
    run, host = ev.Experiment.run, Host()
    led_on = replace(Report.read(home, order.run), epoch=9)

    def slow(self, *given, **options):
        def taken(_):
            lock.release(order.folder)
            (order.folder / ".lock").write_text('{"pid": 1, "host": "elsewhere", "started": null}')
            led_on.write(home)

        return run(self, *given, **options | {"callback": taken})

    monkeypatch.setattr(ev.Experiment, "run", slow)
    before = sorted(one.name for one in order.folder.glob("gen*"))
    with pytest.raises(lock.InUse, match="in use by process 1 on elsewhere"):
        host.advance(order)
    assert Report.read(home, order.run) == led_on
    assert not host.holds(order.run)
    assert sorted(one.name for one in order.folder.glob("gen*")) == before


def test_a_checkpoint_that_cannot_be_written_is_a_failure_of_the_run(tmp_path, monkeypatch, capsys):
    """Its epoch was reported, taken back, and computed again for ever."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("evolab.training.run_folder.RunFolder.write", full)
    made = isles(tmp_path / "s", generations=2, retries=1)
    assert "were given up" in capsys.readouterr().err
    assert "No space left on device" in made.table["error"][0]


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path, undisturbed):
    """It made one of its own, and the driver waited for ever."""
    home = tmp_path / "s"
    order = replace(copied(undisturbed, home).orders()[0], home=tmp_path / "nowhere")
    said = RunActor().advance(order, about())
    assert said.startswith(f"{tmp_path / 'nowhere'} is not there on ")
    assert "name a folder that all machines see" in said
    assert not (tmp_path / "nowhere").exists()


def test_a_generation_that_is_computed_again_is_told_once(undisturbed):
    """A callback, and so a tracker, had all of them again when a killed worker's history was written anew."""
    joined = JoinedHistory(undisturbed, [f"island-{number}" for number in range(3)])
    assert [one.number for one in joined.refresh()] == [1, 2, 3, 4, 5, 6]
    joined.told[1]._files["generations"]._before = b"another beginning"
    assert joined.refresh() == []
    assert len(joined.history) == 6
    # A budget had cut the last one short: computed as a whole it is another.
    last = joined._given[6]
    joined._given[6] = replace(last, total_steps=last.total_steps - 1)
    joined.told[1]._files["generations"]._before = b"another beginning"
    assert [one.number for one in joined.refresh()] == [6]


def test_the_plan_makes_the_job_that_waits(tmp_path, undisturbed, monkeypatch):
    home = tmp_path / "s"
    copied(undisturbed, home)
    plan = Plan.read(home)
    job = job_of(
        home, replace(plan, runs=[replace(r, goals=replace(r.goals, generations=8)) for r in plan.runs])
    )
    job.orders()
    away(home)
    monkeypatch.setattr(outage, "PATIENCE", -1.0)
    with pytest.raises(OSError, match="has been away for"):
        job.orders()
    back(home)
