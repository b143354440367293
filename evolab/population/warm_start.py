"""Warm starts: a population that goes on from weights which something else has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from evolab.core.rng import torch_stream
from evolab.networks.base import Network, State
from evolab.networks.gpt.gpt import GPT
from evolab.population.agent import Agent
from evolab.population.individual import KINDS, Individual
from evolab.population.population import Population
from evolab.population.serialisation import load_agent


def origin(load: Any) -> tuple[Network, Agent | None]:
    """What to start from: a network, and the agent whose parameters it had, if it was one.

    Args:
        load: an `Agent`, the folder of one, or a folder in the form of Hugging Face with a GPT-2.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: what is there is damaged or not supported.
    """
    if isinstance(load, Agent):
        return load._population.network, load.copy()
    path = Path(load)
    ours = (path / "agent.json").exists() or (path / "elite" / "agent.json").exists()
    if path.is_dir() and not ours and any(path.glob("config.json")):
        return GPT.from_pretrained(path), None
    agent = load_agent(path)
    return agent._population.network, agent


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
    donor = agent._population
    for name in ("observation_space", "action_space"):
        theirs, own = getattr(donor, name), getattr(population, name)
        if theirs != own:
            raise ValueError(
                f"load: the agent's {name} is {theirs}; here it is {own}. Start from one that learned in this "
                f"environment."
            )
    if type(donor.network) is not type(population.network):
        raise ValueError(
            f"load: the agent is a {type(donor.network).__name__}, the population's network a "
            f"{type(population.network).__name__}. Leave network= out."
        )
    given = donor.individual(donor.row(agent.id))
    members = []
    for row, known in enumerate(population.individuals):
        individual = population.individual(row)
        stream = torch_stream(population.seed, "warm start", row)
        members.append(_started(population, known, individual, given, stream))
    population.rebuild(members)


def _started(
    population: Population,
    known: Individual,
    individual: Individual,
    given: Individual,
    stream: torch.Generator,
) -> Individual:
    first = next(iter(population.roles))
    fresh = Individual(known.id, known.parent, given.genes, dict(known.hyperparameters), place=known.place)
    for name, role in population.roles.items():
        recipe = role.recipe(population.network)
        source: State = given.tensors.get(name) or given.tensors.get(first) or {}
        drawn = [recipe.initialise(role, given.genes, stream) for _ in range(role.ensemble_size)]
        state: State = {}
        for key in drawn[0]:
            own = torch.stack([one[key] for one in drawn])
            theirs = source.get(key)
            if theirs is not None and theirs.shape[1:] == own.shape[1:]:
                own = theirs[:1].expand_as(own) if len(theirs) != len(own) else theirs
            state[key] = own.to(population.device, population.dtype).clone()
        for kind in KINDS:
            if name + kind in individual.tensors:
                moment = kind in (".mean", ".square")
                member_state = {
                    key: torch.zeros_like(value) if moment else value for key, value in state.items()
                }
                fresh.tensors[name + kind] = member_state
        fresh.counts[name] = 0.0
    return fresh
