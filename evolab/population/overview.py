"""A population at a glance: a few lines of text, and a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolab.history.display import number
from evolab.population.table import Table

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 12
"""Agents that the text tells of."""


def lines(table: Table) -> str:
    """Who the agents are, in a line each."""
    told = [f"Population of {table.size} {table.algorithm.name} agents on {table.device}"]
    for individual in table.individuals[:SHOWN]:
        fitness = f"{individual.fitness[-1]:9.1f}" if individual.fitness else "        -"
        values = individual.hyperparameters
        evolved = " ".join(f"{name}={number(values[name])}" for name in table.spec.search_space)
        told.append(
            f"  {individual.id:5d} {fitness}  {table.network.describe(individual.genes):18s} {evolved}"
        )
    if table.size > SHOWN:
        told.append(f"  ... and {table.size - SHOWN} more")
    return "\n".join([*told, "  population[0] is the first of them; .describe() has all, as a table"])


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
