"""Every committed notebook runs in its shortened form, and the cells that promise an output keep it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shortened import short_source, shorten

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted([*(ROOT / "tutorials").glob("*.ipynb"), *(ROOT / "notebooks").glob("*.ipynb")])


def without_stills(cells):
    """Without the pictures that stand beside figures for pages that draw none; no kernel gives them."""
    for cell in cells:
        for output in cell.get("outputs", []):
            if "application/vnd.plotly.v1+json" in output.get("data", {}):
                output["data"].pop("image/svg+xml", None)


@pytest.mark.notebook
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_shows_what_it_promises(notebook, tmp_path):
    pytest.importorskip("nbval")
    # A configuration of its own: this suite's options are about Python files.
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    # Into a folder beside the copy go whatever files the notebook writes.
    copy = tmp_path / notebook.name
    contents = json.loads(notebook.read_text(encoding="utf-8"))
    shorten(contents["cells"])
    without_stills(contents["cells"])
    copy.write_text(json.dumps(contents), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        str(tmp_path / "pytest.ini"),
        "--rootdir",
        str(tmp_path),
    ]
    command += ["--nbval", "--nbval-current-env", "--nbval-cell-timeout", "120"]
    command += ["--nbval-sanitize-with", str(ROOT / "tests" / "nbval.cfg"), str(copy)]
    environment = os.environ | {
        "EVOLAB_ROOT": str(ROOT),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_reader_sees_no_scaffolding(notebook):
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and "remove-cell" not in cell["metadata"].get("tags", []):
            assert "SHORT" not in source
            assert not re.search(r"^\s*assert\b", source, re.MULTILINE)
        elif cell["cell_type"] == "code":
            assert cell["metadata"]["jupyter"]["source_hidden"]
            assert not cell["outputs"] or "print" in source


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_stray_output(notebook):
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr"
            assert output.get("output_type") == "stream" or any(output["data"].values())


def test_a_replacement_that_does_not_fit_its_cell_is_refused():
    assert short_source("exp.run(generations=12)", {"short": {"generations=12": "generations=1"}}).endswith(
        "=1)"
    )
    assert short_source("exp.run()", {"tags": []}) == "exp.run()"
    with pytest.raises(ValueError, match="'generations=12' stands 0 times in a cell, not once"):
        short_source("exp.run(generations=9)", {"short": {"generations=12": "generations=1"}})
    with pytest.raises(ValueError, match="'seed' stands 2 times"):
        short_source("f(seed=seed)", {"short": {"seed": "1"}})
