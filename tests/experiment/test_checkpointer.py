"""When a run is written, and to whom a folder belongs."""

from __future__ import annotations

import errno
import re
import shutil
import warnings

import pytest

import evolab as ev
from evolab.storage import files, lock
from tests.experiment.toy_runs import same, toy
from tests.toys import Toy

ELSEWHERE = "belongs to another Experiment of this process, which has gone on with the same run"


def kept(folder, **options):
    exp = toy(folder=folder, **options)
    exp.fill(60)
    return exp


def load(folder, **own):
    return ev.Experiment.load(folder, environment=Toy, **own)


def test_of_two_objects_of_one_run_the_one_that_goes_on_has_the_folder(tmp_path):
    """Both wrote their generations 3 and 4 into it, and loading then said that the history was damaged."""
    first = kept(tmp_path / "run")
    first.run(generations=2)
    second = load(tmp_path / "run")
    second.run(generations=2)
    with pytest.warns(UserWarning, match=f"{ELSEWHERE}.*It goes on in memory") as told:
        first.run(generations=2)
    assert len(told) == 1, "it is said once"
    assert (first.generation, second.generation) == (4, 4)
    first.step()
    first.close()
    second.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load(tmp_path / "run")
    assert found.generation == 5
    same(found, second)


def test_who_lost_its_folder_saves_elsewhere_when_asked(tmp_path):
    first = kept(tmp_path / "run")
    first.step()
    second = load(tmp_path / "run")
    second.step()
    with pytest.raises(lock.TakenOver, match=ELSEWHERE):
        first.save(tmp_path / "run")
    first.save(tmp_path / "elsewhere")
    assert load(tmp_path / "elsewhere").generation == 1
    assert load(tmp_path / "run").generation == 2


def test_looking_at_a_run_takes_nothing_from_who_trains_it(tmp_path):
    first = kept(tmp_path / "run")
    first.step()
    seen = load(tmp_path / "run")
    assert seen.best.fitness == first.best.fitness
    first.step()
    assert load(tmp_path / "run").generation == 2


def test_an_object_that_is_gone_holds_nothing(tmp_path):
    first = kept(tmp_path / "run")
    first.step()
    first.close()
    del first
    second = load(tmp_path / "run")
    second.step()
    assert load(tmp_path / "run").generation == 2


def test_a_folder_on_a_full_disk_is_named(tmp_path, monkeypatch):
    """It was "[Errno 28] No space left on device", and nothing else."""

    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*run'"):
        kept(tmp_path / "run").run(generations=1)
    assert not list(tmp_path.rglob(".lock*"))


def test_a_full_disk_is_said_when_it_begins_and_when_it_is_over(tmp_path, monkeypatch):
    """It warned twice a generation, and named an internal line."""
    exp = kept(tmp_path / "run")
    exp.step()
    real = files.write_bytes

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("evolab.storage.folders.write_bytes", full)
    with pytest.warns(UserWarning, match="no checkpoint of generation 2") as told:
        exp.run(generations=3)
    assert len(told) == 1
    text = str(told[0].message)
    assert "no checkpoint of generation 2, training goes on: [Errno 28] No space left on device" in text
    assert re.search(r"It needs about \d+\.\d KiB, and [\d,]+\.\d [KMG]iB are free in .*run\.", text)
    assert told[0].filename == __file__, "the line of the user's own"
    assert load(tmp_path / "run").generation == 1
    monkeypatch.setattr("evolab.storage.folders.write_bytes", real)
    with pytest.warns(UserWarning, match="checkpoints are written again: generation 5 is in .*run") as told:
        exp.run(generations=2)
    assert len(told) == 1
    same(load(tmp_path / "run"), exp)


@pytest.fixture
def three_fit(tmp_path, monkeypatch):
    """A disk without free space, on which no fourth generation fits."""
    real = files.write_tensors

    def write(path, tensors):
        if len([*(tmp_path / "run").glob("generation-*")]) >= 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path, tensors)

    monkeypatch.setattr("evolab.storage.folders.write_tensors", write)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))


@pytest.mark.usefixtures("three_fit")
def test_a_full_disk_gives_up_older_generations_where_that_makes_room(tmp_path):
    exp = kept(tmp_path / "run", keep=9)
    exp.run(generations=3)
    with pytest.warns(
        UserWarning, match=r"the disk is full: generations .* were cleared to make room for generation 4"
    ):
        exp.step()
    best = max(exp.history.generations[:3], key=lambda g: g.confirmed or g.fitness).number
    there = {int(path.name[-6:]) for path in (tmp_path / "run").glob("generation-*")}
    assert there == {best, 3, 4}
    same(load(tmp_path / "run"), exp)


@pytest.mark.usefixtures("three_fit")
def test_a_full_disk_keeps_older_generations_that_would_not_make_room(tmp_path, monkeypatch):
    exp = kept(tmp_path / "run", keep=9)
    exp.run(generations=3)
    monkeypatch.setattr("evolab.training.snapshot.Boundary.needed", property(lambda _: 10**15))
    with pytest.warns(UserWarning, match="no checkpoint of generation 4"):
        exp.step()
    assert len([*(tmp_path / "run").glob("generation-*")]) == 3


def test_a_folder_that_somebody_removed_is_written_anew(tmp_path):
    """Its history began with as many zeros as there had been letters."""
    exp = kept(tmp_path / "run")
    exp.run(generations=2)
    shutil.rmtree(tmp_path / "run")
    exp.step()
    again = load(tmp_path / "run")
    same(exp, again)
    assert (tmp_path / "run" / "elite").is_dir()


def test_storage_that_is_away_has_nothing_made_in_its_place(tmp_path):
    """A folder was made below the empty place of a share, where nobody would have found it later."""
    (tmp_path / "share").mkdir()
    exp = kept(tmp_path / "share" / "run")
    exp.step()
    (tmp_path / "share").rename(tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match="no checkpoint of generation 2, training goes on"):
        exp.step()
    assert not (tmp_path / "share").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "share")
    with pytest.warns(UserWarning, match="checkpoints are written again: generation 3"):
        exp.step()
    same(exp, load(tmp_path / "share" / "run"))
