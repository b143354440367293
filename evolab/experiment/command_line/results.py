"""What the command line leaves in a run's folder, beside the checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from evolab.experiment.experiment import Experiment


def write_results(experiment: Experiment, folder: Path) -> None:
    """Tables, configuration and a picture; a part that cannot be written is named and does not cost the others.

    Args:
        experiment: with a generation that has ended.
        folder: of the run.
    """
    history = experiment.history
    tables = folder / "history"

    def write_tables() -> None:
        tables.mkdir(parents=True, exist_ok=True)
        for name in ("fitness", "mutations", "hyperparameters"):
            getattr(history, name).to_csv(tables / f"{name}.csv", index=False)

    def write_config() -> None:
        text = yaml.safe_dump(experiment.config, sort_keys=False)
        (folder / "config.yaml").write_text(text, encoding="utf-8")

    def write_rollout() -> None:
        rollout = experiment.rollout(agent="elite")
        rollout.save(folder / "rollout.gif")
        print(f"the elite's episode: return {rollout.returns[0]:.1f}")

    parts: dict[str, Callable[[], Any]] = {
        "history/": write_tables,
        "config.yaml": write_config,
        "rollout.gif": write_rollout,
    }
    newest = f"generation-{experiment.generation:06d}"
    written = [f"{name}/" for name in (newest, "elite") if (folder / name).is_dir()]
    for name, write in parts.items():
        try:
            write()
            written.append(name)
        except BrokenPipeError:
            written.append(name)
        except Exception as error:  # an environment that cannot be drawn must not cost the trained agent
            print(f"evolab: {name} could not be written: {error}", file=sys.stderr)
    print(f"{folder}: {', '.join(written)}")
