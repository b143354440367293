"""What is published: a wheel and an sdist that stand alone, on every Python, with the oldest and the newest dependencies."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib import util
from pathlib import Path

import pytest

import evolab
from evolab.reporting import documentation as pages

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
RESOLUTIONS = ("lowest-direct", "highest")


def run(*words: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, **options
    )


def of_wheel(path: Path) -> set[str]:
    """The files of a wheel, without those that describe it."""
    names = {name for name in zipfile.ZipFile(path).namelist() if not name.endswith("/")}
    return {name for name in names if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is made from it, as `python -m build` makes them."""
    if util.find_spec("build") is None or util.find_spec("setuptools") is None:
        pytest.skip("build and setuptools are in the extra test")
    out = tmp_path_factory.mktemp("dist")
    clone = tmp_path_factory.mktemp("clone")  # building writes beside the sources
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    if files.returncode:
        pytest.skip("not a clone")
    for name in files.stdout.splitlines():
        if ((ROOT / name).is_file() and not name.startswith("tests/")) or name.startswith(
            "tests/benchmarks/results"
        ):
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((ROOT / name).read_bytes())
    done = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, clone)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def test_the_wheel_holds_the_package_whole_and_no_test(built):
    wheel, _ = built
    names = of_wheel(wheel)
    package = {name for name in names if name.startswith("evolab/")}
    kinds = {".py", ".js", ".css", ".c", ".h", ".txt", ".md", ".typed"}
    there = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "evolab").rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and (path.suffix in kinds or path.name == "py.typed")
    }
    assert package == there
    assert all(
        name.startswith(f"evolab-{evolab.__version__}.data/data/share/evolab/") for name in names - package
    )
    assert wheel.stat().st_size < 6_000_000


def test_the_wheel_brings_the_sources_of_the_pages(built, tmp_path):
    wheel, _ = built
    share = f"evolab-{evolab.__version__}.data/data/share/evolab/"
    brought = {name.removeprefix(share) for name in of_wheel(wheel) if name.startswith(share)}
    pages.gather(ROOT, tmp_path)
    needed = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert needed - brought == set()


def test_the_sdist_makes_the_wheel_and_has_its_sources(built):
    wheel, sdist = built
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in of_wheel(wheel) if name.startswith("evolab/")} <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "tutorials/pages/conf.py"} <= names


def test_an_installed_wheel_runs_without_the_clone(built, tmp_path):
    wheel, _ = built
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", tmp_path / "site", wheel]
    done = run(sys.executable, *install)
    assert done.returncode == 0, done.stderr[-2000:]
    program = (
        "import evolab as ev, sys\n"
        "from evolab.reporting.documentation import sources\n"
        "assert ev.__file__.startswith(sys.argv[1]), ev.__file__\n"
        "assert str(sources()).startswith(sys.argv[1]), sources()\n"
        "exp = ev.Experiment('CartPole-v1', population=2, num_envs=1, steps_per_generation=60, seed=1)\n"
        "exp.step()\n"
        "print(ev.__version__, exp.generation)"
    )
    known = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = run(sys.executable, "-c", program, tmp_path / "site", cwd=tmp_path, env=known)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [evolab.__version__, "1"]


def resolved(python: str, resolution: str) -> tuple[str, str]:
    """What would be installed, with and without leave to compile; what uv said, where it could not tell."""
    found = []
    for more in ([], ["--only-binary", ":all:"]):
        words = [
            "-m",
            "uv",
            "pip",
            "compile",
            "-q",
            "--no-header",
            "--no-annotate",
            "--python-version",
            python,
        ]
        words += ["--resolution", resolution, *more, "pyproject.toml"]
        try:
            done = run(sys.executable, *words, cwd=ROOT, timeout=240)
        except subprocess.TimeoutExpired:
            return "uv: timed out", ""
        found.append(done.stdout if done.returncode == 0 else f"uv: {done.stderr}")
    return found[0], found[1]


@pytest.fixture(scope="module")
def resolutions() -> dict[tuple[str, str], tuple[str, str]]:
    """All of them, asked for at the same time: an index answers slowly."""
    if util.find_spec("uv") is None:
        pytest.skip("uv is in the extra test")
    cases = [(python, resolution) for python in PYTHONS for resolution in RESOLUTIONS]
    with ThreadPoolExecutor(len(cases)) as pool:
        return dict(zip(cases, pool.map(lambda case: resolved(*case), cases), strict=True))


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("python", PYTHONS)
def test_oldest_and_newest_dependencies_install_without_a_compiler(resolutions, python, resolution):
    """The lowest gymnasium wanted swig and a compiler for box2d."""
    free, wheels = resolutions[python, resolution]
    if any(
        word in free for word in ("dns error", "error sending request", "Connection refused", "timed out")
    ):
        pytest.skip("there is no package index")
    assert not free.startswith("uv: "), free
    assert not wheels.startswith("uv: "), wheels
    if resolution == "lowest-direct":  # what is newest changes by the day, and may have no wheel for a while
        assert free == wheels
    names = {line.partition("==")[0].partition(" ")[0] for line in wheels.splitlines()}
    assert {"torch", "gymnasium", "box2d", "numpy", "anywidget"} <= names
    assert "box2d-py" not in names


def test_the_citation_says_what_the_package_says():
    citation = (ROOT / "tutorials" / "pages" / "CITATION.cff").read_text("utf-8")
    assert "cff-version: 1.2.0" in citation
    assert "license: Apache-2.0" in citation
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text("utf-8")
