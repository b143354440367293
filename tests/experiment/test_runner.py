"""Training that runs beside the interpreter, and what ends it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import evolab as ev
from tests.toys import Toy

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}

SCRIPT = """
import sys, time
import evolab as ev
from tests.toys import Toy

exp = ev.Experiment(Toy, "TD3", population=3, num_envs=2, network=[8], steps_per_generation=24, seed=7,
                    hyperparameters={{"batch_size": 16}}, folder={folder!r}{options})
exp.fill(60)
exp.start()
while exp.generation < 2:
    time.sleep(0.01)
{end}
"""


@pytest.mark.parametrize(
    ("options", "end", "code"),
    [("", "", 0), ("", "sys.exit(3)", 3), (", vectorization='async'", "", 0)],
    ids=["at its last line", "by sys.exit", "with workers"],
)
def test_a_script_that_ends_while_a_thread_trains_ends_well(tmp_path, options, end, code):
    """It was aborted: `terminate called without an active exception`, exit status 134."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(tmp_path / "run"), options=options, end=end))
    ended = subprocess.run([sys.executable, script], env=ENVIRONMENT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (code, "")
    assert not (tmp_path / "run" / ".lock").exists(), "the folder was given back"
    assert ev.Experiment.load(tmp_path / "run", environment=Toy).generation >= 2
