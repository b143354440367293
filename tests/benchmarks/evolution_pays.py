"""Does evolution pay? The same random start with evolution, with selection alone, and with neither.

Paired seeds, equal total steps, learning rates and batch sizes drawn at random from the
algorithm's own search space. After each generation its best agent, chosen by its fitness, is
tested on 20 further episodes, the same for all arms, which no arm learns or selects from: a
population of different agents would else win by the luck of its largest of four fitnesses. The
measure is the area under that curve. Run it with

    python tests/benchmarks/evolution_pays.py TD3 LunarLanderContinuous-v3 --seeds 1 2 3 4 5 6 7 8 9 10
    python tests/benchmarks/evolution_pays.py DQN CartPole-v1 --elite returning --seeds 1 2 3 4 5 12 13 14 15 16

Each run is written to `results/evolution_pays/`; `--table` prints what is there. The operators: nobody is judged
at first, then only clear differences count, children draw all their hyperparameters anew, now and then the worst of
equals is replaced. Two things are tried with the archived elite, the same in both arms that select: it takes a
place at rest (`--elite resting`), or comes back when nobody reaches it and learns on (`--elite returning`).

The lander, ten pairs; the operators were chosen on seeds 11 to 20. At rest evolution leads in the median, and over
neither on all ten seeds: left alone, landers hover again some generations later, and then so do the data that all
learn from. Returning it leads too, but seeds 6 to 10 were looked at when that was chosen, and of seeds 1 to 5 alone
it does not lead. CartPole, operators chosen on seeds 6 to 11. At rest evolution and selection alone are mostly the
same curve: one of four draws nearly always works, and nobody can beat a confirmed 500. Both are above neither in
the median and level with it in the mean; on four of the ten seeds, 15 the worst, both are below it. Returning,
judged from 80 000 steps on, evolution leads by a little over both, in the median and in the mean of ten.

Haste costs most. On CartPole high rates hold the cart for good after some 40 000 steps and look worst until then,
and whatever replaces the worst early replaces them, one at a time as well as two; on the lander early selection
spreads agents that hover. Given up: tournaments, truncation, gaps of several widths from the first generations on,
judged by the newest fitness or the best of four, children that keep the loser's hyperparameters, one hyperparameter
at a time, and half of a child's hyperparameters stepped from its parent's, not drawn.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TQDM_DISABLE", "1")

import evolab as ev
from evolab.experiment import presets

RESULTS = Path(__file__).parent / "results" / "evolution_pays"
NOTHING = ev.Mutations(none=1, architecture=0, parameters=0, activation=0, hyperparameters=0)
FRESH = ev.Mutations(
    none=0, architecture=0, parameters=0, activation=0, hyperparameters=1, resample=1.0, together=True
)
JUDGED_FROM = {("DQN", "returning"): 8}
"""Generations before anybody is judged, where they are not `PATIENCE`: 80 000 steps on CartPole."""
PATIENCE = 4
ARMS = ("evolution", "selection alone", "neither")
TESTED = 20


def curve(
    algorithm: str, environment: str, arm: str, seed: int, max_steps: int, elite: str = "resting"
) -> list[list[float]]:
    """(total steps, fitness of the best agent, its mean return over the test episodes) by generation."""
    preset = presets.demo(algorithm, environment)
    fixed = {k: v for k, v in preset.options.items() if k not in ("mutations", "search_space", "draw")}
    drawn = ("lr", "lr_actor", "lr_critic", "batch_size")
    fixed["hyperparameters"] = {k: v for k, v in fixed.get("hyperparameters", {}).items() if k not in drawn}
    settings: dict[str, Any] = {"evolving": False}
    if arm != "neither":
        mutations = FRESH if arm == "evolution" else NOTHING
        patience = JUDGED_FROM.get((algorithm, elite), PATIENCE)
        settings = {
            "selection": ev.Gap(least=100.0, warmup=patience, restless=0.5),
            "mutations": mutations,
            "revive": True if elite == "returning" else elite,
        }
    exp = ev.Experiment(
        environment,
        seed=seed,
        draw=True,
        buffer=preset.capacity,
        **{"algorithm": algorithm} | fixed | settings,
    )
    exp.fill(preset.fill)
    points = []
    with ev.envs.make(environment, population=1, num_envs=TESTED) as envs:
        while exp.total_steps < max_steps:
            generation = exp.step()
            tested = ev.evaluate(ev.Population.of([exp.best]), envs, TESTED, seed=777)
            points.append([generation.total_steps, generation.fitness, float(tested[0])])
    exp.close()
    return points


def area(points: list[list[float]], column: int = 2) -> float:
    """Mean height of a curve over the steps, in units of return."""
    steps, heights = np.array(points)[:, [0, column]].T
    return float(np.trapezoid(heights, steps) / (steps[-1] - steps[0]))


def table() -> str:
    """Areas by seed, and medians, of what has been measured."""
    lines = []
    for path in sorted(RESULTS.glob("*.json")):
        found = json.loads(path.read_text())
        lines.append(f"{path.stem}, {found['max_steps']:,} steps")
        for arm, curves in found["curves"].items():
            areas = [area(points) for points in curves.values()]
            shown = "  ".join(f"{one:7.1f}" for one in areas)
            lines.append(f"  {arm:16s} median {np.median(areas):7.1f}   seeds {' '.join(curves)}: {shown}")
    return "\n".join(lines)


def keep(path: Path, max_steps: int, arm: str, seed: int, points: list[list[float]]) -> None:
    """Add one run to the file, beside others of the same length."""
    found = json.loads(path.read_text()) if path.exists() else {}
    curves = found["curves"] if found.get("max_steps") == max_steps else {}
    curves.setdefault(arm, {})[str(seed)] = points
    path.write_text(json.dumps({"max_steps": max_steps, "curves": curves}) + "\n")


def main() -> None:
    """Run every arm on every seed, interleaved, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithm", nargs="?")
    parser.add_argument("environment", nargs="?")
    parser.add_argument("--max-steps", type=int, default=300_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--elite", choices=["resting", "returning"], default="resting")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.algorithm:
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f"{options.algorithm}-{options.environment}-{options.elite}.json"
        for seed in options.seeds:
            for arm in ARMS:
                points = curve(
                    options.algorithm, options.environment, arm, seed, options.max_steps, options.elite
                )
                print(f"seed {seed} {arm:16s} area {area(points):9.1f}", flush=True)
                keep(path, options.max_steps, arm, seed, points)
    print(table())


if __name__ == "__main__":
    main()
