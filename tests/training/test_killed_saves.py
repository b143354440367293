"""What a process that is killed within a save leaves behind is understood by the next reader and the next writer.

Where a folder is replaced, the old one is renamed to `.NAME.before`, the new one to NAME, and the old one removed. A
kill may come between any two of these.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import time
from pathlib import Path

import pytest

import evolab as ev
from evolab.storage.folders import aside
from tests.small import experiment, told


def killed_after_the_first_rename(folder: Path) -> None:
    """The new content was not yet there; the process's draft was."""
    os.rename(folder, aside(folder))


def killed_before_the_old_one_was_removed(folder: Path) -> None:
    shutil.copytree(folder, aside(folder))


def killed_while_the_old_one_was_removed(folder: Path) -> None:
    shutil.copytree(folder, aside(folder))
    for path in list(aside(folder).iterdir())[::2]:
        path.unlink()


KILLS = [
    killed_after_the_first_rename,
    killed_before_the_old_one_was_removed,
    killed_while_the_old_one_was_removed,
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run with five generations on disk."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    exp = experiment(folder=folder, keep=5)
    exp.run(generations=5)
    exp.close()
    return folder


@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("number", [5, 2])
def test_after_a_kill_within_a_save_everything_goes_on(kept, tmp_path, kill, number):
    """It raised FileNotFoundError from the first to third save on, and nothing old was cleared any more."""
    folder = tmp_path / "run"
    shutil.copytree(kept, folder)
    kill(folder / f"generation-{number:06d}")
    exp = ev.Experiment.load(folder, keep=2)
    assert exp.generation == 5
    for _ in range(4):
        exp.step()
        exp.save()
    assert not list(folder.glob(".generation*"))
    best = max(exp.history.generations, key=lambda one: one.confirmed or float("-inf")).number
    kept_now = {int(path.name[-6:]) for path in folder.glob("generation-*")}
    assert kept_now == {9, 8, best}
    again = ev.Experiment.load(folder)
    assert told(again) == told(exp)
    exp.close()


@pytest.mark.parametrize("kill", KILLS)
def test_after_a_kill_the_elite_and_what_the_user_put_beside_it_are_there(kept, tmp_path, kill):
    folder = tmp_path / "run"
    shutil.copytree(kept, folder)
    (folder / "elite" / "episode.gif").write_text("a picture")
    kill(folder / "elite")
    elite = ev.Agent.load(folder)
    exp = ev.Experiment.load(folder)
    assert elite.id == exp.elite.id
    exp.step()
    exp.save(folder)
    assert (folder / "elite" / "episode.gif").read_text() == "a picture"
    assert not aside(folder / "elite").exists()
    exp.close()


@pytest.mark.parametrize("kill", KILLS)
def test_after_a_kill_an_agent_can_be_saved_again(kept, tmp_path, kill):
    agent = ev.Agent.load(kept)
    agent.save(tmp_path / "agent")
    (tmp_path / "agent" / "notes.txt").write_text("mine")
    kill(tmp_path / "agent")
    ev.Agent.load(tmp_path / "agent").save(tmp_path / "agent")
    assert [path.name for path in tmp_path.iterdir()] == ["agent"]
    assert (tmp_path / "agent" / "notes.txt").read_text() == "mine"


# In another process ---------------------------------------------------------------------------

SAVE_FOR_EVER = """
import evolab as ev
exp = ev.Experiment.load(folder)
pipe.send("ready")
while True:
    exp.save(folder)
    exp.best.save(folder + "/../agent")
    if pipe is not None:
        pipe.send("saved")
        pipe = None
"""


@pytest.mark.slow
def test_fifty_kills_of_a_process_that_saves_the_same_generation_again_and_again(kept, tmp_path):
    folder, stream = tmp_path / "run", random.Random(0)
    shutil.copytree(kept, folder)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["evolab.experiment.experiment", "gymnasium"])
    midway = 0
    for _ in range(50):
        pipe, far = context.Pipe()
        names = {"folder": str(folder), "pipe": far}
        process = context.Process(target=exec, args=(SAVE_FOR_EVER, names))
        process.start()
        far.close()  # so that a process that ends by itself is noticed
        assert pipe.recv() == "ready"
        started = time.perf_counter()
        assert pipe.recv() == "saved"
        time.sleep(stream.uniform(0.0, 2.0) * (time.perf_counter() - started))  # whatever the machine's speed
        process.kill()
        process.join(60)
        midway += bool(list(folder.glob(".*.before")) + list(tmp_path.glob(".*.before")))
        exp = ev.Experiment.load(folder)
        for _ in range(2):
            exp.step()
            exp.save()
        if (tmp_path / "agent").exists() or aside(tmp_path / "agent").exists():
            ev.Agent.load(tmp_path / "agent").save(tmp_path / "agent")
        assert not list(folder.glob(".generation*"))
        exp.close()
    assert midway, "some kills came where it matters"
