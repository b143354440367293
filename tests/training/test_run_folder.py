"""Whole runs on disk: never half loaded, never lost by a crash, never written by two."""

from __future__ import annotations

import dataclasses
import errno
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

import evolab as ev
from evolab.data.buffers import saving
from evolab.storage import files, lock
from evolab.storage.files import Damaged
from tests.small import QUICK, assert_same, experiment, quiet, told


def test_a_large_buffer_is_written_in_segments_and_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "SMALL", 0)
    exp = experiment(keep=2)
    for _ in range(6):
        exp.step()
        exp.save(tmp_path / "run")
        assert_same(exp, ev.Experiment.load(tmp_path / "run"))
    segments = sorted((tmp_path / "run" / "generation-000006").glob("buffer-*"))
    assert len(segments) > 1
    assert any(path.stat().st_nlink > 1 for path in segments)
    again = ev.Experiment.load(tmp_path / "run")
    exp.step()
    again.step()
    again.save()
    assert_same(exp, ev.Experiment.load(tmp_path / "run"))


def test_the_buffer_of_a_later_checkpoint_costs_what_is_new(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "SMALL", 0)
    exp = experiment(buffer=ev.ReplayBuffer(3000))
    exp.fill(2400)
    written: list[int] = []
    real = files.write_tensors

    def counting(path, tensors):
        entry = real(path, tensors)
        if path.name.startswith("buffer"):
            written.append(entry["bytes"])
        return entry

    monkeypatch.setattr("evolab.storage.folders.write_tensors", counting)
    exp.save(tmp_path / "run")
    exp.step()
    exp.save()
    exp.save()
    assert len(written) == 2  # nothing was new the third time
    assert written[1] < written[0] / 10


def test_a_clear_buffer_is_not_mistaken_for_the_old_one(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "SMALL", 0)
    exp = experiment()
    exp.save(tmp_path / "run")
    exp.buffer.clear()
    exp.fill(60)
    exp.save()
    again = ev.Experiment.load(tmp_path / "run")
    assert len(again.buffer) == 60
    taken = torch.equal(again.buffer.fields["observation"][:60], exp.buffer.fields["observation"][:60])
    assert taken


def test_dict_observations_come_back(tmp_path):
    def make_env(**_):
        env = gymnasium.make("CartPole-v1")
        return gymnasium.wrappers.TransformObservation(
            env,
            lambda o: {"z": o, "a": o[:2]},
            gymnasium.spaces.Dict(
                {"z": env.observation_space, "a": gymnasium.spaces.Box(-np.inf, np.inf, (2,))}
            ),
        )

    exp = ev.Experiment(make_env, "DQN", **QUICK)
    exp.fill(100)
    exp.step()
    exp.save(tmp_path / "run")
    with pytest.raises(ValueError, match=r"its own environment \(make_env\).*environment=\.\.\."):
        ev.Experiment.load(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", environment=make_env)
    for key in ("z", "a"):
        assert torch.equal(exp.buffer.fields["observation"][key], again.buffer.fields["observation"][key])
    exp.step()
    again.step()
    assert told(exp) == told(again)


# Checkpoints by themselves --------------------------------------------------------------------


def test_checkpoints_are_written_by_themselves_and_the_newest_and_the_best_are_kept(tmp_path):
    exp = experiment(folder=tmp_path / "run", keep=2)
    exp.run(generations=5)
    there = sorted(path.name for path in (tmp_path / "run").glob("generation-*"))
    assert there[-2:] == ["generation-000004", "generation-000005"]
    best = max(exp.history, key=lambda g: g.confirmed if g.confirmed is not None else -np.inf).number
    assert set(there) == {"generation-000004", "generation-000005", f"generation-{best:06d}"}
    again = ev.Experiment.load(tmp_path / "run")
    again.run(generations=2)  # goes on by itself, too
    assert (tmp_path / "run" / "generation-000007").is_dir()
    assert ev.Agent.load(tmp_path / "run" / "elite").id == again.elite.id


def test_every_third_generation_and_the_last(tmp_path):
    exp = experiment(folder=tmp_path / "run", checkpoint_every=3, keep=9)
    exp.run(generations=7)
    there = {int(path.name[-6:]) for path in (tmp_path / "run").glob("generation-*")}
    assert there == {3, 6, 7}


def test_a_checkpoint_after_some_minutes(tmp_path, monkeypatch):
    exp = experiment(folder=tmp_path / "run", checkpoint_every="10 min", keep=9)
    exp.start(generations=None)
    exp.pause()
    exp.wait()
    assert not list((tmp_path / "run").glob("generation-*"))
    exp._checkpointer._saved_at -= 601
    exp.step()
    assert [path.name for path in (tmp_path / "run").glob("generation-*")] == ["generation-000001"]
    with pytest.raises(ValueError, match="'soon'; a number of generations or a time like"):
        experiment(checkpoint_every="soon")


def test_saving_while_a_thread_trains_waits_for_the_end_of_its_generation(tmp_path):
    exp = experiment(steps_per_generation=200)
    exp.start()
    exp.save(tmp_path / "run")
    exp.pause()
    exp.wait()
    again = ev.Experiment.load(tmp_path / "run")
    assert again.generation >= 1
    again.step()


def midway(exp):
    """The experiment, at rest inside its next generation, with some steps of it made."""
    generation, steps = exp.generation, exp.total_steps
    exp.start()
    while exp.total_steps < steps + 30:
        time.sleep(0.001)
    exp.pause()
    exp.wait()
    assert (exp.generation, exp.status) == (generation, "paused")
    return exp


@pytest.mark.parametrize("generations", [0, 2])
def test_a_run_that_was_stopped_midway_is_saved_as_its_generation_began(tmp_path, generations):
    """Without a folder from the beginning it could not be saved: "generation 1 is under way"."""
    options = {"steps_per_generation": 400, "buffer": 10_000}
    straight, exp = experiment(**options), experiment(**options)
    for one in (straight, exp):
        for _ in range(generations):
            one.step()
    told = f"generation {generations + 1} is under way: what is saved is the run at the end of generation {generations}"
    with pytest.warns(UserWarning, match=told + r"\."):
        midway(exp).save(tmp_path / "run")
    assert exp.status == "paused"
    again = ev.Experiment.load(tmp_path / "run")
    assert (again.generation, again.total_steps) == (generations, straight.total_steps)
    straight.step()
    again.step()
    assert_same(again, straight)
    exp.step()  # and the one that was saved goes on where it rests
    assert_same(exp, straight)
    exp.save()
    assert_same(ev.Experiment.load(tmp_path / "run"), straight)


def test_what_a_small_buffer_has_overwritten_since_is_missing_and_said_to_be(tmp_path):
    exp = experiment(steps_per_generation=400, buffer=100)
    assert (len(exp.buffer), exp.total_steps) == (100, 102)
    with pytest.warns(
        UserWarning, match=r"without its \d+ oldest transitions, which newer ones have replaced"
    ):
        midway(exp).save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run")
    left = max(0, 100 - (exp.total_steps - 102))  # none where a busy machine let it run on for long
    assert (len(again.buffer), again.buffer.cursor.tolist()) == (left, [left])
    # The newest of then, in a row from the beginning: draws are from the first `left` rows.
    places = (102 - left + torch.arange(left)) % 100
    for name in ("observation", "reward") if left else ():
        assert torch.equal(again.buffer.fields[name][:left], exp.buffer.fields[name][places]), name


def test_a_folder_that_holds_another_run_is_not_overwritten(tmp_path):
    one = experiment()
    one.save(tmp_path / "run")
    two = experiment(seed=2)
    with pytest.raises(FileExistsError, match=r"holds another run.*overwrite=True"):
        two.save(tmp_path / "run")
    with pytest.raises(FileExistsError, match=r"Experiment\.load"):
        ev.Experiment("CartPole-v1", "DQN", **QUICK, folder=tmp_path / "run")
    two.save(tmp_path / "run", overwrite=True)
    assert ev.Experiment.load(tmp_path / "run").config["seed"] == 2


def test_an_earlier_generation_can_be_taken_up_again(tmp_path):
    exp = experiment(folder=tmp_path / "run", keep=9)
    exp.run(generations=4)
    back = ev.Experiment.load(tmp_path / "run", generation=2)
    back.mutations = dataclasses.replace(back.mutations, none=0.0)
    back.step()
    assert {p.name for p in (tmp_path / "run").glob("generation-*")} == {
        "generation-000001",
        "generation-000002",
        "generation-000003",
    }
    assert (tmp_path / "run" / "abandoned" / "generation-000004").is_dir()
    again = ev.Experiment.load(tmp_path / "run")
    assert_same(back, again)
    assert again.mutations.none == 0.0
    with pytest.raises(FileNotFoundError, match="no generation 9; there are 1, 2, 3"):
        ev.Experiment.load(tmp_path / "run", generation=9)


# Two processes --------------------------------------------------------------------------------

HOLD = """
    import evolab.storage.lock as lock, pathlib, sys, time
    lock.acquire(pathlib.Path({folder!r}))
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_with_the_pid_and_host_of_the_first(tmp_path):
    import socket

    exp = experiment(folder=tmp_path / "run")
    exp.step()
    exp.close()
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD.format(folder=str(tmp_path / "run")))],
        stdout=subprocess.PIPE,
        env=quiet(),
    )
    try:
        other.stdout.readline()
        words = f"in use by process {other.pid} on {socket.gethostname()}"
        with pytest.warns(UserWarning, match=words):
            second = ev.Experiment.load(tmp_path / "run")  # to look at
        with pytest.raises(RuntimeError, match=words):
            second.step()
        with pytest.raises(RuntimeError, match=words):
            second.save()
        second.save(tmp_path / "elsewhere")
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    second.step()  # the lock of a dead process is nobody's
    assert not lock.holder(tmp_path / "run")


def test_the_lock_of_another_machine_is_believed(tmp_path):
    (tmp_path / ".lock").write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    with pytest.raises(RuntimeError, match=r"process 1 on elsewhere.*delete"):
        lock.acquire(tmp_path)


def test_a_process_number_used_again_is_another_process(tmp_path):
    import socket

    stale = {"pid": os.getppid(), "host": socket.gethostname(), "started": "before the restart"}
    (tmp_path / ".lock").write_text(json.dumps(stale))
    lock.acquire(tmp_path)
    lock.release(tmp_path)
    assert os.listdir(tmp_path) == []


# Damage ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run with three generations on disk."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    exp = experiment(folder=folder, keep=3)
    exp.run(generations=3)
    exp.close()
    return folder


def damages(data: bytes, stream: random.Random, percents: range, flips: int):
    for percent in percents:
        yield data[: len(data) * percent // 100]
    for _ in range(flips):
        place = stream.randrange(len(data))
        yield data[:place] + bytes([data[place] ^ (1 << stream.randrange(8))]) + data[place + 1 :]


def examine(folder: Path, percents: range, flips: int) -> int:
    """Damage every file that belongs to the newest generation; count the damages that were met."""
    stream = random.Random(0)
    count = 0
    places = [p for p in (folder / "generation-000003").iterdir() if p.is_file()]
    places += list((folder / "history").iterdir())
    for path in places:
        whole = path.read_bytes()
        for data in damages(whole, stream, percents, flips):
            if data == whole:
                continue
            path.write_bytes(data)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    loaded = ev.Experiment.load(folder)
                except Damaged as error:
                    assert path.name in str(error)  # noqa: PT017  # one of two outcomes
                else:
                    assert loaded.generation in (1, 2)
                    assert len(loaded.history) == loaded.generation
                    text = " ".join(str(w.message) for w in caught)
                    assert str(path) in text
                    assert "is used instead" in text
                    loaded.close()
            count += 1
        path.write_bytes(whole)
    assert ev.Experiment.load(folder).generation == 3
    return count


def test_a_damaged_file_is_named_and_the_generation_before_is_used(kept):
    assert examine(kept, range(0, 100, 33), 2) >= 40


@pytest.mark.slow
def test_five_hundred_damages_and_no_partial_load(kept):
    assert examine(kept, range(100), 20) >= 500


def test_a_missing_file_and_a_link_are_damage(kept):
    newest = kept / "generation-000003"
    for name in ("state.json", "population.safetensors", "manifest.json"):
        shutil.move(newest / name, newest / "aside")
        with pytest.warns(UserWarning, match=f"{name} is missing"):
            assert ev.Experiment.load(kept).generation == 2
        (newest / name).symlink_to(newest / "aside")
        with pytest.warns(UserWarning, match=f"{name} is not a plain file"):
            assert ev.Experiment.load(kept).generation == 2
        (newest / name).unlink()
        shutil.move(newest / "aside", newest / name)


def test_training_goes_on_after_a_damaged_generation(kept, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(kept, folder)
    (folder / "generation-000003" / "state.json").write_text("{}")
    with pytest.warns(UserWarning, match="Generation 2 is used instead"):
        exp = ev.Experiment.load(folder)
    exp.step()
    assert ev.Experiment.load(folder).generation == 3
    assert told(ev.Experiment.load(folder)) == told(ev.Experiment.load(kept))


def test_where_everything_is_damaged_every_file_is_named(kept, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(kept, folder)
    for path in folder.glob("generation-*/population.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(Damaged, match=r"000003/population\.safetensors.*000002/.*000001/"):
        ev.Experiment.load(folder)


def test_no_pickle_in_a_run_is_ever_opened(kept, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(kept, folder)
    trace = tmp_path / "executed"

    class Canary:
        def __reduce__(self):
            return (os.mkdir, (str(trace),))

    for path in [p for p in folder.rglob("*") if p.is_file()]:
        path.write_bytes(pickle.dumps(Canary()))
    with pytest.raises(ValueError, match="damaged"):
        ev.Experiment.load(folder)
    assert not trace.exists()


def test_a_run_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no saved run at"):
        ev.Experiment.load(tmp_path / "nowhere")


# Disks ----------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_checkpoint_whole_and_training_alive(tmp_path, monkeypatch):
    exp = experiment(folder=tmp_path / "run")
    exp.step()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.warns(UserWarning, match=r"no checkpoint of generation 2.*No space left.*generation 1"):
            exp.step()
        with pytest.raises(OSError, match=r"No space left.*generation 1 .*is untouched"):
            exp.save()
    assert not list((tmp_path / "run").glob(".*.tmp"))
    assert ev.Experiment.load(tmp_path / "run").generation == 1
    exp.step()
    assert_same(exp, ev.Experiment.load(tmp_path / "run"))


def test_a_save_that_starts_anew_never_empties_the_history_that_older_checkpoints_count_on(tmp_path):
    exp = experiment()
    exp.step()
    exp.save(tmp_path / "run")
    exp.close()
    child = os.fork()
    if child == 0:  # another spelling of the same folder, and no room for anything
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
            exp.save(tmp_path / "." / "run" / ".." / "run")
        except OSError:
            os._exit(3)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert_same(exp, ev.Experiment.load(tmp_path / "run"))


@pytest.mark.parametrize("name", ["rename", "replace", "mkdir"])
def test_a_failing_rename_leaves_the_old_checkpoint_whole(tmp_path, monkeypatch, name):
    exp = experiment(folder=tmp_path / "run")
    exp.step()
    with monkeypatch.context() as patched:

        def refused(*_, **__):
            raise PermissionError(errno.EACCES, "Permission denied")

        patched.setattr(os, name, refused)
        with pytest.warns(UserWarning, match="training goes on.*Permission denied"):
            exp.step()
    assert ev.Experiment.load(tmp_path / "run").generation in (1, 2)
    exp.step()
    assert_same(exp, ev.Experiment.load(tmp_path / "run"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_said_to_be_so(tmp_path):
    exp = experiment()
    os.chmod(tmp_path, 0o500)
    try:
        with pytest.raises(PermissionError, match="untouched"):
            exp.save(tmp_path / "run")
    finally:
        os.chmod(tmp_path, 0o700)


# Kills ----------------------------------------------------------------------------------------

TRAIN = """
import os, signal, warnings
import evolab as ev

warnings.simplefilter("error", UserWarning)
if name:
    real, calls = getattr(os, name), [0]

    def deadly(*arguments, **options):
        calls[0] += 1
        if calls[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(os, name, deadly)
try:
    exp = ev.Experiment.load(folder)
except FileNotFoundError:
    exp = ev.Experiment("CartPole-v1", "DQN", folder=folder, buffer=ev.ReplayBuffer(150), keep=2, **options)
    exp.fill(100)
pipe.send("ready")
exp.run(generations=generations)
pipe.send("done")
"""


@pytest.fixture(scope="module")
def processes():
    """Processes that start from one where evolab is imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["evolab.experiment.experiment", "gymnasium", "h5py", "tqdm.auto", "evolab.envs"]
    )
    return context


def run_and_die(processes, folder, generations, name="", count=0, after=None):
    """Train in a process of its own, until it is done or killed; True if it was killed."""
    pipe, far = processes.Pipe()
    names = {"folder": str(folder), "name": name, "count": count, "generations": generations, "pipe": far}
    options = QUICK | {"update_ratio": 1 / 3}
    process = processes.Process(target=exec, args=(TRAIN, {**names, "options": options}))
    process.start()
    far.close()
    words = []
    try:
        words.append(pipe.recv())
        if after is not None:
            time.sleep(after)
            process.kill()
        words.append(pipe.recv())
    except EOFError:
        pass
    process.join(120)
    killed = process.exitcode == -signal.SIGKILL
    assert killed or words == ["ready", "done"], process.exitcode
    pipe.close()
    process.close()
    return killed


@pytest.fixture(scope="module")
def straight():
    """The same run, never stopped."""
    exp = experiment(keep=2)
    exp.run(generations=200)
    return told(exp)


def survives(folder, straight) -> int:
    """Load what a kill left; everything in it is what the run that never stopped had."""
    if not list(folder.glob("generation-*")):
        return 0  # killed before the first checkpoint
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is damaged
        exp = ev.Experiment.load(folder)
    assert told(exp) == straight[: exp.generation]
    return exp.generation


# (function, call): the points inside saving, in the order in which they come.
POINTS = [("fsync", n) for n in range(1, 22, 4)] + [("rename", n) for n in (1, 2)] + [("replace", 1)]


@pytest.mark.parametrize(("name", "count"), POINTS)
def test_a_kill_at_a_point_inside_saving_is_survived(tmp_path, processes, straight, name, count):
    folder = tmp_path / "run"
    assert run_and_die(processes, folder, 2, name, count)
    before = survives(folder, straight)
    assert not run_and_die(processes, folder, 2)
    assert survives(folder, straight) == before + 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fsync", "rename", "replace", "link", "mkdir", "unlink"])
def test_a_kill_at_every_point_inside_saving_is_survived(tmp_path, processes, straight, name):
    for count in range(1, 30 if name == "fsync" else 6):
        folder = tmp_path / f"run-{count}"
        if not run_and_die(processes, folder, 2, name, count):
            break
        before = survives(folder, straight)
        assert not run_and_die(processes, folder, 1)
        assert survives(folder, straight) == before + 1


def kill_at_random(processes, folder, straight, times, seed):
    stream = random.Random(seed)
    newest = 0
    for _ in range(times):
        if newest > 30:
            shutil.rmtree(folder)
            newest = 0
        assert run_and_die(processes, folder, 1000, after=stream.uniform(0.0, 0.5))
        found = survives(folder, straight)
        assert found >= newest
        newest = found


def test_a_few_kills_at_random_moments_are_survived(tmp_path, processes, straight):
    kill_at_random(processes, tmp_path / "run", straight, 3, seed=1)


@pytest.mark.slow
def test_fifty_kills_at_random_moments_are_survived(tmp_path, processes, straight):
    kill_at_random(processes, tmp_path / "run", straight, 50, seed=0)
