"""The kernels are compiled once, where they may lie, and are done without where they cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evolab.networks.kernels import build

ROOT = Path(__file__).parents[3]


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Nothing is compiled yet, and the cache is an empty folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.library.cache_clear()
    yield tmp_path / "cache" / "evolab"
    build.library.cache_clear()


@pytest.mark.kernels
def test_the_kernels_are_compiled_once_and_kept(fresh, monkeypatch):
    assert build.library(torch.float32) is not None
    (made,) = fresh.iterdir()
    assert made.suffix == ".so"
    build.library.cache_clear()
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("compiled a second time"))
    assert build.library(torch.float32) is not None


@pytest.mark.kernels
def test_another_folder_is_taken_where_the_cache_cannot_be_written(fresh, monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert build.library(torch.float32) is not None
    assert list((tmp_path / "home" / ".cache" / "evolab").glob("*.so"))


@pytest.mark.kernels
def test_a_folder_that_others_may_write_is_not_trusted(fresh, monkeypatch, tmp_path):
    fresh.mkdir(parents=True)
    fresh.chmod(0o777)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert build.library(torch.float32) is not None
    assert not list(fresh.iterdir())


@pytest.mark.parametrize("how", ["switched off", "no compiler", "a compiler that fails", "one that hangs"])
def test_there_are_no_kernels(fresh, monkeypatch, tmp_path, how):
    if how == "switched off":
        monkeypatch.setenv("EVOLAB_NATIVE", "0")
    elif how == "no compiler":
        monkeypatch.setattr("shutil.which", lambda name: None)
    else:
        script = tmp_path / "cc"
        script.write_text("#!/bin/sh\n" + ("exit 1\n" if how == "a compiler that fails" else "sleep 20\n"))
        script.chmod(0o755)
        monkeypatch.setenv("CC", str(script))
        monkeypatch.setattr(build, "SECONDS", 0.2)
    assert build.library(torch.float32) is None


def test_there_are_none_for_other_precisions():
    assert build.library(torch.bfloat16) is None


def test_without_kernels_torch_computes_the_same():
    laws = [
        "tests/population/test_laws.py",
        "tests/networks/batching/test_group.py",
        "tests/networks/test_mlp.py",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *laws],
        cwd=ROOT,
        env={**os.environ, "EVOLAB_NATIVE": "0"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:]
