"""Hyperparameters of one agent, set by hand between two generations."""

from __future__ import annotations

from collections.abc import Mapping

from evolab.algorithms.search_space import search_space_of
from evolab.core import checks
from evolab.envs.goals import require_goals
from evolab.population.agent import Agent
from evolab.training.state import TrainingState


def set_agent(state: TrainingState, agent: Agent | int, values: Mapping[str, object]) -> None:
    """Give one agent other values of its hyperparameters; noted as a mutation by hand. Rows may move.

    Args:
        state: of the run, between two generations.
        agent: of the population, or its id.
        values: by name, within the algorithm's limits; outside its search space they may lie.

    Raises:
        RuntimeError: a generation is under way.
        LookupError: the agent has died.
        ValueError: an unknown name, a value outside its limits, nothing to set, an agent at rest, or hindsight where there
            are no goals.
        TypeError: a value of the wrong type.
    """
    if state.under_way:
        raise RuntimeError(
            f"generation {state.generation + 1} is under way, and agents can be set between two generations. "
            "exp.step() ends it."
        )
    id = agent.id if isinstance(agent, Agent) else checks.positive_integer("agent", agent, 0)
    table, row = state.population.table, state.population.row(id)
    if not values:
        raise ValueError("nothing to set: expected values by name, such as lr=1e-4.")
    if table.individuals[row].resting is not None:
        raise ValueError(
            f"agent {id} is at rest, a copy of the elite that does not learn. Set another one's."
        )
    checked, _ = search_space_of(table.algorithm, values, {})
    if float(checked.get("hindsight", 0.0)) > 0 and state.envs is not None and "hindsight" in values:
        require_goals(state.envs, table.network)
    own = table.individuals[row].hyperparameters
    changed = {name: (own[name], checked[name]) for name in values}
    individuals = [table.individual(one) for one in range(table.size)]
    individuals[row].hyperparameters |= {name: checked[name] for name in values}
    state.buffer.follow(table.rebuild(individuals))
    state.changes.note_agent(id, changed)
