"""A run's lock: one process at a time, also where a lock is seen while it is written or given back."""

from __future__ import annotations

import json
import os
import socket

import pytest

from evolab.storage import lock


def other():
    """Another process of this machine, which runs."""
    return {"pid": os.getppid(), "host": socket.gethostname(), "started": lock._started(os.getppid())}


def test_a_lock_that_is_being_written_is_waited_for(tmp_path, monkeypatch):
    """Without hard links it is there before its content: whoever looked then took it for a crash's, and both had it."""
    path = tmp_path / ".lock"
    path.touch()
    monkeypatch.setattr(lock.time, "sleep", lambda _: path.write_text(json.dumps(other())))
    with pytest.raises(lock.InUse, match=f"in use by process {os.getppid()}"):
        lock.acquire(tmp_path)
    assert json.loads(path.read_text()) == other()


def test_what_a_crash_left_of_a_lock_is_taken_over(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr(lock.time, "sleep", looks.append)
    (tmp_path / ".lock").write_text("{")
    lock.acquire(tmp_path)
    assert len(looks) == lock.PATIENCE
    assert lock.writer(tmp_path)["pid"] == os.getpid()
    lock.release(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_lock_that_can_never_be_had_is_not_had(tmp_path, monkeypatch):
    """It was taken for had after ten attempts."""
    monkeypatch.setattr(lock.time, "sleep", lambda _: None)
    monkeypatch.setattr(lock, "_discard", lambda *_: None)
    (tmp_path / ".lock").write_text("{")
    with pytest.raises(lock.InUse, match="is in use by process None"):
        lock.acquire(tmp_path)


@pytest.mark.parametrize("links", [True, False])
def test_locks_hold_with_and_without_hard_links(tmp_path, monkeypatch, links):
    def none(*_):
        raise OSError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", none)
    lock.acquire(tmp_path)
    assert lock.writer(tmp_path)["pid"] == os.getpid()
    assert lock.holder(tmp_path) is None
    lock.release(tmp_path)
    (tmp_path / ".lock").write_text(json.dumps(other()))
    with pytest.raises(lock.InUse):
        lock.acquire(tmp_path)
    (tmp_path / ".lock").write_text(json.dumps(other() | {"started": "before the restart"}))
    lock.acquire(tmp_path)
    lock.release(tmp_path)
