"""Folders of made-up runs, as a checkpointer leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evolab.history.history import History
from tests.reporting.dashboard.fake import make_history


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


def bad_runs(folder: Path) -> None:
    """Runs that can be read (good, half, later, one/x, two/x, <b>markup), and folders that cannot, or are none."""
    for seed, name in enumerate(("good", "<b>markup", "half", "garbled", "later", "one/x", "two/x")):
        write_run(folder / name, config(seed, 1e-3 * (seed + 1)), make_history(3, 4, seed=seed))
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("no run")
    for name, text in (("broken", "{"), ("just begun", (folder / "good" / "experiment.json").read_text())):
        (folder / name).mkdir()
        (folder / name / "experiment.json").write_text(text)
    heads = folder / "half" / "history" / "generations.jsonl"
    heads.write_text(heads.read_text()[:-40])
    (folder / "garbled" / "history" / "generations.jsonl").write_text('{"number": 1}\n[3]\n')
    # A later version writes more than is known here.
    facts = json.loads((folder / "later" / "experiment.json").read_text())
    facts |= {"format": 99, "config": {**facts["config"], "novelty": {"type": "FromLater"}}}
    (folder / "later" / "experiment.json").write_text(json.dumps(facts))
    for file in (folder / "later" / "history").iterdir():
        lines = [json.dumps(json.loads(line) | {"novelty": 1.5}) for line in file.read_text().splitlines()]
        file.write_text("".join(line + "\n" for line in lines))


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
