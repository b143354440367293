"""Does evolution pay? The same random start with evolution, with selection alone, and with neither.

From random draws of the default search space, paired seeds, equal total steps; the measure is
the area under the anytime curve of the best agent. Run it with

    python tests/benchmarks/evolution_pays.py DQN CartPole-v1 --max-steps 80000
    python tests/benchmarks/evolution_pays.py TD3 LunarLanderContinuous-v3 --max-steps 200000
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

os.environ.setdefault("TQDM_DISABLE", "1")

import evolab as ev
from evolab import presets

RESULTS = Path(__file__).parent / "results" / "evolution_pays"

ARMS = {
    "evolution": {"evolving": True, "mutations": presets.GENTLE},
    "selection alone": {
        "evolving": True,
        "mutations": ev.Mutations(none=1, architecture=0, parameters=0, activation=0, hyperparameters=0),
    },
    "neither": {"evolving": False},
}


def curve(algorithm: str, environment: str, arm: str, seed: int, max_steps: int) -> list[list[float]]:
    """(total steps, fitness of the best agent) after every generation."""
    preset = presets.demo(algorithm, environment)
    fixed = {k: v for k, v in preset.options.items() if k not in ("mutations", "search_space")}
    fixed["hyperparameters"] = {
        k: v
        for k, v in fixed.get("hyperparameters", {}).items()
        if k not in ("lr", "lr_actor", "lr_critic", "exploration_noise", "batch_size")
    }
    exp = ev.Experiment(
        environment,
        seed=seed,
        draw=True,
        buffer=preset.capacity,
        **{"algorithm": algorithm} | fixed | ARMS[arm],
    )
    exp.fill(preset.fill)
    points = []
    while exp.total_steps < max_steps:
        generation = exp.step()
        points.append([generation.total_steps, generation.fitness])
    exp.close()
    return points


def area(points: list[list[float]]) -> float:
    """Mean height of the curve of the best so far this far, in units of return."""
    steps, heights = np.array(points).T
    return float(np.trapezoid(heights, steps) / (steps[-1] - steps[0]))


def main() -> None:
    """Run every arm on every seed, interleaved, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithm")
    parser.add_argument("environment")
    parser.add_argument("--max-steps", type=int, default=150_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    options = parser.parse_args()
    curves: dict[str, dict[int, list[list[float]]]] = {arm: {} for arm in ARMS}
    for seed in options.seeds:
        for arm in ARMS:
            curves[arm][seed] = curve(options.algorithm, options.environment, arm, seed, options.max_steps)
            print(f"seed {seed} {arm:16s} area {area(curves[arm][seed]):9.1f}", flush=True)
    areas = {arm: [area(points) for points in by_seed.values()] for arm, by_seed in curves.items()}
    for arm, values in areas.items():
        print(f"{arm:16s} median area {np.median(values):9.1f}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    name = f"{options.algorithm}-{options.environment}.json"
    result = {"max_steps": options.max_steps, "areas": areas, "curves": curves}
    (RESULTS / name).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
