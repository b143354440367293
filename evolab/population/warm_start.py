"""Warm starts: a population that goes on from weights which something else has learned."""

from __future__ import annotations

import dataclasses
import math
from os import PathLike

import torch

from evolab.core import checks
from evolab.core.rng import torch_stream
from evolab.networks.base import Network, Role, State
from evolab.networks.gpt.gpt import GPT
from evolab.population.agent import Agent
from evolab.population.individual import Individual
from evolab.population.normalisation import NAME
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
    path = checks.path("load", load)
    ours = (path / "agent.json").exists() or (path / "elite" / "agent.json").exists()
    if path.is_dir() and not ours and any(path.glob("config.json")):
        return GPT.from_pretrained(path), None
    agent = Agent.load(path)
    return agent.table.network, agent


def start_from(population: Population, agent: Agent) -> float:
    """Give every agent of a population the parameters of one that has learned.

    A network that means the same is taken over: of the same name, inputs and outputs. Any other that sees
    observations alone, such as DQN's values where the agent was made by PPO, takes over the layers of the
    agent's policy but the outputs, as an encoder. What is left is drawn anew, and what was taken is said.
    Hyperparameters stay the population's own; moments start anew.

    Args:
        population: freshly made, with the agent's network.
        agent: is not changed.

    Returns:
        the share of the population's weights that are the agent's.

    Raises:
        ValueError: the agent lives in another world, has another kind of network, or nothing that means the same.
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
    scaled, scales = ("observation" in one.normaliser.fresh for one in (donor, spec))
    if scaled != scales:
        raise ValueError(
            f"load: the agent sees observations {'on one scale' if scaled else 'as they are'}, and here they are "
            f"{'brought to one scale' if scales else 'taken as they are'}, so that it would act otherwise. Pass "
            f"normalise={donor.normaliser.words if scaled else False}."
        )
    given = agent.individual()
    shares, share = _shares(spec, donor, given)
    told = ", ".join(f"{name} {part:.0%}" for name, part in shares.items())
    if not share:
        raise ValueError(
            f"load: nothing of the {donor.algorithm.name} agent means the same in {spec.algorithm.name} ({told}). "
            f"Start from an agent of {spec.algorithm.name}, or leave load= out."
        )
    if share < 1 or donor.algorithm.name != spec.algorithm.name:
        checks.notice(
            f"load: {share:.0%} of the weights of each {spec.algorithm.name} agent are the "
            f"{donor.algorithm.name} agent's ({told}); the rest is drawn anew."
        )
    population.rebuild(
        [
            _started(spec, donor, known, given, torch_stream(spec.seed, "warm start", row))
            for row, known in enumerate(population.individuals)
        ]
    )
    return share


def _started(
    spec: Spec, donor: Spec, known: Individual, given: Individual, stream: torch.Generator
) -> Individual:
    """The agent `known` with the genes and parameters of `given`; what that lacks is drawn."""
    fresh = Individual(known.id, known.parent, given.genes, dict(known.hyperparameters), slot=known.slot)
    for name in spec.roles:
        source = _taken(spec, donor, name, given)
        state: State = {}
        for key, drawn in spec.drawn(name, given.genes, stream).items():
            theirs = source.get(key, drawn)
            theirs = theirs[:1].expand_as(drawn) if len(theirs) != len(drawn) else theirs
            state[key] = theirs.to(spec.like).clone()
        spec.begin(fresh, name, state)
    known_scales = given.tensors.get(NAME, {})
    fresh.tensors[NAME] = {name: known_scales[name] for name in spec.normaliser.fresh if name in known_scales}
    return fresh


def _taken(spec: Spec, donor: Spec, name: str, given: Individual) -> State:
    """What a network of `spec` takes over of the parameters of an agent of `donor`: [M, ...] by name, of its shapes."""
    role, theirs = spec.roles[name], donor.roles.get(name)
    shapes = _shapes(spec, role, given)
    if theirs is not None and _sees(theirs) == _sees(role) and theirs.outputs == role.outputs:
        source = given.tensors[name]
    elif _sees(donor.roles[donor.policy]) == _sees(role) == (0, None):
        wider = _shapes(spec, dataclasses.replace(role, outputs=role.outputs + 1), given)
        policy = given.tensors[donor.policy]
        source = {key: value for key, value in policy.items() if wider.get(key) == shapes.get(key)}
    else:  # such as Q(s, a) where the agent had V(s)
        return {}
    return {key: value for key, value in source.items() if tuple(value.shape[1:]) == shapes.get(key)}


def _sees(role: Role) -> tuple[int, type[Network] | None]:
    """What a network gets beside the observation, and its kind where that is not the agent's."""
    return role.extra, None if role.network is None else type(role.network)


def _shapes(spec: Spec, role: Role, given: Individual) -> dict[str, tuple[int, ...]]:
    axes = role.recipe(spec.network).axes(role, given.genes)
    return {key: tuple(axis.size for axis in parameter) for key, parameter in axes.items()}


def _shares(spec: Spec, donor: Spec, given: Individual) -> tuple[dict[str, float], float]:
    """The share of the weights that is taken over: of each network, and of all."""
    taken, total = {}, {}
    for name, role in spec.roles.items():
        sizes = {key: math.prod(shape) for key, shape in _shapes(spec, role, given).items()}
        taken[name] = role.ensemble_size * sum(sizes[key] for key in _taken(spec, donor, name, given))
        total[name] = role.ensemble_size * sum(sizes.values())
    return {name: taken[name] / total[name] for name in total}, sum(taken.values()) / sum(total.values())
