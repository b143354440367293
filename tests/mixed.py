"""Mixed populations, their plain counterparts, and random experience for both."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from evolab.networks.mlp.mlp import MLP
from evolab.population.population import Population
from tests.plain import Experience, Number, Single, perceptron

FEATURES = 5
OBSERVATIONS = spaces.Box(-1.0, 1.0, (FEATURES,), np.float64)
BOX = spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 3.0]), dtype=np.float64)
DISCRETE = spaces.Discrete(3)

SHAPES: list[tuple[tuple[int, ...], str]] = [
    ((16, 24, 8), "relu"),
    ((8,), "elu"),
    ((32, 20), "gelu"),
    ((24, 16), "relu"),
    ((40,), "tanh"),
    ((16, 16, 32), "gelu"),
    ((12, 28), "silu"),
    ((20, 12, 16), "relu"),
]
"""Eight agents of depth 1 to 3, of different widths and activations."""

SHARED: list[dict[str, Any]] = [
    {
        "discount": 0.9 + 0.012 * i,
        "tau": 0.004 + 0.01 * i,
        "batch_size": 6 + (7 * i) % 11,
        "learn_step": 1 + i % 3,
    }
    for i in range(8)
]


def settings_of(algorithm: str) -> list[dict[str, Any]]:
    """Hyperparameters of eight agents, all different."""
    if algorithm in ("DQN", "QRDQN"):
        return [{**SHARED[i], "lr": 1e-3 * 1.7**i / 4} for i in range(8)]
    if algorithm == "PPO":
        return [
            {
                "lr": 3e-3 / 1.2**i,
                "discount": 0.9 + 0.012 * i,
                "gae_lambda": 0.8 + 0.025 * i,
                "clip": 0.1 + 0.02 * i,
                "entropy_coefficient": 0.003 * i,
                "value_coefficient": 0.3 + 0.1 * i,
                "max_grad_norm": 0.3 * 1.3**i,
                "epochs": 2 + i % 3,
                "batch_size": 100,
            }
            for i in range(8)
        ]
    result: list[dict[str, Any]] = []
    for i in range(8):
        one = {
            **SHARED[i],
            "lr_actor": 1e-3 * 1.4**i / 3,
            "lr_critic": 3e-3 / 1.3**i,
            "policy_delay": 1 + i % 3,
        }
        if algorithm == "TD3":
            one |= {"target_noise": 0.1 + 0.05 * i, "noise_clip": 0.2 + 0.05 * i}
        if algorithm in ("SAC", "TQC"):
            one |= {"lr_temperature": 2e-3 * 1.3**i, "entropy_per_action": -1.5 + 0.2 * i}
        if algorithm == "TQC":
            one["dropped"] = 0.07 * i
        result.append(one)
    return result


def mixed(
    algorithm: Any,
    shapes: Sequence[tuple[tuple[int, ...], str]] = SHAPES,
    settings: Sequence[dict[str, Any]] | None = None,
    *,
    layer_norm: bool = False,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
    observation_space: spaces.Space = OBSERVATIONS,
    action_space: spaces.Space | None = None,
) -> Population:
    """A population whose agents differ in everything that may differ."""
    name = algorithm if isinstance(algorithm, str) else algorithm.name
    if action_space is None:
        action_space = DISCRETE if "DQN" in name else BOX
    settings = settings or settings_of(name)[: len(shapes)]
    whole: Population | None = None
    members = []
    for index, ((hidden, activation), values) in enumerate(zip(shapes, settings, strict=True)):
        one = Population(
            algorithm,
            observation_space,
            action_space,
            1,
            network=MLP(hidden, activation, layer_norm, min_units=4),
            hyperparameters=values,
            search_space={},
            seed=100 + index,
            dtype=dtype,
            device=device,
        )
        individual = one.individual(0)
        individual.id = index
        members.append(individual)
        whole = whole or one
    assert whole is not None
    whole.rebuild(members)
    return whole


def modules_of(population: Population, row: int) -> dict[str, nn.Module]:
    """The networks of one agent as plain modules: "q"; or "actor", "critic0", "critic1", "temperature"."""
    individual = population.individual(row)
    modules: dict[str, nn.Module] = {}
    layer_norm = population.network.layer_norm  # type: ignore[attr-defined]
    for name, role in population.roles.items():
        for index in range(role.ensemble_size):
            inputs = FEATURES + role.extra
            hidden, activation = individual.genes.hidden, individual.genes.activation
            module: nn.Module = Number(role.outputs)
            if role.network is None:
                module = perceptron(inputs, hidden, activation, role.outputs, layer_norm)
            with torch.no_grad():
                for parameter, value in zip(
                    module.parameters(), states(individual, name, index), strict=True
                ):
                    parameter.copy_(value)
            modules[key_of(name, index)] = module
    individual.tensors = {}
    return modules


def key_of(name: str, index: int) -> str:
    """What a plain agent calls one network."""
    return f"{name}{index}" if name == "critic" else name


def states(individual: Any, kind: str, index: int) -> list[Tensor]:
    """The tensors of one network of one agent, in the order of an nn.Sequential's parameters."""
    return [value[index] for value in individual.tensors[kind].values()]


def singles(population: Population) -> list[Single]:
    """The whole population as agents of plain PyTorch, by row."""
    return [
        Single(dict(individual.hyperparameters), modules_of(population, row))
        for row, individual in enumerate(population.individuals)
    ]


def experience(agents: int, length: int, seed: int, discrete: bool) -> SimpleNamespace:
    """A batch [P, B, ...] of random experience, actions in the environment's range."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    if discrete:
        action: Tensor = torch.randint(3, (agents, length), generator=g)
    else:
        low, high = torch.as_tensor(BOX.low), torch.as_tensor(BOX.high)
        action = low + (high - low) * torch.rand(agents, length, 2, generator=g, dtype=torch.float64)
    return SimpleNamespace(
        observation=normal(agents, length, FEATURES),
        action=action,
        reward=normal(agents, length),
        next_observation=normal(agents, length, FEATURES),
        terminated=torch.rand(agents, length, generator=g) < 0.2,
    )


def own(batch: Any, row: int, size: int) -> Experience:
    """One agent's share of a batch, actions in [-1, 1], written out by hand."""
    action = batch.action[row, :size]
    if action.is_floating_point():
        low, high = torch.as_tensor(BOX.low), torch.as_tensor(BOX.high)
        action = 2 * (action - low) / (high - low) - 1
    return Experience(
        batch.observation[row, :size],
        action,
        batch.reward[row, :size],
        batch.next_observation[row, :size],
        batch.terminated[row, :size].double(),
    )


def compare(population: Population, agents: Sequence[Single], tolerance: float = 1e-10) -> None:
    """Every parameter, target, moment and step count of every agent equals the plain one's."""
    for row, agent in enumerate(agents):
        individual = population.individual(row)
        for name, role in population.roles.items():
            for index in range(role.ensemble_size):
                key = key_of(name, index)
                state = agent.optimizers[key].state
                parameters = list(agent.modules[key].parameters())
                pairs = {
                    "": parameters,
                    ".mean": [state[p]["exp_avg"] if state else torch.zeros_like(p) for p in parameters],
                    ".square": [state[p]["exp_avg_sq"] if state else torch.zeros_like(p) for p in parameters],
                }
                if role.has_target:
                    pairs[".target"] = list(agent.targets[key].parameters())
                for kind, expected in pairs.items():
                    for ours, theirs in zip(states(individual, name + kind, index), expected, strict=True):
                        gap = float((ours - theirs.detach()).abs().max())
                        assert gap <= tolerance, f"row {row}, {key}{kind}: {gap:.2e}"
                steps = float(state[parameters[0]]["step"]) if state else 0.0
                assert float(population.table[f"{name}.count"][row]) == steps
        individual.tensors = {}


def padding(population: Population) -> dict[str, Tensor]:
    """For every flat tensor of the table, True where an entry belongs to no agent's network."""
    masks = {}
    saved = {name: value.clone() for name, value in population.table.items()}
    for value in population.table.values():
        if value.dim() == 3:
            value.fill_(1.0)
    for row in range(len(population)):
        for state in population.individual(row).tensors.values():
            for tensor in state.values():
                tensor.zero_()
        population.individuals[row].tensors = {}
    for name, value in population.table.items():
        if value.dim() == 3:
            masks[name] = value != 0
        value.copy_(saved[name])
    return masks
