"""Folders of made-up runs, as a checkpointer leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evolab.history.history import History
from tests.reporting.panels.fake import make_history


def config(seed: int = 0, lr: float = 1e-3, hidden: int = 64, **options: Any) -> dict[str, Any]:
    return {
        "environment": "FakeLander-v1", "algorithm": {"type": "TD3", "ou_noise": False}, "population": 4,
        "network": {"type": "MLP", "hidden": [hidden, hidden]}, "hyperparameters": {"lr_actor": lr, "batch_size": 128},
        "mutations": {"type": "Mutations", "none": 0.4}, "seed": seed, "target": 200.0, **options,
    }  # fmt: skip


def write_run(folder: Path, settings: dict[str, Any], history: History) -> Path:
    """A run's folder without its tensors."""
    history.to_json_lines(folder / "history")
    last = history.generations[-1]
    facts = {
        "format": 1, "environment": settings["environment"], "algorithm": "TD3", "population": 4, "seed": settings["seed"],
        "generation": last.number, "total_steps": last.total_steps, "best_fitness": max(g.fitness for g in history),
        "elite_fitness": None, "seconds": 1.8 * len(history), "saved": 1_790_000_000.0, "config": settings,
    }  # fmt: skip
    (folder / "experiment.json").write_text(json.dumps(facts))
    return folder


def make_long_runs(folder: Path, count: int = 50, generations: int = 1_000, agents: int = 4) -> None:
    """Runs that share the files of five long histories, each with settings of its own."""
    for base in range(5):
        history = make_history(generations, agents, seed=base)
        first = write_run(folder / f"run{base}", config(0, 1e-3 * (base + 1)), history)
        for seed in range(1, count // 5):
            place = folder / f"run{base}-seed{seed}"
            (place / "history").mkdir(parents=True)
            for file in (first / "history").iterdir():
                (place / "history" / file.name).hardlink_to(file)
            facts = json.loads((first / "experiment.json").read_text())
            facts |= {"seed": seed, "config": config(seed, 1e-3 * (base + 1))}
            (place / "experiment.json").write_text(json.dumps(facts))


def make_runs(folder: Path, generations: int = 40) -> None:
    """Two learning rates times two sizes times three seeds."""
    for lr in (1e-3, 3e-4):
        for hidden in (64, 128):
            for seed in (1, 2, 3):
                name = folder / f"lr{lr:g}-h{hidden}" / f"seed{seed}"
                made = make_history(generations, 4, seed=seed + int(1e5 * lr) + hidden)
                write_run(name, config(seed, lr, hidden), made)
