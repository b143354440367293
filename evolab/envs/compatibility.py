"""Whether agents can act in environments that they were not trained in."""

from __future__ import annotations

from evolab.envs.base import Environments
from evolab.population.table import Table


def check_fits(agents: Table, envs: Environments) -> None:
    """Pass environments that agents can act in: actions alike, observations of their shape.

    Raises:
        ValueError: others.
    """
    known, there = agents.spec.action_space, envs.single_action_space
    seen, shown = agents.spec.observation_space, envs.single_observation_space
    if known != there or type(seen) is not type(shown) or seen.shape != shown.shape:
        raise ValueError(
            f"{envs.name} has observations {shown} and actions {there}; the agent was trained on {seen} and {known}. "
            "Pass the environment that it was trained in, or one that is wrapped to look like it."
        )
