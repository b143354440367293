"""Populations that read tokens, their data, and BC and ILQL of one agent in plain PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor

from evolab.core.experience import Episodes
from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.depth import change_layers
from evolab.evolution.mutation.resize_tensors import resize
from evolab.networks.gpt.gpt import GPT
from evolab.population.population import Population

V, T = 7, 9
SPACE, ACTIONS = spaces.MultiDiscrete([V] * T), spaces.Discrete(V - 1)
SETTINGS = {
    "BC": [{"lr": 3e-3, "batch_size": 6}, {"lr": 1e-3, "batch_size": 4}, {}, {"lr": 1e-2}],
    "ILQL": [
        {"lr": 3e-3, "batch_size": 6, "monte_carlo": 0.5, "awac_weight": 1.0},
        {"lr_value": 3e-3, "batch_size": 4, "discount": 0.9, "expectile": 0.9},
        {"tau": 0.1, "cql_weight": 0.5, "awac_weight": 2.0},
        {"monte_carlo": 1.0, "beta": 9.0},
    ],
}


def population(
    algorithm: str, mixed: bool = True, size: int = 4, dtype: torch.dtype = torch.float64
) -> Population:
    """Agents of different depth, width and hyperparameters, with Q heads that differ from their targets'."""
    made = Population(
        algorithm, SPACE, ACTIONS, size, network=GPT(width=16, heads=2, min_units=8), seed=3, device="cpu",
        dtype=dtype, hyperparameters={"batch_size": 8}, search_space={},
    )  # fmt: skip
    if not mixed:
        return made
    members = []
    for row, settings in enumerate(SETTINGS[algorithm][:size]):
        individual = made.individual(row).child(made.individuals[row].id)
        individual.counts = {name: float(count) for name, count in individual.counts.items()}
        individual.hyperparameters.update(settings)
        context = Context(made.network, made.roles, {}, 0.1, torch.Generator().manual_seed(row))
        resize(individual, context, "hidden.0", (64, 24, 40, 64)[row])
        if row in (1, 3):
            change_layers(individual, context, np.random.default_rng(1))
        members.append(individual)
    made.rebuild(members)
    return made


def episodes(agents: int, batch: int, seed: int = 0) -> Episodes:
    """Random episodes: some cut, some ended, prompts and replies in between."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, V - 1, (agents, batch, T))
    length = rng.integers(3, T + 1, (agents, batch))
    inside = np.arange(T) < length[..., None]
    tokens = np.where(inside, tokens, V - 1)
    mask = (rng.random((agents, batch, T)) < 0.6) & inside
    mask[..., 0], mask[..., 1] = False, True
    reward = np.where(mask, rng.normal(size=(agents, batch, T)), 0.0)
    return Episodes(
        tokens=torch.as_tensor(tokens), action_mask=torch.as_tensor(mask), reward=torch.as_tensor(reward),
        terminated=torch.as_tensor(rng.random((agents, batch)) < 0.7), length=torch.as_tensor(length),
    )  # fmt: skip


class Single:
    """One agent in plain PyTorch: modules, targets, and an Adam for each."""

    def __init__(self, many: Population, row: int) -> None:
        individual = many.individual(row)
        self.settings = dict(individual.hyperparameters)
        self.modules, self.targets, self.optimizers = {}, {}, {}
        for name, role in many.roles.items():
            for kind, into in (("", self.modules), (".target", self.targets)):
                if name + kind in individual.tensors:
                    state = {k: v[0].clone() for k, v in individual.tensors[name + kind].items()}
                    into[name] = many.network.module(role, individual.genes, state)
            rate = self.settings[role.rate]
            self.optimizers[name] = torch.optim.Adam(self.modules[name].parameters(), lr=rate)

    def step(self, name: str, loss: Tensor, clip: float = 1.0) -> float:
        self.optimizers[name].zero_grad()
        loss.backward()
        # As evolab's, which counts every parameter in one norm and divides by a little more than it.
        parameters = list(self.modules[name].parameters())
        norm = torch.cat([p.grad.flatten() for p in parameters]).norm()
        for parameter in parameters:
            parameter.grad.mul_(min(1.0, float(clip / (norm + 1e-6))))
        self.optimizers[name].step()
        return float(loss.detach())


def own(batch: Episodes, row: int, count: int) -> list[dict[str, Any]]:
    """The episodes of one agent, each without what fills it up."""
    parts = []
    for b in range(min(count, batch.tokens.shape[1])):
        n = int(batch.length[row, b])
        parts.append(
            {
                "tokens": batch.tokens[row, b, :n],
                "chosen": batch.action_mask[row, b, :n].nonzero()[:, 0].tolist(),
                "reward": batch.reward[row, b, :n].tolist(),
                "terminated": bool(batch.terminated[row, b]),
            }
        )
    return parts


def bc(agent: Single, parts: list[dict[str, Any]], weights: list[float] | None = None) -> float:
    """One update of behaviour cloning, episode by episode."""
    losses = []
    for part in parts:
        logits = agent.modules["policy"](part["tokens"][None])[0]
        losses += [F.cross_entropy(logits[t - 1], part["tokens"][t]) for t in part["chosen"]]
    if weights is not None:
        losses = [weight * loss for weight, loss in zip(weights, losses, strict=True)]
    return agent.step("policy", torch.stack(losses).mean())


def ilql(agent: Single, parts: list[dict[str, Any]]) -> dict[str, float]:
    """One update of implicit language Q-learning, choice by choice."""
    s = agent.settings
    losses, weights = [], []
    for part in parts:
        tokens, chosen = part["tokens"], part["chosen"]
        out = agent.modules["value"](tokens[None])[0]
        with torch.no_grad():
            slow = agent.targets["value"](tokens[None])[0]
        q1, q2, v = out[:, :V], out[:, V : 2 * V], out[:, 2 * V]
        total = 0.0
        following = {}
        for t in reversed(chosen):
            total = following[t] = part["reward"][t] + s["discount"] * total
        for index, t in enumerate(chosen):
            a = tokens[t]
            if index + 1 < len(chosen):
                after = v[chosen[index + 1] - 1].detach()
            else:
                after = torch.zeros((), dtype=v.dtype) if part["terminated"] else v[len(tokens) - 1].detach()
            target = part["reward"][t] + s["discount"] * after
            target = (1 - s["monte_carlo"]) * target + s["monte_carlo"] * following[t]
            smaller = torch.minimum(slow[t - 1, a], slow[t - 1, V + a])
            error = smaller - v[t - 1]
            share = s["expectile"] if error > 0 else 1 - s["expectile"]
            loss = share * error**2
            for q in (q1, q2):
                loss = loss + (q[t - 1, a] - target) ** 2 + s["cql_weight"] * F.cross_entropy(q[t - 1], a)
            losses.append(loss)
            weights.append(min(20.0, float((s["awac_weight"] * error.detach()).exp())))
    found = {"value": agent.step("value", torch.stack(losses).mean())}
    with torch.no_grad():
        for slow, fast in zip(
            agent.targets["value"].parameters(), agent.modules["value"].parameters(), strict=True
        ):
            slow.lerp_(fast, s["tau"])
    found["policy"] = bc(agent, parts, weights)
    return found


def compare(many: Population, agents: list[Single], limit: float = 1e-10) -> None:
    """Every parameter and target of every row against the plain agent's."""
    for row, agent in enumerate(agents):
        individual = many.individual(row)
        for kind, modules in (("", agent.modules), (".target", agent.targets)):
            for name, module in modules.items():
                state = {k: v[0] for k, v in individual.tensors[name + kind].items()}
                twin = many.network.module(many.roles[name], individual.genes, state)
                for key, value in module.named_parameters():
                    gap = float((dict(twin.named_parameters())[key] - value).detach().abs().max())
                    assert gap < limit, f"row {row}, {name}{kind}, {key}: {gap:.1e}"
