"""Schedules: hyperparameters and architectures as they change over a run, as a recipe that can be followed.

`History.schedule` writes down those of a winner's line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from evolab.algorithms.base import Algorithm
from evolab.core import checks
from evolab.core.ranges import Integer
from evolab.core.rng import torch_stream
from evolab.evolution.mutation.architecture_path import reshape
from evolab.evolution.mutation.context import Context
from evolab.population.population import Population

MARKS = ("generation", "agent", "start", "steps", "total_steps", "hidden", "activation", "genes")
"""Columns of a schedule that are no hyperparameters."""


@dataclass(frozen=True)
class Stage:
    """One row of a schedule.

    Attributes:
        steps: of the agent, since its birth, until which this is in force; updates where it learns from data.
        hyperparameters: by name, all of them.
        genes: the architecture, as plain values; empty for the one that the network starts with.
        total_steps: of the whole population until then; None where the schedule does not tell.
    """

    steps: int
    hyperparameters: dict[str, Any]
    genes: dict[str, Any]
    total_steps: int | None = None


def stages_of(schedule: object, algorithm: Algorithm) -> list[Stage]:
    """The rows of a schedule, checked.

    Args:
        schedule: a DataFrame as from `History.schedule()`, or a list of dicts with its columns.
            Hyperparameters that it lacks take the algorithm's defaults.
        algorithm: that trains by it.

    Raises:
        ValueError: it is empty, lacks "steps", names something unknown, or its steps do not grow.
        TypeError: it is no table.
    """
    rows = schedule.to_dict("records") if hasattr(schedule, "to_dict") else schedule
    if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) for row in rows):
        raise TypeError(
            f"schedule is {type(schedule).__name__}; history.schedule() or a list of dicts is expected."
        )
    if not rows:
        raise ValueError("schedule is empty. Take it from history.schedule() after a generation has ended.")
    known, stages = algorithm.hyperparameters, list[Stage]()
    for number, row in enumerate(rows):
        if "steps" not in row:
            raise ValueError(f"schedule row {number} has no 'steps', the step until which it is in force.")
        for name in row:
            if name not in known and name not in MARKS:
                raise checks.unknown(f"hyperparameter of {algorithm.name} in the schedule", name, known)
        steps = checks.positive_integer(f"schedule row {number}: steps", int(row["steps"]))
        if stages and steps < stages[-1].steps:
            raise ValueError(f"schedule row {number} ends at step {steps}, before the row above it.")
        values = {}
        for name, hyperparameter in known.items():
            value = row.get(name, hyperparameter.default)
            if value != value:  # a gap in a table: what is off is not told
                value = hyperparameter.default
            if isinstance(value, float) and isinstance(hyperparameter.limits, Integer) and value.is_integer():
                value = int(value)  # a table may have turned whole numbers into floats
            values[name] = hyperparameter.limits.check(name, value)
        whole = row.get("total_steps")
        whole = (
            None
            if whole is None
            else checks.positive_integer(f"schedule row {number}: total_steps", int(whole))
        )
        stages.append(Stage(steps, values, _genes(row), whole))
    return stages


def _genes(row: Mapping[str, object]) -> dict[str, Any]:
    genes = row.get("genes")
    if isinstance(genes, str) and genes:
        return dict(json.loads(genes))
    if isinstance(genes, Mapping):
        return dict(genes)
    if not row.get("hidden"):
        return {}  # as the network starts
    hidden = [int(width) for width in str(row["hidden"]).split("x")]
    kinds = str(row.get("activation") or "relu").split(",")
    return {"hidden": hidden, "activation": kinds * len(hidden) if len(kinds) == 1 else kinds}


def begin(population: Population, stage: Stage) -> None:
    """Give agents that have not learned yet a stage's architecture with weights drawn for it; then `adopt` it.

    Agents that have this architecture already keep their weights.
    """
    individuals = [population.individual(row) for row in range(len(population))]
    genes = population.network.from_json(stage.genes) if stage.genes else None
    for individual in individuals:
        if genes is not None and individual.genes != genes:
            individual.genes = genes
            generator = torch_stream(population.seed, "initialise", individual.id)
            for role in population.roles:
                state = population.table.spec.drawn(role, genes, generator)
                population.table.spec.begin(individual, role, state)
    population.rebuild(individuals)
    adopt(population, stage)


def adopt(population: Population, stage: Stage) -> None:
    """Give every agent the hyperparameters and the architecture of a stage; what they learned stays."""
    individuals = [population.individual(row) for row in range(len(population))]
    network = population.network
    for individual in individuals:
        individual.hyperparameters = dict(stage.hyperparameters)
        if stage.genes:
            generator = torch.Generator().manual_seed(population.seed + individual.id)
            context = Context(network, population.roles, {}, 0.0, generator)
            reshape(individual, context, network.from_json(stage.genes))
    population.rebuild(individuals)
