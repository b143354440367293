"""Hyperparameters of one agent, set by hand between two generations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evolab.algorithms.search_space import search_space_of
from evolab.population.table import Table


def set_values(table: Table, row: int, values: Mapping[str, Any]) -> tuple[dict[str, list[Any]], list[int]]:
    """Give one agent other values of its hyperparameters. Rows may move.

    Args:
        table: that it lives in.
        row: where.
        values: by name, within the algorithm's limits; outside its search space they may lie.

    Returns:
        the old and the new value by name, and for each row which one it was before.

    Raises:
        ValueError: an unknown name, a value outside its limits, nothing to set, or an agent at rest.
        TypeError: a value of the wrong type.
    """
    if not values:
        raise ValueError("nothing to set: expected values by name, such as lr=1e-4.")
    if table.individuals[row].resting is not None:
        raise ValueError(
            f"agent {table.ids[row]} is at rest, a copy of the elite that does not learn. Set another one's."
        )
    checked, _ = search_space_of(table.algorithm, values, {})
    own = table.individuals[row].hyperparameters
    changed = {name: [own[name], checked[name]] for name in values}
    individuals = [table.individual(one) for one in range(table.size)]
    individuals[row].hyperparameters |= {name: checked[name] for name in values}
    return changed, table.rebuild(individuals)
