"""What checkpoints survive, beside Stable-Baselines3's and AgileRL's: kill, truncate, flip, full disk, pickle canary.

    python tests/benchmarks/checkpoints.py [--peers FOLDER] [--quick] [--table]

The peers live in virtual environments of their own, `FOLDER/sb3` and `FOLDER/agilerl`, which are made where they
are missing; they are no dependencies of evolab. What is done to a checkpoint stands in `checkpoint_battery.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from peer_environments import PEERS, python_of

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULT = HERE / "results" / "checkpoints.json"

ROWS = {
    "truncate": "every file cut to each percent",
    "flip": "one bit flipped, 100 times in each file",
    "kill, one name": "SIGKILL at random while saving over the same name",
    "kill, a name each": "SIGKILL at random while saving to a new name each time",
    "disk full": "no room for the whole file while saving over the same name",
    "pickle canary": "a pickle planted in every file",
}


def measured(python: Path | str, name: str, quick: bool) -> dict[str, Any]:
    """The whole battery of one library, in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [str(python), str(HERE / "checkpoint_battery.py"), name, str(result)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"}
        subprocess.run([*command, "--quick"] if quick else command, check=True, env=environment)
        return dict(json.loads(result.read_text()))


def table(libraries: list[dict[str, Any]]) -> str:
    """What came of each trial, one row each, as Markdown."""
    heads = [f"{one['library']} {one['version']}" for one in libraries]
    lines = ["| " + " | ".join(["", *heads]) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, words in ROWS.items():
        cells = []
        for one in libraries:
            total = sum(one[name].values())
            parts = sorted(one[name].items(), key=lambda part: -part[1])
            cells.append("; ".join(f"{count} of {total} {outcome}" for outcome, count in parts))
        lines.append("| " + " | ".join([words, *cells]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run all three, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peers", type=Path, default=Path.home() / ".cache" / "evolab-peers")
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials; nothing is written")
    parser.add_argument("--table", action="store_true", help="print what was measured before")
    parser.add_argument(
        "--measured", type=Path, nargs="*", help="results of the battery, from runs of their own"
    )
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(RESULT.read_text())["libraries"]))
        return
    if options.measured:
        libraries = [json.loads(path.read_text()) for path in options.measured]
    else:
        libraries = [measured(sys.executable, "evolab", options.quick)]
        libraries += [measured(python_of(options.peers, name), name, options.quick) for name in PEERS]
    print(table(libraries))
    if not options.quick:
        sys.path.insert(0, str(HERE))
        from machine import described

        RESULT.write_text(json.dumps(described() | {"libraries": libraries}, indent=1) + "\n")


if __name__ == "__main__":
    main()
