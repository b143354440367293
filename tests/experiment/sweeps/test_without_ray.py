"""Without Ray, what needs it names the extra."""

from __future__ import annotations

import sys

import pytest

from tests.experiment.sweeps.test_sweep import swept


def test_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"engine='ray' needs Ray: pip install \"evolab\[ray\]\""):
        swept(tmp_path / "s", "ray", workers=1)
