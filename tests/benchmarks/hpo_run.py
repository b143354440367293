"""One run of `hpo.py`, in a process of its own: an arm on a task with a seed. Prints the run as one JSON line.

The random streams, the CPU time and the memory of a run are then its own, and the peers' libraries need not agree
with evolab's.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

from hpo_referee import Meter, Over, Referee, metered
from hpo_tasks import OWN, TASKS, Task

MODULES = {name: "hpo_evolab" for name in OWN} | {
    "optuna-quarter": "hpo_optuna",
    "optuna-whole": "hpo_optuna",
    "agilerl": "hpo_agilerl",
}

Arm = Callable[[str, Task, int, Referee], None]


def one_run(wanted: dict[str, Any], arm: Arm, **options: Any) -> dict[str, Any]:
    """A run from beginning to end.

    Args:
        wanted: `arm`, `task`, `seed`, `budget`, `limit` and `minutes`; they come back in the result.
        arm: offers policies to the referee until it is stopped.
        options: of the `Referee`.

    Returns:
        what `Referee.finish` says besides.
    """
    task = TASKS[wanted["task"]]
    meter = Meter(wanted["limit"], wanted["minutes"])
    referee, outcome = Referee(task, meter, wanted["seed"], wanted["budget"], **options), "ended"
    with metered(task.name, meter):
        try:
            arm(wanted["arm"], task, wanted["seed"], referee)
        except Over as over:
            outcome = str(over)
        except RuntimeError as error:
            if "diverged" not in str(error):
                raise
            outcome, referee.said = "failed", {**referee.said, "error": str(error)}
        return {**wanted, "target": task.target, **referee.finish(outcome)}


def end_with_parent() -> None:
    """End when the input ends: whoever started this was killed, and would never hear of the result."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Run what the argument says."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    warnings.filterwarnings("ignore")
    wanted = json.loads(sys.argv[1])
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    import torch

    torch.set_num_threads(1)
    module = import_module(MODULES[wanted["arm"]])
    found = one_run(wanted, module.run)
    print(json.dumps({**found, "versions": module.VERSIONS}), file=answer, flush=True)
    os._exit(0)  # libraries that were stopped half-way need not tidy up


if __name__ == "__main__":
    main()
