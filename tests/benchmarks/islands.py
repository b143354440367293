"""What islands cost, on 1, 2 and 4 workers, and what 10, 100 and 1 000 of them would do; and whether kills change anything.

    python tests/benchmarks/islands.py workers     # epochs a second, by processes that meet in a folder
    python tests/benchmarks/islands.py sweep       # eight runs on one worker and on two
    python tests/benchmarks/islands.py slow        # an environment of 20 ms, stepped here and by two actors of Ray
    python tests/benchmarks/islands.py driver      # what the driver does for 10, 100, 1 000 islands of copied files
    python tests/benchmarks/islands.py kills       # workers and drivers killed with -9 at random moments (islands_kills.py)
    python tests/benchmarks/islands.py kills_ray   # the same with actors of Ray; --kills 20
    python tests/benchmarks/islands.py model       # what follows from the results for larger numbers

Each writes its part of `results/islands.json`. Islands are of four DQN agents on CartPole, ten generations an epoch.
The model: an island's epoch takes the time of its generations, its checkpoint and what it takes in; then the driver reads
every report, commits, and reads every history on. The driver is the limit where its part is the longer one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from islands_kills import kills, kills_ray
from machine import described

import evolab as ev
from evolab.experiment.engines.migration import best_of
from evolab.experiment.engines.orders import Report
from evolab.experiment.islands.joined_history import JoinedHistory
from evolab.experiment.sweeps.migration_orders import IslandsJob
from evolab.experiment.sweeps.plan import Plan

RESULT = Path(__file__).parent / "results" / "islands.json"
EVERY = 10
SETTINGS: dict[str, Any] = {
    "environment": "CartPole-v1",
    "algorithm": "DQN",
    "population": 4,
    "steps_per_generation": 125,
    "fitness": "return",
    "seed": 1,
    "device": "cpu",
    "progress": False,
}


def workers(count: int = 8, epochs: int = 2) -> dict[str, Any]:
    """Wall seconds of the same islands on 1, 2 and 4 processes, after a first epoch that is not counted."""
    found: dict[str, Any] = {"islands": count, "epochs": epochs}
    for number in (1, 2, 4):
        with tempfile.TemporaryDirectory() as home:
            section = {"islands": count, "every": EVERY}
            ev.sweep(section, home, engine="folder", workers=number, generations=EVERY, **SETTINGS)
            started = time.perf_counter()
            ev.sweep(home, engine="folder", workers=number, generations=EVERY * (1 + epochs), progress=False)
            found[str(number)] = round(time.perf_counter() - started, 2)
            if number == 1:
                found |= pieces(Path(home))
    return found


def pieces(home: Path) -> dict[str, Any]:
    """What an island's epoch is made of, from the histories, and what a migration takes, measured anew.

    Generations are those of all islands: what each has evolved to makes one of them take three times as long as another.
    """
    seconds = {}
    for run in Plan.read(home).runs:
        one = ev.load(home / run.name)
        seconds[run.name] = statistics.mean(
            sum(generation.seconds.values()) for generation in one.history.generations[EVERY:]
        )
        one.close()
    exp = ev.load(home / "island-0")
    took = [
        timed(lambda name=name: best_of(home / name, exp.generation, exp.population))
        for name in ("island-1", "island-2", "island-3")
    ]
    asks = best_of(home / "island-1", exp.generation, exp.population)
    rows = [exp.population.individual(row) for row in range(len(exp.population))]
    entered = timed(lambda: exp.population.rebuild([*rows[:-1], asks.individual]))
    written = timed(lambda: exp.save(home / "aside", overwrite=True))
    best = exp.best.table
    exp.close()
    mean = statistics.mean(seconds.values())
    return {
        "generation_seconds": mean,
        "generation_seconds_by_island": seconds,
        "checkpoint_seconds": written,
        "migration_seconds": statistics.median(took) + entered,
        "migration_share": (statistics.median(took) + entered) / (EVERY * mean),
        "row_bytes": sum(leaf.nbytes for leaf in best.values()),
    }


def timed(work: Callable[[], Any]) -> float:
    """Wall seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def sweep(runs: int = 8, repeats: int = 3) -> dict[str, Any]:
    """Wall seconds of eight runs on one process and on two, in turn; the median of each."""
    taken: dict[int, list[float]] = {1: [], 2: []}
    for number in (1, 2) * repeats:
        with tempfile.TemporaryDirectory() as home:
            taken[number].append(
                timed(
                    lambda home=home, number=number: ev.sweep(
                        runs, home, engine="folder", workers=number, max_steps=24_000, **SETTINGS
                    )
                )
            )
    one, two = statistics.median(taken[1]), statistics.median(taken[2])
    return {"runs": runs, "1": taken[1], "2": taken[2], "speed_up": one / two}


class Slow(gymnasium.Env[Any, Any]):
    """A step waits for 20 ms, as for a simulator elsewhere."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1, 1, (8,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.time = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin."""
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(8, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Wait."""
        time.sleep(0.02)
        self.time += 1
        return self.np_random.uniform(-1, 1, 8).astype(np.float32), 0.0, False, self.time >= 50, {}


def slow(agents: int = 2, num_envs: int = 4, steps: int = 50) -> dict[str, Any]:
    """Environment steps a second: one after the other, and in two actors."""
    found: dict[str, Any] = {"environments": agents * num_envs, "milliseconds": 20}
    for way in ("sync", "ray"):
        envs = ev.envs.make(Slow, agents, num_envs, seed=1, vectorization=way)
        action = np.zeros((agents, num_envs), np.int64)
        envs.reset()
        for _ in range(3):
            envs.step(action)
        started = time.perf_counter()
        for _ in range(steps):
            envs.step(action)
        found[way] = steps * agents * num_envs / (time.perf_counter() - started)
        envs.close()
    found["speed_up"] = found["ray"] / found["sync"]
    return found


def driver() -> dict[str, Any]:
    """Seconds of the driver for an epoch of 10, 100 and 1 000 islands, whose files are copies of one island's."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "two"
        section = {"islands": 2, "every": EVERY}
        ev.sweep(section, home, generations=2 * EVERY, **SETTINGS)
        for count in (10, 100, 1000):
            copied = Path(scratch) / str(count)
            copied.mkdir()
            runs = Plan.read(home).runs
            about = json.loads((home / "sweep.json").read_text())
            about["runs"] = {f"island-{n}": about["runs"][runs[0].name] for n in range(count)}
            (copied / "sweep.json").write_text(json.dumps(about))
            for number in range(count):
                _copy(home, copied, number)
            plan = Plan.read(copied)
            joined = JoinedHistory(copied, [run.name for run in plan.runs])
            read = timed(joined.refresh) / 2  # two epochs
            for number in range(count):
                report = Report.read(copied, f"island-{number}")
                report.__class__(**{**vars(report), "over": None}).write(copied)
            job = IslandsJob(copied, plan)
            found[str(count)] = {
                "orders_seconds": timed(job.orders),
                "history_seconds": read,
                "events": sum(len(one.evaluations) for one in joined.history) // 2,
            }
            shutil.rmtree(copied)
    return found


def _copy(home: Path, copied: Path, number: int) -> None:
    run = copied / f"island-{number}"
    newest = f"generation-{2 * EVERY:06d}"
    (run / newest).mkdir(parents=True)
    shutil.copy(home / "island-0" / newest / "manifest.json", run / newest)
    shutil.copytree(home / "island-0" / "history", run / "history")
    (copied / ".reports").mkdir(exist_ok=True)
    report = json.loads((home / ".reports" / "island-0.json").read_text())
    (copied / ".reports" / f"{run.name}.json").write_text(json.dumps(report | {"run": run.name}))


# The model ---------------------------------------------------------------------------------------


def model(results: dict[str, Any]) -> dict[str, Any]:
    """Seconds of an epoch for 10, 100 and 1 000 islands, each on a worker of its own, and of the driver's part."""
    parts = results["workers"]
    island = EVERY * parts["generation_seconds"] + parts["checkpoint_seconds"] + parts["migration_seconds"]
    found = {}
    for count in (10, 100, 1000):
        told = results["driver"][str(count)]
        ours = told["orders_seconds"] + told["history_seconds"]
        found[str(count)] = {
            "island_seconds": island,
            "driver_seconds": ours,
            "epoch_seconds": island + ours,
            "efficiency": island / (island + ours),
            "exchanged_bytes": count * parts["row_bytes"],
        }
    return found


def main() -> None:
    """Measure one part, and write it down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts: dict[str, Callable[..., Any]] = {
        "workers": workers, "sweep": sweep, "slow": slow, "driver": driver,
    }  # fmt: skip
    killing = {"kills": kills, "kills_ray": kills_ray}
    parser.add_argument("part", choices=[*parts, *killing, "model"])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    if options.part == "model":
        found = model(results)
    elif options.part in killing:
        found = killing[options.part](options.kills, seed=options.seed) | described()
    else:
        found = parts[options.part]() | described()
    results[options.part] = found
    RESULT.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
