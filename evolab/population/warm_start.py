"""Warm starts: a population that goes on from weights which something else has learned."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import torch

from evolab.core.rng import torch_stream
from evolab.networks.base import Network, State
from evolab.networks.gpt.gpt import GPT
from evolab.population.agent import Agent
from evolab.population.individual import Individual
from evolab.population.population import Population
from evolab.population.spec import Spec


def origin(load: Agent | str | PathLike[str]) -> tuple[Network, Agent | None]:
    """What to start from: a network, and the agent whose parameters it had, if it was one.

    Args:
        load: an `Agent`, the folder of one, or a folder in the form of Hugging Face with a GPT-2.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: what is there is damaged or not supported.
    """
    if isinstance(load, Agent):
        return load.table.network, load.copy()
    path = Path(load)
    ours = (path / "agent.json").exists() or (path / "elite" / "agent.json").exists()
    if path.is_dir() and not ours and any(path.glob("config.json")):
        return GPT.from_pretrained(path), None
    agent = Agent.load(path)
    return agent.table.network, agent


def start_from(population: Population, agent: Agent) -> None:
    """Give every agent of a population the parameters of one that has learned.

    Networks of the same name are taken over. Others, such as ILQL's values where the agent was
    made by BC, take over the parameters of its policy that have the same name and shape there,
    which is all but the outputs. Hyperparameters stay the population's own; moments start anew.

    Args:
        population: freshly made, with the agent's network.
        agent: is not changed.

    Raises:
        ValueError: the agent lives in another world, or has another kind of network.
    """
    spec, donor = population.table.spec, agent.table.spec
    for name, theirs, own in (
        ("observation_space", donor.observation_space, spec.observation_space),
        ("action_space", donor.action_space, spec.action_space),
    ):
        if theirs != own:
            raise ValueError(
                f"load: the agent's {name} is {theirs}; here it is {own}. Start from one that learned in this "
                f"environment."
            )
    if type(donor.network) is not type(spec.network):
        raise ValueError(
            f"load: the agent is a {type(donor.network).__name__}, the population's network a "
            f"{type(spec.network).__name__}. Leave network= out."
        )
    given = agent.individual()
    population.rebuild(
        [
            _started(spec, known, given, torch_stream(spec.seed, "warm start", row))
            for row, known in enumerate(population.individuals)
        ]
    )


def _started(spec: Spec, known: Individual, given: Individual, stream: torch.Generator) -> Individual:
    """The agent `known` with the genes and parameters of `given`; what that lacks is drawn."""
    fresh = Individual(known.id, known.parent, given.genes, dict(known.hyperparameters), slot=known.slot)
    for name in spec.roles:
        source: State = given.tensors.get(name) or given.tensors.get(spec.policy) or {}
        state: State = {}
        for key, drawn in spec.drawn(name, given.genes, stream).items():
            theirs = source.get(key)
            if theirs is not None and theirs.shape[1:] == drawn.shape[1:]:
                drawn = theirs[:1].expand_as(drawn) if len(theirs) != len(drawn) else theirs
            state[key] = drawn.to(spec.like).clone()
        spec.begin(fresh, name, state)
    return fresh
