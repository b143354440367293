"""Every committed notebook runs in its shortened form, and the cells that promise an output keep it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted([*(ROOT / "tutorials").glob("*.ipynb"), *(ROOT / "notebooks").glob("*.ipynb")])


@pytest.mark.notebook
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_shows_what_it_promises(notebook, tmp_path):
    pytest.importorskip("nbval")
    # A configuration of its own: this suite's options are about Python files.
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    # Into a folder beside the copy go whatever files the notebook writes.
    copy = tmp_path / notebook.name
    copy.write_bytes(notebook.read_bytes())
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
        "EVOLAB_SHORT": "1",
        "EVOLAB_ROOT": str(ROOT),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
