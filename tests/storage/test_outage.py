"""Storage that is away is told from storage that refuses, and is waited for until it is back."""

from __future__ import annotations

import errno

import pytest

from evolab.storage import outage


@pytest.fixture
def mark(tmp_path):
    path = tmp_path / "shared" / "sweep.json"
    path.parent.mkdir()
    path.write_text("{}")
    return path


def test_a_folder_that_is_renamed_is_away_until_it_is_back(mark):
    assert not outage.is_away(mark, written=True)
    assert [one.name for one in mark.parent.iterdir()] == ["sweep.json"]  # the probe has gone
    mark.parent.rename(mark.parent.with_name("elsewhere"))
    assert outage.is_away(mark)
    mark.parent.with_name("elsewhere").rename(mark.parent)
    assert not outage.is_away(mark)


@pytest.mark.parametrize("name", ["EIO", "ESTALE", "ENOTCONN", "ETIMEDOUT"])
def test_a_server_that_does_not_answer_a_write_is_away(mark, monkeypatch, name):
    monkeypatch.setattr("pathlib.Path.touch", refused(name))
    assert outage.is_away(mark, written=True)
    assert not outage.is_away(mark)


@pytest.mark.parametrize("name", ["EACCES", "EROFS", "ENOSPC", "EDQUOT"])
def test_a_server_that_refuses_is_there(mark, monkeypatch, name):
    monkeypatch.setattr("pathlib.Path.touch", refused(name))
    assert not outage.is_away(mark, written=True)


def refused(name):
    number = getattr(errno, name)

    def fails(*_):
        raise OSError(number, name)

    return fails


def test_it_is_waited_for_and_not_for_ever(mark, monkeypatch):
    looks = []

    def comes_back(_):
        looks.append(1)
        if len(looks) == 3:
            mark.write_text("{}")

    monkeypatch.setattr(outage.time, "sleep", comes_back)
    mark.unlink()
    outage.wait_for(mark)
    assert len(looks) == 3
    mark.unlink()
    outage.wait_for(mark, given_up=lambda: True)
    monkeypatch.setattr(outage, "PATIENCE", -1.0)
    with pytest.raises(OSError, match=r"storage has been away for .* nothing is lost"):
        outage.wait_for(mark)
