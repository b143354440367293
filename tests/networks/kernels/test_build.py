"""The kernels are compiled once, where they may lie, and are done without where they cannot be had."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from evolab.networks.kernels import build

ROOT = Path(__file__).parents[3]


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Nothing is compiled yet, and the cache is an empty folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for each in ("temporary", "home"):
        (tmp_path / each).mkdir()
    build.library.cache_clear()
    build._tell.cache_clear()
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


def test_kernels_that_are_switched_off_are_not_missed(fresh, monkeypatch):
    monkeypatch.setenv("EVOLAB_NATIVE", "0")
    assert build.library(torch.float32) is None


def compiler(monkeypatch, tmp_path, body):
    """A compiler that does this."""
    script = tmp_path / "cc"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setattr(build, "SECONDS", 0.3)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, r"no C compiler was found. Install one \(apt install gcc"),
        (
            "echo it is broken >&2; exit 1",
            "could not compile perceptron.c: it is broken CC names another one",
        ),
        ("sleep 20", "gave nothing within 0.3 s. CC names another one"),
        (
            "echo No space left on device >&2; exit 1",
            "no folder could keep them .*cache.*home.*XDG_CACHE_HOME names",
        ),
    ],
    ids=["none", "one that fails", "one that hangs", "a full disk"],
)
def test_a_compiler_that_gives_nothing_is_named_once_and_what_it_costs(
    fresh, monkeypatch, tmp_path, body, message
):
    if body is None:
        monkeypatch.setattr("shutil.which", lambda name: None)
    else:
        compiler(monkeypatch, tmp_path, body)
    with pytest.warns(UserWarning, match=message) as told:
        found = [build.library(dtype) for dtype in (torch.float32, torch.float64)]
    assert found == [None, None]
    assert len(told) == 1
    assert "two to four times as long" in str(told[0].message)
    assert "EVOLAB_NATIVE=0" in str(told[0].message)


@pytest.mark.kernels
def test_kernels_are_compiled_for_the_processor_that_is_asked_for(fresh, monkeypatch):
    monkeypatch.setenv("EVOLAB_CPU", "no-such-processor")
    with pytest.warns(UserWarning, match=r"compiles nothing for EVOLAB_CPU=no-such-processor: .* Unset it"):
        assert build.library(torch.float32) is None


@pytest.mark.kernels
def test_a_library_that_was_cut_short_is_compiled_again(fresh):
    made = build._compiled(shutil.which("cc") or "gcc", "float", fresh)
    whole = made.stat().st_size
    made.write_bytes(b"not a library")
    assert build.library(torch.float32) is not None
    assert made.stat().st_size == whole


@pytest.mark.skipif(build.library(torch.float32) is None, reason="there is no C compiler")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are kinds of x86-64")
@pytest.mark.parametrize(
    ("cpu", "tests"),
    [
        (
            "x86-64",
            ["tests/networks/kernels/test_perceptrons.py", "-k", "odd_shapes or large_batch or threads"],
        ),
        ("x86-64-v3", ["tests/networks/batching/test_whole_updates.py"]),
    ],
)
def test_kernels_for_lesser_processors_compute_the_same(cpu, tests):
    if cpu == "x86-64-v3" and " avx2 " not in build._cpu():
        pytest.skip("this processor has no AVX2")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        env={**os.environ, "EVOLAB_CPU": cpu},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:]


NEON = "aarch64-linux-gnu-gcc"  # with qemu-user, both from Debian


@pytest.mark.skipif(
    platform.system() != "Linux", reason="powers of another C library may differ in the last bit"
)
@pytest.mark.parametrize("cpu", ["native", "x86-64-v3", "neon"])  # an emulator is not everywhere
def test_vectors_of_any_width_give_the_same_bits(tmp_path, cpu):
    here, made = Path(__file__).parent, tmp_path / "widths"
    command, run = ["cc", *build.FLAGS, f"-march={cpu}"], [str(made)]
    if cpu == "neon":
        if shutil.which(NEON) is None or shutil.which("qemu-aarch64") is None:
            pytest.skip("there is no cross compiler, or no emulator")
        command, run = [NEON, *build.FLAGS, "-static"], ["qemu-aarch64", *run]
    elif platform.machine() != "x86_64" or " fma " not in build._cpu():
        pytest.skip("this processor has no fused products of the x86 family")
    command = [part for part in command if part not in ("-shared", "-fPIC")]
    subprocess.run(
        [*command, str(here / "widths.c"), "-o", str(made), "-lm"], check=True, capture_output=True
    )
    done = subprocess.run(run, check=True, capture_output=True, text=True, timeout=100)
    assert done.stdout == (here / "widths.txt").read_text()


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
