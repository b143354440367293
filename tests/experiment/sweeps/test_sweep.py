"""A sweep: the same results in every engine, whoever is killed; what fails costs itself alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import evolab as ev
from evolab.__main__ import main
from evolab.experiment.engines.folder import Folder
from evolab.experiment.engines.orders import Report
from evolab.experiment.sweeps.job import SweepJob
from evolab.experiment.sweeps.joining import join
from evolab.experiment.sweeps.plan import Plan
from evolab.storage import lock
from tests.small import QUICK, assert_same, quiet

SMALL = {k: v for k, v in QUICK.items() if k not in ("seed", "hyperparameters", "search_space")}
FOUR = [
    {"name": "x", "algorithm": name, "environment": place, **more}
    for name, place, more in (
        ("DQN", "CartPole-v1", {}),
        ("PPO", "CartPole-v1", {"buffer": 4}),
        ("TD3", "Pendulum-v1", {}),
        ("SAC", "Pendulum-v1", {}),
    )
]
for one in FOUR:
    del one["name"]
    if one["algorithm"] != "PPO":
        one |= {
            "buffer": 150,
            "hyperparameters": {"batch_size": 8},
            "search_space": {"batch_size": ev.Integer(4, 16)},
        }
GOALS = {"generations": 3, "fill": 60, "progress": False}


def swept(folder, engine="local", **options):
    return ev.sweep(FOUR, folder, engine=engine, **{**SMALL, **GOALS, **options})


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The four runs in this process, one after the other."""
    return swept(tmp_path_factory.mktemp("sweep") / "local").folder


def assert_equal(folder, undisturbed):
    runs = sorted(one.parent.name for one in undisturbed.glob("*/experiment.json"))
    assert len(runs) == 4
    assert sorted(one.parent.name for one in folder.glob("*/experiment.json")) == runs
    for run in runs:
        one, other = ev.load(folder / run), ev.load(undisturbed / run)
        assert_same(one, other)
        one.close()
        other.close()


@pytest.mark.parametrize("one", FOUR, ids=lambda one: one["algorithm"])
def test_a_run_of_a_sweep_is_the_same_as_alone(one, undisturbed):
    alone = ev.Experiment(**{**SMALL, **one, "seed": 0})
    if one["algorithm"] != "PPO":
        alone.fill(60)
    alone.run(generations=3)
    found = ev.load(next(undisturbed.glob(f"*{one['algorithm']}*")))
    assert_same(alone, found)
    alone.close()
    found.close()


def test_listings_and_boards_read_a_sweep_s_folder(undisturbed):
    assert sorted(ev.runs(undisturbed)["algorithm"]) == ["DQN", "PPO", "SAC", "TD3"]
    board = ev.dashboard(undisturbed)
    assert len(board.feed.runs) == 4
    board.close()


def test_processes_that_meet_in_a_folder_find_the_same(tmp_path, undisturbed):
    made = swept(tmp_path / "s", "folder", workers=2)
    assert made.finished
    assert_equal(made.folder, undisturbed)


def holder(folder):
    """Process ids of the workers that hold a run now."""
    found = (lock.writer(one.parent) for one in folder.glob("*/.lock"))
    return [one["pid"] for one in found if one and one["pid"] != os.getpid()]


def kill_workers(made, begun, times=1):
    """Kill a worker of a sweep so often, from when its folder holds `begun` on, and see the sweep end all the same."""
    killed, deadline = 0, time.monotonic() + 1800
    try:
        while not made.wait(0.1) and time.monotonic() < deadline:
            held = holder(made.folder)
            if killed < times and held and list(made.folder.glob(begun)):
                os.kill(held[0], signal.SIGKILL)
                killed += 1
                time.sleep(0.5)
    finally:
        made.stop()
    assert killed
    assert made.finished


def test_workers_killed_again_and_again_lose_nothing(tmp_path, undisturbed):
    made = swept(tmp_path / "s", "folder", workers=2, wait=False, retries=20)
    kill_workers(made, "*/generation-*", times=3)
    assert_equal(made.folder, undisturbed)


def test_a_killed_driver_is_gone_on_with_by_another_engine(tmp_path, undisturbed):
    program = (
        "import sys; from tests.experiment.sweeps.test_sweep import swept; from pathlib import Path; "
        "swept(Path(sys.argv[1]))"
    )
    folder = tmp_path / "s"
    root = Path(ev.__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", program, str(folder)], env=quiet(), cwd=root) as driver:
        while not list(folder.glob("*/generation-000001")) and driver.poll() is None:
            time.sleep(0.05)
        driver.kill()
    made = swept(folder)
    assert made.finished
    assert_equal(folder, undisturbed)


def test_a_sweep_goes_on_with_raised_goals_and_further_seeds(tmp_path):
    options = {**SMALL, **FOUR[0], "fill": 60, "progress": False}
    ev.sweep(1, tmp_path / "s", generations=1, **options)
    made = ev.sweep(2, tmp_path / "s", generations=2, **options)
    assert made.table["generation"].tolist() == [2, 2]
    again = ev.sweep(made.folder, generations=3, progress=False)
    assert again.table["generation"].tolist() == [3, 3]
    whole = ev.sweep(2, tmp_path / "whole", generations=3, **options)
    for run in ("seed-0", "seed-1"):
        one, other = ev.load(made.folder / run), ev.load(whole.folder / run)
        assert_same(one, other)
        one.close()
        other.close()


class Fragile(gymnasium.Wrapper):
    """Raises at some step for as long as a file is there, or for ever."""

    steps = 0  # of all of them

    def __init__(self, path, mends):
        super().__init__(gymnasium.make("CartPole-v1"))
        self.path, self.mends = path, mends

    def step(self, action):
        Fragile.steps += 1
        if Fragile.steps > 120 and self.path.exists():
            if self.mends:
                self.path.unlink()
            raise OSError("the simulator has lost its licence")
        return super().step(action)


@pytest.fixture
def fragile(tmp_path):
    path = tmp_path / "broken"
    path.touch()
    Fragile.steps = 0
    own = {"env_kwargs": {"path": path, "mends": True}, "environment": Fragile, "on_fault": "raise"}
    return {**SMALL, **FOUR[0], **GOALS, **own}


def test_a_run_that_raises_is_begun_again_from_its_checkpoint(tmp_path, fragile):
    made = ev.sweep(1, tmp_path / "s", **fragile)
    assert made.finished
    assert made.failed == []
    assert not fragile["env_kwargs"]["path"].exists()


def test_a_run_that_always_raises_is_given_up_and_the_others_are_not(tmp_path, fragile, capsys):
    fragile["env_kwargs"]["mends"] = False
    sound = {"environment": "CartPole-v1", "env_kwargs": {}}
    made = ev.sweep([{"seed": 1}, {"seed": 2, **sound}], tmp_path / "s", retries=1, **fragile)
    assert "1 of 2 runs were given up: seed-1." in capsys.readouterr().err
    bad, good = made.table.to_dict("records")
    assert (bad["state"], good["state"]) == ("failed", "over (generations)")
    assert "lost its licence" in bad["error"]
    assert "in step" in made.trace(bad["run"])
    assert made.failed == [bad["run"]]
    assert not made.finished
    fragile["env_kwargs"]["path"].unlink()
    again = ev.sweep([{"seed": 1}, {"seed": 2, **sound}], tmp_path / "s", retries=1, **fragile)
    assert again.finished


def test_ctrl_c_stops_a_sweep_which_then_goes_on(tmp_path, monkeypatch):
    calls = []

    def stopped(self, *_, **__):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(self, *_, **__)

    run = ev.Experiment.run
    monkeypatch.setattr(ev.Experiment, "run", stopped)
    options = {**SMALL, **FOUR[0], **GOALS}
    with pytest.raises(KeyboardInterrupt):
        ev.sweep(1, tmp_path / "s", retries=0, **options)
    assert Report.read(tmp_path / "s", "seed-0").generation == 1
    assert ev.sweep(1, tmp_path / "s", retries=0, **options).finished


def test_a_sweep_on_a_thread_stops_and_goes_on(tmp_path):
    options = {**SMALL, **FOUR[0], **GOALS, "generations": 200}
    made = ev.sweep(1, tmp_path / "s", wait=False, **options)
    with pytest.raises(RuntimeError, match="is being swept by this process already"):
        ev.sweep(1, tmp_path / "s", **options)
    made.stop()
    assert not made.finished
    assert lock.writer(made.folder) is None
    assert "0 of 1 runs are over" in repr(made)
    assert "<table" in made._repr_html_()


def test_what_cannot_go_on_says_so(tmp_path):
    options = {**SMALL, **FOUR[0], **GOALS, "generations": 1}
    made = ev.sweep(1, tmp_path / "s", **options)
    with pytest.raises(
        ValueError, match=r"run seed-0 was begun with population=3; now it is 4. Sweep into another folder"
    ):
        ev.sweep(1, made.folder, **{**options, "population": 4})
    with pytest.raises(ValueError, match=r"population cannot change. Leave it out."):
        ev.sweep(made.folder, population=4)
    with pytest.raises(ValueError, match=r"goes on where it is. Leave the folder out."):
        ev.sweep(made.folder, tmp_path / "other")
    with pytest.raises(FileExistsError, match="is not empty, and holds no sweep"):
        ev.sweep(1, tmp_path, **options)
    with pytest.raises(ValueError, match=r"Unknown engine 'dask'. Known: folder, local, ray"):
        ev.sweep(1, tmp_path / "t", engine="dask", **options)
    with pytest.raises(ValueError, match="engine='local' is this process alone, workers is 2"):
        ev.sweep(1, tmp_path / "t", workers=2, **options)
    with pytest.raises(
        ValueError, match=r"environment is an object of your own \(Fragile\).*'my_module:MyEnv-v0'"
    ):
        ev.sweep(1, tmp_path / "t", engine="folder", **{**options, "environment": Fragile})
    assert not (tmp_path / "t").exists()


def test_a_folder_that_another_process_drives_is_refused(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path / "s")], env=quiet(), stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        with pytest.raises(RuntimeError, match=f"is in use by process {other.pid}"):
            ev.sweep(1, tmp_path / "s", **{**SMALL, **FOUR[0], **GOALS})
        other.kill()


HOLDS = """
import sys, time
from pathlib import Path
from evolab.storage import lock
folder = Path(sys.argv[1])
folder.mkdir()
lock.acquire(folder)
print("held", flush=True)
time.sleep(60)
"""


def test_workers_that_end_at_once_are_not_hired_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(
        SweepJob, "command", lambda self: [sys.executable, "-S", "-c", "raise SystemExit('no licence')"]
    )
    with pytest.raises(RuntimeError, match=r"end as soon as they begin. The last one said:\nno licence"):
        swept(tmp_path / "s", "folder", workers=1)


def test_a_lock_that_nobody_touches_on_another_machine_is_taken_over(tmp_path, monkeypatch):
    made = ev.sweep(1, tmp_path / "s", **{**SMALL, **FOUR[0], **GOALS, "generations": 1})
    goes_on = {**SMALL, **FOUR[0], **GOALS}
    run = made.folder / "seed-0"
    (run / ".lock").write_text('{"pid": 1, "host": "elsewhere", "started": null}')
    Plan.read(made.folder)
    ev.sweep(1, made.folder, engine="folder", workers=0, wait=False, **goes_on).stop()  # raises the goal
    monkeypatch.setattr(lock, "SILENCE", 0.5)
    assert join(made.folder) == 0
    assert Report.read(made.folder, "seed-0").generation == 3


def test_a_worker_that_stands_still_is_told_by_this_machine_s_clock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "SILENCE", 0.2)
    watch = lock.LockWatch()
    (tmp_path / ".lock").write_text("{}")
    assert not watch.silent(tmp_path)
    time.sleep(0.3)
    os.utime(tmp_path / ".lock")  # it is alive
    assert not watch.silent(tmp_path)
    time.sleep(0.3)
    assert watch.silent(tmp_path)


def test_a_held_lock_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.05)
    lock.acquire(tmp_path)
    os.utime(tmp_path / ".lock", (0, 0))
    with lock.beating(tmp_path):
        time.sleep(0.3)
    lock.release(tmp_path)
    assert not (tmp_path / ".lock").exists()
    lock.acquire(tmp_path)
    os.utime(tmp_path / ".lock", (0, 0))
    with lock.beating(tmp_path):
        end = time.monotonic() + 120
        while not (tmp_path / ".lock").stat().st_mtime and time.monotonic() < end:
            time.sleep(0.01)
        assert (tmp_path / ".lock").stat().st_mtime > 0
    lock.release(tmp_path)


def test_a_report_is_read_as_it_was_written_and_a_damaged_one_is_none(tmp_path):
    report = Report(
        "a", 2, 2, 100, 20, 3.5, None, 1.0, None, {"generations": 5}, 1, "broken", "trace", "1 on x"
    )
    report.write(tmp_path)
    assert Report.read(tmp_path, "a") == report
    (tmp_path / ".reports" / "a.json").write_text('{"run": "a", "epoch": -1}')
    assert Report.read(tmp_path, "a") == Report("a")


def test_no_worker_waits_for_those_that_join(tmp_path):
    engine = Folder(0)
    job = SweepJob(tmp_path, Plan([]))
    assert list(engine.drive(job)) == []


def test_the_command_line_sweeps(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "environment: CartPole-v1\nalgorithm: DQN\npopulation: 2\nnum_envs: 2\nsteps_per_generation: 20\n"
    text += (
        "hyperparameters: {batch_size: 8}\nbuffer: 100\nrun: {generations: 1, fill: 20}\nsweep: {seeds: 2}\n"
    )
    Path("pole.yaml").write_text(text)
    assert main(["sweep", "pole.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "seed-0: over (generations), generation 1" in shown
    assert "runs/pole: 2 of 2 runs are over" in shown
    assert main(["sweep", "runs/pole", "--generations", "2"]) == 0
    assert "generation 2" in capsys.readouterr().out
    assert main(["sweep", "runs/pole", "--join"]) == 0
    assert main(["sweep", "runs/none", "--join"]) == 2
    assert "there is no sweep at runs/none" in capsys.readouterr().err
    assert main(["sweep", "pole.yaml", "--engine", "local", "--workers", "3"]) == 2
    assert np.isfinite(ev.runs("runs/pole")["best_fitness"]).all()


def test_a_budget_that_is_too_small_for_one_more_evaluation_ends_a_run(tmp_path):
    """It was sent out again and again, and never took a step."""
    sweep = ev.sweep(1, tmp_path / "s", environment="CartPole-v1", algorithm="DQN", population=2, fitness="return",
                     steps_per_generation=100, network=[8], hyperparameters={"batch_size": 8}, max_steps=900,
                     device="cpu", progress=False)  # fmt: skip
    (run,) = sweep.table.to_dict("records")
    assert run["state"] == "over (max_steps)"
    assert run["steps"] <= 900
