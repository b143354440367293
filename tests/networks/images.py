"""Small populations of convolutional networks, experience for them, and plain agents to compare with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from evolab.core.trees import map_leaves
from evolab.networks.observations import encode
from evolab.population.population import Population
from tests.mixed import BOX, DISCRETE
from tests.plain import Experience, Single, dqn, td3

IMAGE = spaces.Box(0, 255, (7, 6, 3), np.uint8)


def grown(
    algorithm: Any, networks: list[Any], space: spaces.Space, settings: list[dict[str, Any]], **options: Any
) -> Population:
    """A float64 population of agents whose networks start differently."""
    name = algorithm if isinstance(algorithm, str) else algorithm.name
    action_space = DISCRETE if name == "DQN" else BOX
    singles = [
        Population(
            algorithm,
            space,
            action_space,
            1,
            network=network,
            hyperparameters=values,
            search_space={},
            seed=100 + index,
            **({"dtype": torch.float64} | options),
        )
        for index, (network, values) in enumerate(zip(networks, settings, strict=True))
    ]
    members = [one.individual(0) for one in singles]
    for index, member in enumerate(members):
        member.id = index
    singles[0].rebuild(members)
    return singles[0]


def observations(space: spaces.Space, leading: tuple[int, ...], g: torch.Generator) -> Any:
    """Random observations with `leading` batch axes."""
    if isinstance(space, spaces.Dict):
        return {key: observations(part, leading, g) for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(observations(part, leading, g) for part in space)
    if isinstance(space, spaces.Discrete):
        return torch.randint(int(space.n), leading, generator=g)
    if space.dtype == np.uint8:
        return torch.randint(0, 256, (*leading, *space.shape), generator=g, dtype=torch.uint8)
    return torch.randn(*leading, *space.shape, generator=g, dtype=torch.float64)


def experience(space: spaces.Space, agents: int, length: int, seed: int, discrete: bool) -> SimpleNamespace:
    """A batch [P, B, ...] of random experience, actions in the environment's range."""
    g = torch.Generator().manual_seed(seed)
    if discrete:
        action: Tensor = torch.randint(3, (agents, length), generator=g)
    else:
        low, high = torch.as_tensor(BOX.low), torch.as_tensor(BOX.high)
        action = low + (high - low) * torch.rand(agents, length, 2, generator=g, dtype=torch.float64)
    return SimpleNamespace(
        observation=observations(space, (agents, length), g),
        action=action,
        reward=torch.randn(agents, length, generator=g, dtype=torch.float64),
        next_observation=observations(space, (agents, length), g),
        terminated=torch.rand(agents, length, generator=g) < 0.2,
    )


def own(space: spaces.Space, batch: Any, row: int, size: int) -> Experience:
    """One agent's share of a batch as features, actions in [-1, 1]."""
    action = batch.action[row, :size]
    if action.is_floating_point():
        low, high = torch.as_tensor(BOX.low), torch.as_tensor(BOX.high)
        action = 2 * (action - low) / (high - low) - 1

    def seen(observation: Any) -> Tensor:
        mine = map_leaves(lambda leaf: leaf[row, :size], observation)
        return encode(space, mine, 1, torch.float64)

    return Experience(
        seen(batch.observation),
        action,
        batch.reward[row, :size],
        seen(batch.next_observation),
        batch.terminated[row, :size].double(),
    )


def plain(population: Population) -> list[Single]:
    """Every agent as exported modules with optimizers of torch's own."""
    agents = []
    for row, member in enumerate(population.individuals):
        modules = {}
        tensors = population.individual(row).tensors
        for name, role in population.roles.items():
            for index in range(role.ensemble_size):
                state = {key: value[index].clone() for key, value in tensors[name].items()}
                key = name if name in ("q", "actor") else f"{name}{index}"
                modules[key] = population.network.module(role, member.genes, state)
        member.tensors = {}
        agents.append(Single(dict(member.hyperparameters), modules))
    return agents


def compare(population: Population, agents: list[Single], tolerance: float = 1e-9) -> None:
    """Every parameter, target and moment of every agent equals the plain one's."""
    for row, agent in enumerate(agents):
        member = population.individual(row)
        for name, role in population.roles.items():
            for index in range(role.ensemble_size):
                key = name if name in ("q", "actor") else f"{name}{index}"
                state = agent.optimizers[key].state
                parameters = list(agent.modules[key].parameters())
                expected = {
                    "": parameters,
                    ".target": list(agent.targets[key].parameters()),
                    ".mean": [state[p]["exp_avg"] for p in parameters],
                    ".square": [state[p]["exp_avg_sq"] for p in parameters],
                }
                for kind, values in expected.items():
                    mine = {k: v[index] for k, v in member.tensors[name + kind].items()}
                    # A moment laid out as a network is compared like one.
                    ours = population.network.module(role, member.genes, mine).parameters()
                    for left, right in zip(ours, values, strict=True):
                        gap = float((left - right).detach().abs().max())
                        assert gap <= tolerance, f"row {row}, {key}{kind}: {gap:.2e}"
        member.tensors = {}


def learn_beside(population: Population, agents: list[Single], space: spaces.Space, updates: int) -> None:
    """So many updates of a population, and the same of the plain agents."""
    algorithm, count = population.algorithm, len(agents)
    for update in range(updates):
        batch = experience(space, count, 16, update, algorithm.name == "DQN")
        noise = torch.randn(
            count, 16, 2, generator=torch.Generator().manual_seed(update), dtype=torch.float64
        )
        population.learn(batch, noise=noise if algorithm.name == "TD3" else None)
        for row, agent in enumerate(agents):
            size = agent.settings["batch_size"]
            one = own(space, batch, row, size)
            if algorithm.name == "DQN":
                dqn(agent, one, algorithm.double)
            else:
                td3(agent, one, noise[row, :size])
