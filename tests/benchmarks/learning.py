"""Does it learn? Runs a preset until its target is confirmed, over several seeds.

The first confirmed elite is frozen and tested again on 100 unseen episodes. Run it with

    python tests/benchmarks/learning.py TD3 LunarLanderContinuous-v3 --seeds 1 2 3 4 5

Each seed's curve and outcome is written to `results/learning/`; `--table` prints them all.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("TQDM_DISABLE", "1")

import evolab as ev
from evolab.experiment import presets

RESULTS = Path(__file__).parent / "results" / "learning"
UNSEEN = 100


def run(algorithm: str, environment: str, seed: int) -> dict:
    """One seed: the curve of the best agent, when the target was confirmed, and the unseen test."""
    preset = presets.demo(algorithm, environment)
    assert preset.target is not None
    exp = ev.Experiment(
        environment,
        seed=seed,
        target=preset.target,
        buffer=preset.capacity,
        **{"algorithm": algorithm, **preset.options},
    )
    if not exp.algorithm.on_policy:
        exp.fill(preset.fill)
    started, curve, solved = time.perf_counter(), [], None
    while solved is None and exp.total_steps < preset.max_steps:
        generation = exp.step()
        curve.append([generation.total_steps, round(generation.fitness, 1), generation.confirmed])
        if generation.confirmed is not None and generation.confirmed >= preset.target:
            solved = generation.total_steps
    unseen = None
    if solved is not None:
        with ev.envs.make(environment, population=1, num_envs=1) as envs:
            unseen = float(ev.evaluate(ev.Population.of([exp.elite]), envs, UNSEEN, seed=10_000 + seed)[0])
    outcome = {
        "algorithm": algorithm,
        "environment": environment,
        "seed": seed,
        "target": preset.target,
        "solved_at_total_steps": solved,
        "evaluation_steps": exp.evaluation_steps,
        "seconds": round(time.perf_counter() - started, 1),
        "unseen_mean_return": unseen,
        "curve": curve,
        "config": exp.config,
    }
    exp.close()
    return outcome


def table() -> str:
    """What has been measured, one line per algorithm and environment."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        outcome = json.loads(path.read_text())
        groups.setdefault((outcome["algorithm"], outcome["environment"]), []).append(outcome)
    lines = [
        f"{'':34s}{'target':>8s}{'solved':>8s}{'median steps':>14s}{'worst':>10s}{'unseen (median)':>17s}"
    ]
    for (algorithm, environment), outcomes in groups.items():
        steps = [o["solved_at_total_steps"] or float("inf") for o in outcomes]
        unseen = [o["unseen_mean_return"] for o in outcomes if o["unseen_mean_return"] is not None]
        lines.append(
            f"{algorithm + ' ' + environment:34s}{outcomes[0]['target']:8.0f}"
            f"{sum(np.isfinite(steps)):5d}/{len(steps)}{np.median(steps):14,.0f}{max(steps):10,.0f}"
            f"{np.median(unseen) if unseen else float('nan'):17.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the seeds asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithm", nargs="?")
    parser.add_argument("environment", nargs="?")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if options.algorithm:
        for seed in options.seeds:
            outcome = run(options.algorithm, options.environment, seed)
            name = f"{options.algorithm}-{options.environment}-{seed}.json"
            (RESULTS / name).write_text(json.dumps(outcome, indent=1) + "\n")
            print(
                seed,
                outcome["solved_at_total_steps"],
                outcome["unseen_mean_return"],
                outcome["seconds"],
                flush=True,
            )
    print(table())


if __name__ == "__main__":
    main()
