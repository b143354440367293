"""A population at a glance: a few lines of text, and a table."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from evolab.core.layers import in_words, plain
from evolab.history.display import html_table, number, said_once
from evolab.population.table import Table

if TYPE_CHECKING:
    import pandas as pd

KEPT = ("agent", "parent", "fitness", "hidden")
"""Columns that a table of agents always has."""
SHOWN = 12
"""Agents that the text tells of."""


def lines(table: Table) -> str:
    """Who the agents are, in a line each."""
    told = [f"Population of {table.size} {table.algorithm.name} agents on {table.device}"]
    shown = [table.network.describe(individual.genes) for individual in table.individuals[:SHOWN]]
    wide = max(18, *map(len, shown))
    for individual, architecture in zip(table.individuals, shown, strict=False):
        fitness = f"{individual.fitness[-1]:9.1f}" if individual.fitness else "        -"
        values = individual.hyperparameters
        evolved = " ".join(f"{name}={number(values[name])}" for name in table.spec.search_space)
        told.append(f"  {individual.id:5d} {fitness}  {architecture:{wide}s} {evolved}")
    if table.size > SHOWN:
        told.append(f"  ... and {table.size - SHOWN} more")
    return "\n".join([*told, "  population[0] is the first of them; .describe() has all, as a table"])


def html(table: Table) -> str:
    """Who the agents are, as a table; what all of them share is said once below it."""
    agents = frame(table)
    diagrams = [table.network.diagram(individual.genes) for individual in table.individuals]
    if not all(map(plain, diagrams)):
        agents = agents.assign(hidden=list(map(in_words, diagrams))).rename(columns={"hidden": "layers"})
    names = list(agents.columns)
    told = [[_cell(value) for value in row] for row in agents.itertuples(index=False)]
    names, told, shared = said_once(names, told, [name for name in names if name not in KEPT])
    shown = html_table(names, told, ("hidden", "layers", "activation"))
    return shown + (f"<div>{escape(shared)}</div>" if shared else "")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return number(value) if math.isfinite(value) else ""
    return "" if value is None or type(value).__name__ == "NAType" else str(value)


def frame(table: Table) -> pd.DataFrame:
    """One row per agent: agent, parent, fitness, hidden, activation, network_size, hyperparameters."""
    import pandas as pd

    rows = []
    for row, individual in enumerate(table.individuals):
        known = table.describe(row)
        rows.append(
            {
                **{name: known[name] for name in ("agent", "parent", "fitness")},
                "hidden": "x".join(map(str, individual.genes.hidden)),
                "activation": ",".join(individual.genes.activation),
                "network_size": known["network_size"],
                **table.spec.told(individual),
            }
        )
    found = pd.DataFrame(rows)
    found["parent"] = found["parent"].astype("Int64")
    return found
