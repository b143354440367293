"""DQN, QR-DQN, DDPG, TD3, SAC, TQC and PPO of a single agent in plain PyTorch, written from the papers alone.

Nothing here is made of evolab: modules are `torch.nn`, the optimizer is `torch.optim.Adam`, a
loss is a mean over a batch. The tests hand over weights and compare.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

PARTS = [2, 4, 3]
"""Options of several discrete choices at once."""

ACTIVATIONS = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
    "identity": nn.Identity,
}


def perceptron(
    inputs: int, hidden: tuple[int, ...], activation: tuple[str, ...], outputs: int, layer_norm: bool = False
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, kind in zip(hidden, activation, strict=True):
        layers.append(nn.Linear(inputs, width))
        if layer_norm:
            layers.append(nn.LayerNorm(width))
        layers.append(ACTIVATIONS[kind]())
        inputs = width
    layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers).double()


@dataclass
class Experience:
    """One agent's batch: observations [B, F], Box actions [B, A] or Discrete ones [B], the rest [B]."""

    observation: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    terminated: Tensor


@dataclass
class Single:
    """One agent: modules by name, their targets and optimizers."""

    settings: dict[str, Any]
    modules: dict[str, nn.Module]
    targets: dict[str, nn.Module] = field(default_factory=dict)
    optimizers: dict[str, torch.optim.Adam] = field(default_factory=dict)
    updates: int = 0

    def __post_init__(self) -> None:
        self.targets = {name: copy.deepcopy(module) for name, module in self.modules.items()}
        for name, module in self.modules.items():
            rate = self.settings.get("lr", self.settings.get(f"lr_{name.rstrip('0123456789')}"))
            self.optimizers[name] = torch.optim.Adam(module.parameters(), lr=rate)

    def minimise(self, loss: Tensor, *names: str) -> None:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        loss.backward()
        for name in names:
            self.optimizers[name].step()

    @torch.no_grad()
    def follow(self, *names: str) -> None:
        tau = self.settings["tau"]
        for name in names:
            for slow, fast in zip(
                self.targets[name].parameters(), self.modules[name].parameters(), strict=True
            ):
                slow.copy_((1 - tau) * slow + tau * fast)


def dqn(agent: Single, batch: Experience, double: bool) -> float:
    """Mnih et al. 2015, algorithm 1; van Hasselt et al. 2016, eq. 4."""
    q, slow = agent.modules["q"], agent.targets["q"]
    with torch.no_grad():
        following = slow(batch.next_observation)
        chooser = q(batch.next_observation) if double else following
        value = following.gather(1, chooser.argmax(1, keepdim=True))[:, 0]
        target = batch.reward + agent.settings["discount"] * value * (1 - batch.terminated)
    loss = ((q(batch.observation).gather(1, batch.action[:, None])[:, 0] - target) ** 2).mean()
    agent.minimise(loss, "q")
    agent.follow("q")
    return float(loss.detach())


def quantile_huber(quantiles: Tensor, samples: Tensor, kappa: float) -> Tensor:
    """Dabney et al. 2017, eq. 9 and 10, meaned over the batch and both axes: quantiles [B, N], samples [B, K]."""
    count = quantiles.shape[1]
    u = samples[:, None, :] - quantiles[:, :, None]
    huber = torch.where(u.abs() <= kappa, 0.5 * u**2, kappa * (u.abs() - 0.5 * kappa))
    middle = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return ((middle[:, None] - (u < 0).double()).abs() * huber / kappa).mean()


def qrdqn(agent: Single, batch: Experience, double: bool, quantiles: int, kappa: float) -> float:
    """Dabney et al. 2017 (arXiv:1710.10044), algorithm 1; the online network chooses if double."""
    q, slow = agent.modules["q"], agent.targets["q"]
    rows = torch.arange(len(batch.reward))
    with torch.no_grad():
        following = slow(batch.next_observation).reshape(len(rows), -1, quantiles)
        chooser = q(batch.next_observation).reshape(following.shape) if double else following
        best = following[rows, chooser.mean(2).argmax(1)]
        target = batch.reward + agent.settings["discount"] * best.T * (1 - batch.terminated)
    own = q(batch.observation).reshape(following.shape)[rows, batch.action]
    loss = quantile_huber(own, target.T, kappa)
    agent.minimise(loss, "q")
    agent.follow("q")
    return float(loss.detach())


def ddpg(agent: Single, batch: Experience) -> float:
    """Lillicrap et al. 2016, algorithm 1."""
    actor, critic = agent.modules["actor"], agent.modules["critic0"]
    agent.updates += 1
    with torch.no_grad():
        action = torch.tanh(agent.targets["actor"](batch.next_observation))
        value = agent.targets["critic0"](torch.cat([batch.next_observation, action], 1))[:, 0]
        target = batch.reward + agent.settings["discount"] * value * (1 - batch.terminated)
    error = critic(torch.cat([batch.observation, batch.action], 1))[:, 0] - target
    loss = (error**2).mean()
    agent.minimise(loss, "critic0")
    if agent.updates % agent.settings["policy_delay"] == 0:
        action = torch.tanh(actor(batch.observation))
        agent.minimise(-critic(torch.cat([batch.observation, action], 1)).mean(), "actor")
        agent.follow("actor", "critic0")
    return float(loss.detach())


def td3(agent: Single, batch: Experience, noise: Tensor) -> float:
    """Fujimoto et al. 2018, algorithm 1."""
    actor, first, second = (agent.modules[name] for name in ("actor", "critic0", "critic1"))
    agent.updates += 1
    with torch.no_grad():
        clip = agent.settings["noise_clip"]
        smoothing = (noise * agent.settings["target_noise"]).clamp(-clip, clip)
        action = (torch.tanh(agent.targets["actor"](batch.next_observation)) + smoothing).clamp(-1, 1)
        joint = torch.cat([batch.next_observation, action], 1)
        value = torch.min(agent.targets["critic0"](joint), agent.targets["critic1"](joint))[:, 0]
        target = batch.reward + agent.settings["discount"] * value * (1 - batch.terminated)
    joint = torch.cat([batch.observation, batch.action], 1)
    loss = sum(((critic(joint)[:, 0] - target) ** 2).mean() for critic in (first, second))
    agent.minimise(loss, "critic0", "critic1")
    if agent.updates % agent.settings["policy_delay"] == 0:
        action = torch.tanh(actor(batch.observation))
        agent.minimise(-first(torch.cat([batch.observation, action], 1)).mean(), "actor")
        agent.follow("actor", "critic0", "critic1")
    return float(loss.detach())


class Number(nn.Module):
    """A single learned number, or several."""

    def __init__(self, count: int = 1) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(count, dtype=torch.float64))

    def forward(self) -> Tensor:
        return self.value[0] if len(self.value) == 1 else self.value


def squashed(out: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions [B, A] of a squashed Gaussian and their log-density [B], by torch's own distributions."""
    mean, spread = out[:, : noise.shape[1]], out[:, noise.shape[1] :].clamp(-20, 2)
    normal = torch.distributions.Normal(mean, spread.exp())
    raw = mean + spread.exp() * noise
    bent = torch.distributions.TanhTransform().log_abs_det_jacobian(raw, torch.tanh(raw))
    return torch.tanh(raw), (normal.log_prob(raw) - bent).sum(1)


def sac(agent: Single, batch: Experience, noise: Tensor) -> float:
    """Haarnoja et al. 2018 (arXiv:1812.05905), algorithm 1, with eq. 5, 9 and 18."""
    actor, first, second, log = (
        agent.modules[name] for name in ("actor", "critic0", "critic1", "temperature")
    )
    agent.updates += 1
    with torch.no_grad():
        alpha = log().exp()
        action, density = squashed(actor(batch.next_observation), noise[:, 0])
        joint = torch.cat([batch.next_observation, action], 1)
        value = torch.min(agent.targets["critic0"](joint), agent.targets["critic1"](joint))[:, 0]
        value = value - alpha * density
        target = batch.reward + agent.settings["discount"] * value * (1 - batch.terminated)
    joint = torch.cat([batch.observation, batch.action], 1)
    loss = sum(((critic(joint)[:, 0] - target) ** 2).mean() for critic in (first, second))
    agent.minimise(loss, "critic0", "critic1")
    agent.follow("critic0", "critic1")
    if agent.updates % agent.settings["policy_delay"] == 0:
        action, density = squashed(actor(batch.observation), noise[:, 1])
        joint = torch.cat([batch.observation, action], 1)
        value = torch.min(first(joint), second(joint))[:, 0]
        agent.minimise((alpha * density - value).mean(), "actor")
        wanted = agent.settings["entropy_per_action"] * noise.shape[-1]
        agent.minimise(-log().exp() * (density.detach() + wanted).mean(), "temperature")
    return float(loss.detach())


def tqc(agent: Single, batch: Experience, noise: Tensor, kappa: float) -> float:
    """Kuznetsov et al. 2020 (arXiv:2005.04269), eq. 9 to 15, for any number of critics."""
    actor, log = agent.modules["actor"], agent.modules["temperature"]
    names = [name for name in agent.modules if name.startswith("critic")]
    agent.updates += 1
    with torch.no_grad():
        alpha = log().exp()
        action, density = squashed(actor(batch.next_observation), noise[:, 0])
        joint = torch.cat([batch.next_observation, action], 1)
        pooled = torch.cat([agent.targets[name](joint) for name in names], 1)
        kept = pooled.shape[1] - round(agent.settings["dropped"] * pooled.shape[1])
        lowest = torch.stack(
            [torch.tensor(sorted(row.tolist())[:kept], dtype=torch.float64) for row in pooled]
        )
        after = agent.settings["discount"] * (1 - batch.terminated)
        target = batch.reward[:, None] + after[:, None] * (lowest - (alpha * density)[:, None])
    joint = torch.cat([batch.observation, batch.action], 1)
    loss = sum(quantile_huber(agent.modules[name](joint), target, kappa) for name in names)
    agent.minimise(loss, *names)
    agent.follow(*names)
    if agent.updates % agent.settings["policy_delay"] == 0:
        action, density = squashed(actor(batch.observation), noise[:, 1])
        joint = torch.cat([batch.observation, action], 1)
        value = torch.stack([agent.modules[name](joint).mean(1) for name in names]).mean(0)
        agent.minimise((alpha * density - value).mean(), "actor")
        wanted = agent.settings["entropy_per_action"] * noise.shape[-1]
        agent.minimise(-log().exp() * (density.detach() + wanted).mean(), "temperature")
    return float(loss.detach())


def likelihood(agent: Single, observation: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of actions and entropies, [B], by torch's own distributions."""
    out = agent.modules["actor"](observation)
    if "spread" not in agent.modules:
        if action.dim() == 2:  # several choices at once, each by itself
            each = zip(out.split(PARTS, -1), action.unbind(-1), strict=True)
            pairs = [(torch.distributions.Categorical(logits=own), one) for own, one in each]
            return sum(d.log_prob(one) for d, one in pairs), sum(d.entropy() for d, _ in pairs)
        chosen = torch.distributions.Categorical(logits=out)
        return chosen.log_prob(action), chosen.entropy()
    drawn = torch.distributions.Normal(torch.tanh(out), agent.modules["spread"].value.exp())
    below, above = drawn.cdf(-torch.ones_like(action)), drawn.cdf(torch.ones_like(action))
    density = torch.where(action <= -1, below.log(), drawn.log_prob(action))
    density = torch.where(action >= 1, (1 - above).log(), density)
    return density.sum(1), drawn.entropy().sum(1)


def ppo(
    agent: Single, observation: Tensor, action: Tensor, old: Tensor, advantage: Tensor, goal: Tensor
) -> dict[str, float]:
    """Schulman et al. 2017 (arXiv:1707.06347), eq. 7 and 9 with the entropy subtracted, on one minibatch."""
    s = agent.settings
    log_prob, entropy = likelihood(agent, observation, action)
    ratio = (log_prob - old).exp()
    scaled = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)
    gain = torch.min(ratio * scaled, ratio.clamp(1 - s["clip"], 1 + s["clip"]) * scaled).mean()
    error = ((agent.modules["critic0"](observation)[:, 0] - goal) ** 2).mean()
    loss = -gain + s["value_coefficient"] * error - s["entropy_coefficient"] * entropy.mean()
    for optimizer in agent.optimizers.values():
        optimizer.zero_grad()
    loss.backward()
    parameters = [p for module in agent.modules.values() for p in module.parameters()]
    torch.nn.utils.clip_grad_norm_(parameters, s["max_grad_norm"])
    for optimizer in agent.optimizers.values():
        optimizer.step()
    told = {"actor": -gain, "critic": error, "entropy": entropy.mean()}
    return {name: float(value.detach()) for name, value in told.items()}
