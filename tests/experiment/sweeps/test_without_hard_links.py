"""Storage without hard links, where a rename is all that happens at once: sweeps and islands find the same, and go on."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from evolab.data.buffers import saving
from evolab.experiment.sweeps.job import SweepJob
from tests.experiment.sweeps.test_asynchronous import alone, log
from tests.experiment.sweeps.test_asynchronous import assert_equal as assert_same_islands
from tests.experiment.sweeps.test_migration_orders import assert_equal, isles, undisturbed
from tests.experiment.sweeps.test_sweep import assert_equal as assert_same_runs
from tests.experiment.sweeps.test_sweep import swept
from tests.experiment.sweeps.test_sweep import undisturbed as four

__all__ = ["four", "undisturbed"]  # fixtures

WORKER = """
import errno, os, sys
from evolab.experiment.sweeps.joining import join
def link(*names, **options):
    open(os.path.join(sys.argv[1], ".links"), "a").write("x")
    raise OSError(errno.EPERM, "no links here")
os.link = link
join(sys.argv[1], int(sys.argv[2]))
"""


@pytest.fixture
def asked(request, monkeypatch):
    """How often a link was asked for, in this process; workers without links as well."""
    found = []

    def link(*names, **options):
        found.append(names)
        raise OSError(getattr(errno, getattr(request, "param", "EPERM")), "no links here")

    monkeypatch.setattr(os, "link", link)
    command = [sys.executable, "-c", WORKER]
    monkeypatch.setattr(
        SweepJob, "command", lambda self: [*command, str(self.home.resolve()), str(os.getpid())]
    )
    return found


@pytest.mark.parametrize("asked", ["EPERM", "ENOTSUP"], indirect=True)
def test_a_sweep_is_gone_on_with_and_ends_the_same(tmp_path, asked, four, monkeypatch):
    monkeypatch.setattr(saving, "SMALL", 0)  # what earlier checkpoints have of the buffer is shared with them
    swept(tmp_path / "s", generations=1)
    assert_same_runs(swept(tmp_path / "s").folder, four)
    assert any("buffer-" in str(names[0]) for names in asked)


def test_islands_are_gone_on_with_and_end_the_same(tmp_path, asked, undisturbed):
    isles(tmp_path / "s", generations=2)
    made = isles(tmp_path / "s", engine="folder", workers=2)
    assert_equal(made.folder, undisturbed)
    assert asked
    assert (made.folder / ".links").stat().st_size


def test_islands_that_do_not_wait_write_their_log_once(tmp_path, asked):
    made = alone(tmp_path / "s", engine="folder", workers=2, generations=3)
    assert made.finished
    assert len(log(made.folder)) == 9
    (tmp_path / "again").mkdir()
    (made.folder / ".taken").rename(tmp_path / "again" / ".taken")
    assert_same_islands(alone(tmp_path / "again", generations=3).folder, made.folder)
