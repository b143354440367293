"""PPO: a stochastic policy that learns from its own newest steps, in small updates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import CALLS, CHANGED, MaskedAlgorithm
from evolab.algorithms.categorical import drawn, likelihood, logits_of
from evolab.algorithms.clipped_gaussian import clipped_gaussian
from evolab.algorithms.hyperparameters import RATE, SHARED, Hyperparameter
from evolab.algorithms.rollout_sequences import Cut
from evolab.core.actions import Actions
from evolab.core.experience import Batch, Remembered
from evolab.core.ranges import Float, Integer
from evolab.core.readonly import frozen_options
from evolab.core.trees import Tree, map_leaves
from evolab.data.buffers.rollout import RolloutSteps
from evolab.networks.base import Role
from evolab.networks.batching.bucket import Forward
from evolab.networks.batching.group import AgentGroup
from evolab.networks.batching.whole_rollouts import orders
from evolab.networks.kernels.rollout_updates import ClippedPolicyGradient
from evolab.networks.scalars import Scalars
from evolab.networks.sequences import seen, seen_next


@dataclass
class Minibatch:
    """Steps of a rollout that one update learns from.

    Attributes:
        observation: [P, B, ...] leaves.
        action: [P, B, A] in [-1, 1] for Box actions, from 0 [P, B] for Discrete ones, [P, B, K] for several.
        weight: [P, B], what a step counts in its agent's mean; sums to 1 per agent.
        log_prob: [P, B], log-probability of the action under the policy that took it.
        advantage: [P, B], how much better the action was than the policy's mean.
        goal: [P, B], what the value of the observation is to be.
        grain: [A], as in `Batch`.
        action_mask: [P, B, A], False for actions that were forbidden; None where none was.
        remembered: as in `Batch`; B is then T * N, of N sequences.
    """

    observation: Tree
    action: Tensor
    weight: Tensor
    log_prob: Tensor
    advantage: Tensor
    goal: Tensor
    grain: Tensor | None = None
    action_mask: Tensor | None = None
    remembered: Remembered | None = None


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class PPO(MaskedAlgorithm):
    """Proximal policy optimisation for Discrete, MultiDiscrete and bounded Box actions.

    It learns from a rollout of its own policy, with nothing shared between agents: every agent
    makes `epochs` passes over its own steps in minibatches of at most `batch_size`, then the
    rollout is dropped. Policy and value are networks of their own with one optimizer step on
    `policy loss + value_coefficient * squared error - entropy_coefficient * entropy`. Advantages
    are brought to mean 0 and deviation 1 in every minibatch.

    Discrete actions are drawn from a softmax over the outputs of "actor". Of several choices at once each
    has a softmax over outputs of its own; their log-probabilities and entropies add up. Box actions are drawn
    from a Gaussian around tanh of its outputs, with standard deviations that do not depend on the
    observation ("spread" has their logarithms), and clipped to the bounds. An action that was
    clipped has the probability of all draws beyond its bound, so that what is learned from is
    what was done. Greedy actions are the likeliest one, or the mean.

    Where the network remembers, minibatches are made of sequences; see `algorithms.rollout_sequences`.

    Weights start orthogonal, those of the policy's last layer a hundred times smaller: every action is as likely as
    another at first, whatever is observed (Andrychowicz et al. 2021, What matters in on-policy reinforcement learning).

    Args:
        start_spread: standard deviation that Box actions in [-1, 1] start from; it is learned from then on.
        factored: several choices at once are made independently of each other, whatever their number; False for one
            choice among all their combinations, 4 096 at most.

    Source: Schulman et al. 2017, Proximal Policy Optimization Algorithms, eq. 7 and 9, algorithm 1;
    clipped actions by Fujita and Maeda 2018, Clipped Action Policy Gradient.
    """

    start_spread: float = 0.6
    factored: bool = True

    name: ClassVar[str] = "PPO"
    on_policy: ClassVar[bool] = True
    learns_sequences: ClassVar[bool] = True
    update_timing: ClassVar[tuple[str, ...]] = ("epochs", "batch_size")
    action_spaces: ClassVar[tuple[type, ...]] = (spaces.Discrete, spaces.MultiDiscrete, spaces.Box)
    # Evolved by default is what its authors and users tune first and what costs no time: agents of
    # different `epochs` or `batch_size` cannot share a batched update, so these wait to be asked for.
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        "lr": Hyperparameter(3e-4, RATE, Float(1e-5, 1e-2, grow=2.0), "learning rate of policy and value"),
        "discount": SHARED["discount"],
        "gae_lambda": Hyperparameter(
            0.95,
            Float(0.0, 1.0, log=False),
            Float(0.9, 1.0, log=False),
            "weight of later steps in an advantage: 0 trusts the value network, 1 the rewards alone",
        ),
        "clip": Hyperparameter(
            0.2, Float(0.0, 10.0, log=False), Float(0.1, 0.4), "largest change of an action's probability"
        ),
        "entropy_coefficient": Hyperparameter(
            0.01, Float(0.0, 100.0, log=False), Float(1e-4, 0.1), "weight of the policy's entropy, per nat"
        ),
        "value_coefficient": Hyperparameter(
            0.5, Float(0.0, 100.0, log=False), None, "weight of the value's error in the gradient's norm"
        ),
        "max_grad_norm": Hyperparameter(0.5, Float(1e-6, 1e9), None, "largest norm of an agent's gradient"),
        "epochs": Hyperparameter(4, Integer(1, 1000), None, "passes over a rollout"),
        "batch_size": Hyperparameter(64, Integer(1, 1_000_000), None, "most samples in a minibatch"),
    }

    def __post_init__(self) -> None:
        if not (isinstance(self.start_spread, (int, float)) and 0 < self.start_spread < math.inf):
            raise ValueError(f"PPO: start_spread is {self.start_spread!r}; a number above 0 is expected.")

    def roles(self, observation_space: spaces.Space, actions: Actions) -> dict[str, Role]:
        """The policy "actor", the value "critic" and, for Box actions, the logarithms "spread" [A]."""
        parts = actions.parts
        roles = {"actor": Role(observation_space, actions.width, has_target=False, gain=0.01, parts=parts)}
        if actions.continuous:
            start = Scalars(math.log(self.start_spread))
            roles["spread"] = Role(observation_space, actions.width, has_target=False, network=start)
        return roles | {"critic": Role(observation_space, 1, has_target=False, gain=1.0)}

    def act(self, agents: AgentGroup, observation: Tree, mask: Tensor | None = None) -> Tensor:
        """The likeliest action [P, B], of several choices [P, B, K], or the mean [P, B, A] in [-1, 1]."""
        out = agents.network("actor")(observation)
        if "spread" in agents.roles:
            return torch.tanh(out)
        return logits_of(out, agents.roles["actor"].parts, mask).argmax(-1)

    def value(self, agents: AgentGroup, observation: Tree, mask: Tensor | None = None) -> Tensor:
        """[P, B]: the value network's."""
        return agents.network("critic")(observation).squeeze(-1)

    def sample(
        self,
        agents: AgentGroup,
        observation: Tree,
        memory: dict[str, Tensor],
        generator: torch.Generator,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Actions drawn from the policy, in the shape of `act`."""
        out = agents.network("actor")(observation)
        if "spread" in agents.roles:
            noise = torch.empty(out.shape, device=generator.device, dtype=out.dtype)
            noise = noise.normal_(generator=generator).to(out.device)
            return (torch.tanh(out) + agents.network("spread")().exp().unsqueeze(1) * noise).clamp(-1, 1)
        parts = agents.roles["actor"].parts
        return drawn(logits_of(out, parts, mask), bool(parts), mask is not None, generator)

    def evaluate(self, agents: AgentGroup, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities of the actions, values and successors' values, [P, B] each, as the agents are now."""
        with torch.no_grad():
            spread = agents.network("spread") if "spread" in agents.roles else None
            log_prob, _ = self.likelihood(agents, agents.network("actor"), spread, batch)
            value = agents.network("critic")(seen(batch.remembered, "critic", batch.observation)).squeeze(-1)
            next_value = agents.network("critic")(seen_next(batch, "critic")).squeeze(-1)
        return log_prob, value, next_value

    def minibatches(
        self, agents: AgentGroup, batch: RolloutSteps, generator: torch.Generator
    ) -> Iterator[Minibatch]:
        """Of a rollout: each of `epochs` passes uses every step once, in an order of each agent's own.

        All minibatches of a pass are of one size, give or take one, and `batch_size` at most. What
        depends on the acting policy is worked out before the first: no parameter has moved since then.
        """
        log_prob, value, next_value = self.evaluate(agents, batch)
        h, valid = agents.hyper, batch.valid.to(value)
        advantage = advantages(batch, value, next_value, h["discount"], h["gae_lambda"])
        goal = advantage + value
        count, total = value.shape
        first = total * torch.arange(count, device=value.device)[:, None]  # [P, 1], of the flattened steps
        epochs, size = int(agents.settings[0]["epochs"]), int(agents.settings[0]["batch_size"])
        sequences = None if batch.remembered is None else Cut(batch.remembered, batch.broken, batch.num_envs)
        for _ in range(epochs):
            if sequences is None:
                (order,) = orders(1, count, total, generator).to(value.device)
                parts = list(order.tensor_split(-(-total // size), 1))
            else:
                parts = sequences.parts(size, generator)
            for part in parts:
                index = (part.clamp(min=0) + first).flatten()

                def take(x: Tensor, index: Tensor = index, length: int = part.shape[1]) -> Tensor:
                    return x.flatten(0, 1).index_select(0, index).unflatten(0, (count, length))

                counted = take(valid) if sequences is None else take(valid) * (part >= 0)
                yield Minibatch(
                    observation=map_leaves(take, batch.observation),
                    action=take(batch.action),
                    weight=counted / counted.sum(1, keepdim=True).clamp(min=1),
                    log_prob=take(log_prob),
                    advantage=take(advantage),
                    goal=take(goal),
                    grain=batch.grain,
                    action_mask=None if batch.action_mask is None else take(batch.action_mask),
                    remembered=None if sequences is None else sequences.before(part, take),
                )

    def whole(self) -> ClippedPolicyGradient | None:
        """All passes over a rollout, as the kernels know them: `minibatches` and `update` up to rounding."""
        return ClippedPolicyGradient("actor", "critic", "spread")

    def update(self, agents: AgentGroup, batch: Batch | Minibatch, noise: Tensor | None) -> dict[str, Tensor]:
        """One step on a minibatch; any other batch is taken as rollouts of one step each."""
        h, weight = agents.hyper, batch.weight
        if isinstance(batch, Batch):
            before, value, next_value = self.evaluate(agents, batch)
            target = batch.reward + h["discount"][:, None] * batch.bootstraps * next_value
            raw = target - value
        else:
            before, raw, target = batch.log_prob, batch.advantage, batch.goal
        centred = raw - (weight * raw).sum(-1, keepdim=True)
        advantage = centred / ((weight * centred.square()).sum(-1, keepdim=True).sqrt() + 1e-8)  # [P, B]
        low, high = 1 - h["clip"][:, None], 1 + h["clip"][:, None]
        noted: dict[str, Tensor] = {}

        def loss(actor: Forward, critic: Forward, spread: Forward | None = None) -> Tensor:
            log_prob, entropy = self.likelihood(agents, actor, spread, batch)
            change = log_prob - before
            ratio = change.exp()
            gain = torch.minimum(ratio * advantage, torch.clamp(ratio, low, high) * advantage)
            error = critic(seen(batch.remembered, "critic", batch.observation)).squeeze(-1) - target
            noted["actor"] = -(weight * gain).sum(-1)
            noted["critic"] = (weight * error.square()).sum(-1)
            noted["entropy"] = (weight * entropy).sum(-1)
            noted["divergence"] = (weight * (ratio.detach() - 1 - change.detach())).sum(-1)
            return (
                noted["actor"]
                + h["value_coefficient"] * noted["critic"]
                - h["entropy_coefficient"] * noted["entropy"]
            )

        names = [name for name in ("actor", "critic", "spread") if name in agents.roles]
        agents.minimise(names, loss, h["max_grad_norm"])
        return {name: value.detach() for name, value in noted.items()}

    @staticmethod
    def likelihood(
        agents: AgentGroup, actor: Forward, spread: Forward | None, batch: Batch | Minibatch
    ) -> tuple[Tensor, Tensor]:
        """Log-probability (or density) of the batch's actions and the policy's entropy before clipping, [P, B]."""
        out = actor(seen(batch.remembered, "actor", batch.observation))
        if spread is not None:
            return clipped_gaussian(torch.tanh(out), spread().unsqueeze(1), batch.action, batch.grain)
        parts = agents.roles["actor"].parts
        return likelihood(logits_of(out, parts, batch.action_mask), batch.action, bool(parts))


def advantages(
    rollout: RolloutSteps, value: Tensor, next_value: Tensor, discount: Tensor, trace: Tensor
) -> Tensor:
    """Generalised advantage estimates.

    `delta = reward + discount (1 - terminated) next_value - value`, summed over the rest of the
    episode with weights `(discount trace)^k`. Where an episode was truncated, and at the end of the
    rollout, `next_value` is that of the true successor, so both bootstrap; only the sum ends there.

    Args:
        rollout: [P, B], of T steps in E environments.
        value: [P, B], of what was acted on.
        next_value: [P, B], of what truly followed.
        discount: [P].
        trace: [P], lambda.

    Returns:
        [P, B].

    Source: Schulman et al. 2016, High-Dimensional Continuous Control Using Generalized Advantage
    Estimation, eq. 16.
    """
    valid, ended = rollout.valid.to(value), rollout.ended.to(value)
    discount, trace = discount[:, None], trace[:, None]
    delta = (rollout.reward + discount * (1 - rollout.terminated) * next_value - value) * valid
    decay = discount * trace * (1 - ended) * valid
    delta, decay = (x.unflatten(1, (-1, rollout.num_envs)) for x in (delta, decay))  # [P, T, E]
    found = torch.empty_like(delta)
    running = torch.zeros_like(delta[:, 0])
    for step in range(delta.shape[1] - 1, -1, -1):
        running = torch.addcmul(delta[:, step], decay[:, step], running)
        found[:, step] = running
    return found.flatten(1)
