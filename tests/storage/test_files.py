"""Files that several write at once: one content or the other, never an error."""

from __future__ import annotations

import os
import threading

from evolab.storage.files import first_bytes, replace_bytes


def test_two_that_replace_a_file_at_once_do_not_meet(tmp_path, monkeypatch):
    """Drafts were named by the process: two threads, or two machines with the same number, took each other's away."""
    path, replaced = tmp_path / "x.json", os.replace

    def beside(draft, target):
        monkeypatch.setattr(os, "replace", replaced)
        other = threading.Thread(target=replace_bytes, args=(path, b"other"))
        other.start()
        other.join()
        assert path.read_bytes() == b"other"
        replaced(draft, target)

    monkeypatch.setattr(os, "replace", beside)
    replace_bytes(path, b"mine")
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["x.json"]
    assert not first_bytes(path, b"late")
    assert os.listdir(tmp_path) == ["x.json"]
