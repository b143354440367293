"""Weights & Biases: lines by generation, and tables of agents, births and lineage; offline too."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evolab.core import checks
from evolab.history.events import Generation
from evolab.reporting.rollout import Rollout
from evolab.reporting.trackers.tracker import Tracker, agent_rows, birth_rows, scalars


class WandB(Tracker):
    """A run on Weights & Biases; a loaded experiment goes on with the same one.

    Args:
        project: as W&B has it.
        entity: user or team; None for the one logged in.
        name: of the run; None for algorithm, environment and seed.
        tags: besides the algorithm and the environment.
        group: to gather seeds under.
        mode: "online", "offline" or "disabled"; None for W&B's own choice.
        video: record an episode of the elite when the experiment is closed.

    Raises:
        ImportError: wandb is not installed.
    """

    name = "wandb"

    def __init__(
        self,
        project: str = "evolab",
        entity: str | None = None,
        name: str | None = None,
        tags: Sequence[str] = (),
        group: str | None = None,
        mode: str | None = None,
        video: bool = True,
    ) -> None:
        try:
            import wandb
        except ImportError as error:
            raise checks.missing("the W&B tracker", "wandb", "wandb") from error
        self._wandb = wandb
        self._options: dict[str, Any] = {"project": project, "entity": entity, "group": group, "mode": mode}
        self._name, self._tags, self.wants_rollout = name, list(tags), video
        self._agents: list[dict[str, Any]] = []
        self._births: list[dict[str, Any]] = []
        self._run: Any = None

    def start(self, config: Mapping[str, Any]) -> None:
        """Begin the run, or go on with it."""
        algorithm = config["algorithm"]
        kind = algorithm["type"] if isinstance(algorithm, dict) else algorithm
        tags = [tag for tag in (kind, config["environment"], *self._tags) if tag]
        self._run = self._wandb.init(
            **self._options,
            id=config["run_id"],
            resume="allow",
            name=self._name or config["run_name"],
            tags=[str(tag)[:64] for tag in tags],
            config=dict(config),
            dir=config["folder"],
            reinit="create_new",
            settings=self._wandb.Settings(silent=True),
        )
        self._run.define_metric("total_steps")
        self._run.define_metric("*", step_metric="total_steps")

    def log(self, generation: Generation) -> None:
        """The lines now; the tables are kept for the end, since W&B stores a whole table each time."""
        self._agents += agent_rows(generation)
        self._births += birth_rows(generation)
        self._run.log(scalars(generation), step=generation.number)

    def rollout(self, rollout: Rollout) -> None:
        """Show an episode of the elite."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "elite.gif"
            rollout.save(path)
            self._run.log({"elite": self._wandb.Video(str(path), format="gif")})

    def finish(self) -> None:
        """Send the tables and close the run."""
        lineage = [
            {key: row[key] for key in ("generation", "agent", "parent", "fitness")} for row in self._agents
        ]
        for name, rows in (("agents", self._agents), ("mutations", self._births), ("lineage", lineage)):
            if rows:
                columns = list(rows[0])
                data = [[row.get(column) for column in columns] for row in rows]
                self._run.log({name: self._wandb.Table(columns=columns, data=data)})
        self._run.finish()
