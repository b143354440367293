"""MLflow: parameters, metrics by generation, and tables as artifacts, in a local store or on a server."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any

from evolab.core import checks
from evolab.core.plain_values import plain
from evolab.history.events import Generation
from evolab.reporting.trackers.tracker import Tracker, agent_rows, birth_rows, scalars

LONGEST = 500
"""Characters of a parameter that every MLflow store takes."""


class MLflow(Tracker):
    """A run in MLflow; a loaded experiment goes on with the same one. MLflow's global state stays untouched.

    Args:
        uri: of the tracking store, such as "sqlite:///mlflow.db"; None for MLflow's own choice.
        experiment: of MLflow, under which runs are gathered.

    Raises:
        ImportError: mlflow is not installed.
    """

    name = "mlflow"

    def __init__(self, uri: str | None = None, experiment: str = "evolab") -> None:
        try:
            import mlflow
        except ImportError as error:
            raise checks.missing("the MLflow tracker", "mlflow", "mlflow") from error
        self._mlflow, self._uri, self._experiment = mlflow, uri, experiment
        self._client: Any = None
        self._run = ""
        self._rows: dict[str, list[dict[str, Any]]] = {"agents": [], "mutations": []}

    def start(self, config: Mapping[str, object]) -> None:
        """Begin the run, or go on with it."""
        client = self._client = self._mlflow.MlflowClient(tracking_uri=self._uri)
        known = client.get_experiment_by_name(self._experiment)
        place = known.experiment_id if known is not None else client.create_experiment(self._experiment)
        same = (
            client.search_runs([place], f"tags.evolab_run = '{config['run_id']}'")
            if config["resumed"]
            else []
        )
        if same:
            self._run = same[0].info.run_id
            client.update_run(self._run, status="RUNNING")
            return
        tags = {"evolab_run": config["run_id"]}
        self._run = client.create_run(place, run_name=config["run_name"], tags=tags).info.run_id
        for name, value in config.items():
            text = value if isinstance(value, str) else json.dumps(value)
            client.log_param(self._run, name, text[:LONGEST])

    def log(self, generation: Generation) -> None:
        """Metrics, with the generation as their step."""
        now = int(time.time() * 1000)
        kind = self._mlflow.entities.Metric
        metrics = [
            kind(name, value, now, generation.number)
            for name, value in scalars(generation).items()
            if math.isfinite(value)
        ]
        for start in range(0, len(metrics), 1000):  # a store's limit for one call
            self._client.log_batch(self._run, metrics=metrics[start : start + 1000])
        self._rows["agents"] += agent_rows(generation)
        self._rows["mutations"] += birth_rows(generation)

    def finish(self) -> None:
        """Store the tables and close the run."""
        for name, rows in self._rows.items():
            if rows:
                self._client.log_text(self._run, json.dumps(plain(rows)), f"{name}.json")
        self._client.set_terminated(self._run)
