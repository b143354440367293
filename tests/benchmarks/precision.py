"""Does learning suffer from tf32 products? evolab as it comes with them, on any machine, beside the exact ones.

Where there is no CUDA device, tf32 is imitated: the factors of every matrix product, forward and backward, while
acting and learning, are rounded to 10 bits of mantissa as tensor cores do it, and products are added up in float32.
Each seed runs both ways through torch's operations (the kernels have no such mode):

    python tests/benchmarks/precision.py [--seeds 1 2 3 4 5] [--table]

It did not with settings that were tuned by hand for these tasks: five seeds each were solved both ways, in the same
number of steps in the median. The stored figures are those; a run replaces them by figures of the defaults.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

os.environ["EVOLAB_NATIVE"] = "0"

from hpo_evolab import as_it_comes
from hpo_tasks import TASKS
from machine import described

import evolab as ev

RESULT = Path(__file__).parent / "results" / "precision.json"
CASES = ["CartPole-v1", "Pendulum-v1"]
UNSEEN = 100
FACTORS = {"bmm": (0, 1), "mm": (0, 1), "baddbmm": (1, 2), "addmm": (1, 2)}


class Rounded(TorchDispatchMode):
    """Inside, products have the precision of tf32."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        factors = FACTORS.get(func.overloadpacket.__name__, ())
        if factors:
            args = tuple(rounded(one) if index in factors else one for index, one in enumerate(args))
        return func(*args, **(kwargs or {}))


def rounded(value: Tensor) -> Tensor:
    """float32 numbers to the nearest ones with 10 bits of mantissa, halves away from zero."""
    assert value.dtype == torch.float32
    return (value.contiguous().view(torch.int32).add(0x1000).bitwise_and_(~0x1FFF)).view(torch.float32)


def run(name: str, seed: int) -> dict[str, float | None]:
    """Training steps until the elite is confirmed at the target, and its mean over unseen episodes."""
    task, solved, unseen = TASKS[name], None, None
    exp, _ = as_it_comes(task, seed)
    while solved is None and exp.total_steps < task.budget:
        generation = exp.step()
        if generation.confirmed is not None and generation.confirmed >= task.target:
            solved = generation.total_steps
    if solved is not None:
        unseen = float(ev.evaluate(exp.elite, name, UNSEEN, seed=10_000 + seed)[0])
    exp.close()
    return {"steps": solved, "unseen": unseen}


def table(found: dict[str, Any]) -> str:
    """Steps to a confirmed solution, seed by seed."""
    lines = []
    for case, ways in found["solved"].items():
        for way, seeds in ways.items():
            steps = [one["steps"] or float("inf") for one in seeds.values()]
            unseen = [one["unseen"] for one in seeds.values() if one["unseen"] is not None]
            each = "  ".join(f"{one:,.0f}" for one in steps)
            lines.append(
                f"{case:18s} {way:8s} median {np.median(steps):9,.0f} steps, unseen {np.median(unseen):8.1f}   {each}"
            )
    return "\n".join(lines)


def main() -> None:
    """Run what was asked for, both ways in turns, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    found: dict[str, Any] = {"solved": {}}
    if options.table:
        found = json.loads(RESULT.read_text())
    else:
        torch.set_num_threads(1)
        for name in CASES:
            ways = found["solved"].setdefault(name, {"float32": {}, "tf32": {}})
            for seed in options.seeds:
                for way in ways:
                    with Rounded() if way == "tf32" else contextlib.nullcontext():
                        outcome = ways[way][str(seed)] = run(name, seed)
                    print(name, seed, way, *outcome.values(), flush=True)
        RESULT.write_text(json.dumps({**described(), **found}, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
