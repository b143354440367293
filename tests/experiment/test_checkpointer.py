"""When a run is written, and to whom a folder belongs."""

from __future__ import annotations

import warnings

import pytest

import evolab as ev
from evolab.storage import lock
from tests.experiment.test_experiment import same, toy
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
