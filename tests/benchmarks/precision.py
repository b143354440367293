"""Does learning suffer from tf32 products? The presets with them, on any machine, beside the exact ones.

Where there is no CUDA device, tf32 is imitated: the factors of every matrix product, forward and backward, while
acting and learning, are rounded to 10 bits of mantissa as tensor cores do it, and products are added up in float32.
Each seed runs both ways through torch's operations (the kernels have no such mode):

    python tests/benchmarks/precision.py [--seeds 1 2 3 4 5] [--table]

It does not: five seeds each are solved both ways, in the same number of steps in the median.
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

from learning import run
from machine import described

RESULT = Path(__file__).parent / "results" / "precision.json"
CASES = [("DQN", "CartPole-v1"), ("DDPG", "Pendulum-v1"), ("SAC", "Pendulum-v1")]
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
        for algorithm, environment in CASES:
            ways = found["solved"].setdefault(f"{algorithm} {environment}", {"float32": {}, "tf32": {}})
            for seed in options.seeds:
                for way in ways:
                    with Rounded() if way == "tf32" else contextlib.nullcontext():
                        outcome = run(algorithm, environment, seed)
                    steps, unseen = outcome["solved_at_total_steps"], outcome["unseen_mean_return"]
                    ways[way][str(seed)] = {"steps": steps, "unseen": unseen}
                    print(algorithm, environment, seed, way, steps, unseen, flush=True)
        RESULT.write_text(json.dumps({**described(), **found}, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
