"""SAC: a stochastic policy with an entropy bonus, whose weight is learned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import CALLS, CHANGED, Algorithm
from evolab.algorithms.exploration import noise_persistence, unit_noise
from evolab.algorithms.hyperparameters import ACTOR_CRITIC, RATE, Hyperparameter
from evolab.algorithms.losses import SquaredError
from evolab.core.actions import Actions
from evolab.core.experience import Batch
from evolab.core.ranges import Float, Integer
from evolab.core.readonly import frozen_options
from evolab.core.trees import Tree
from evolab.networks.base import Role
from evolab.networks.batching.bucket import Forward
from evolab.networks.batching.group import AgentGroup
from evolab.networks.kernels.td_updates import TemporalDifference
from evolab.networks.loss import Loss
from evolab.networks.scalars import Scalars

LEAST, MOST = -20.0, 2.0
"""Limits of the logarithm of the policy's standard deviation before squashing, as in the authors' code."""

START = 1.0
"""What the temperature starts from, in units of reward."""

SCALED_STARTS = (0.05, 1.0)
"""Between which it starts where returns are brought to a deviation of 1: each agent's is drawn, log-uniformly.

One value for all would have to be right everywhere: from 1 on entropy is for thousands of updates all that counts, and 0.05
holds still where much has to be tried. Of agents that differ, selection keeps those that suit. All steps until solved, from
1, 0.2 and 0.05 on and drawn, on LunarLanderContinuous-v3 with the seeds 101 to 103: 53 293, 48 578, 42 348; 48 871, 65 966,
58 711; 39 091, 31 444, 63 653; 29 478, 25 627, 73 361. The page of benchmarks has the other tasks.
"""


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class SAC(Algorithm):
    """Soft actor-critic for bounded Box actions, with a temperature that each agent learns.

    The policy is a Gaussian squashed by tanh to [-1, 1]; "actor" gives its means and the
    logarithms of its standard deviations. The lesser of two critics makes the target; there is no
    target policy. The temperature, the price of a nat of entropy, rises while the policy's entropy
    is below `entropy_per_action * A` and falls while it is above; its logarithm is a row of the
    table like every other parameter. Greedy actions are the squashed means.

    Policy and temperature move with every second update of the critics, which saves two fifths of the time and cost
    nothing on InvertedDoublePendulum-v5: mean returns of eight agents 8 449 after 10 000 steps, 7 294 with every
    update (seed 100). `policy_delay=1` is the authors' way.

    With `n_step` above 1 entropy is counted at the state that the steps lead to, not at those between.

    Args:
        start_temperature: what the temperature starts from, in units of reward; it is learned from then on. Of two
            numbers each agent's is drawn between them, log-uniformly. None for 1, and for (0.05, 1) where returns are
            on one scale (`normalise="returns"`).

    Source: Haarnoja et al. 2018, Soft Actor-Critic Algorithms and Applications (arXiv:1812.05905),
    algorithm 1: critics eq. 5, policy eq. 9, temperature eq. 18; density of squashed actions in appendix C.
    """

    start_temperature: float | tuple[float, float] | None = None

    name: ClassVar[str] = "SAC"
    recordable: ClassVar[bool] = True
    acting: ClassVar[tuple[str, ...]] = ("actor",)
    action_spaces: ClassVar[tuple[type, ...]] = (spaces.Box,)
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        **ACTOR_CRITIC,
        "lr_temperature": Hyperparameter(1e-3, RATE, None, "learning rate of the temperature's logarithm"),
        "policy_delay": Hyperparameter(
            2, Integer(1, 1000), None, "critic updates per update of the policy and its temperature"
        ),
        "entropy_per_action": Hyperparameter(
            -1.0,
            Float(-10.0, 1.0, log=False),
            None,
            "entropy that the temperature aims at, nats per entry of an action in [-1, 1]",
        ),
        "persistence": noise_persistence(Float(1.0, 4.0)),
    }

    def __post_init__(self) -> None:
        given = self.start_temperature
        if given is None:
            return
        ends = tuple(given) if isinstance(given, (list, tuple)) else (given, given)
        if len(ends) != 2 or not all(isinstance(end, (int, float)) and 0 < end < math.inf for end in ends):
            raise ValueError(
                f"{self.name}: start_temperature is {given!r}; a number above 0, or two, are expected."
            )
        if isinstance(given, list):  # a saved experiment's
            object.__setattr__(self, "start_temperature", ends)

    def on_scaled_returns(self) -> SAC:
        """With a temperature that starts in their unit, where none was given."""
        return self if self.start_temperature is not None else replace(self, start_temperature=SCALED_STARTS)

    def roles(self, observation_space: spaces.Space, actions: Actions) -> dict[str, Role]:
        """The policy "actor" [2 A], twin critics with targets, and the logarithm of the temperature."""
        width, start = actions.width, START if self.start_temperature is None else self.start_temperature
        if isinstance(start, tuple):
            temperature = Scalars(math.log(start[0]), math.log(start[1]))
        else:
            temperature = Scalars(math.log(start))
        return {
            "actor": Role(observation_space, 2 * width, has_target=False, rate="lr_actor"),
            "critic": Role(observation_space, 1, extra=width, ensemble_size=2, rate="lr_critic"),
            "temperature": Role(
                observation_space, 1, has_target=False, rate="lr_temperature", network=temperature
            ),
        }

    def act(self, agents: AgentGroup, observation: Tree) -> Tensor:
        """[P, B, A] in [-1, 1]: the squashed means."""
        mean, _ = agents.network("actor")(observation).chunk(2, -1)
        return torch.tanh(mean)

    def value(self, agents: AgentGroup, observation: Tree) -> Tensor:
        """[P, B]: what the critics say of the mean action; they count entropy as reward."""
        return self.worth(agents.network("critic")(observation, self.act(agents, observation)))

    def worth(self, out: Tensor) -> Tensor:
        """[P, B]: the least value of any critic, from the outputs [P, M, B, 1] of all."""
        return out.squeeze(-1).amin(1)

    def error(self, agents: AgentGroup, batch: Batch, out: Tensor, cost: Tensor) -> Loss:
        """What the critics bring down.

        Args:
            agents: of a group.
            batch: of their experience.
            out: [P, M, B, O], the target critics' outputs for the next actions.
            cost: [P, B], the price of what their entropy lacks: it is taken off their value.
        """
        next_value = self.worth(out) - cost
        target = batch.reward + batch.future(agents.hyper["discount"]) * next_value  # [P, B]
        return SquaredError(target, batch.weight)

    def memory(self, agents: int, num_envs: int, actions: Actions) -> dict[str, tuple[int, ...]]:
        """The noise of the step before."""
        return {"noise": (agents, num_envs, actions.width)}

    def sample(
        self, agents: AgentGroup, observation: Tree, memory: dict[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """[P, B, A] in [-1, 1], drawn from the policy, step by step or with inertia."""
        mean, spread = agents.network("actor")(observation).chunk(2, -1)
        noise = unit_noise(agents, mean, memory["noise"], generator)
        return torch.tanh(mean + spread.clamp(LEAST, MOST).exp() * noise)

    def draw(self, agents: AgentGroup, batch: Batch, generator: torch.Generator) -> Tensor:
        """Standard normal noise [P, B, 2, A]: of the next action, and of the policy's own."""
        count, size, width = batch.action.shape
        drawn = torch.randn(
            count, size, 2, width, generator=generator, device=generator.device, dtype=batch.action.dtype
        )
        return drawn.to(batch.action.device)

    def whole(self) -> TemporalDifference | None:
        """`update`, as the kernels know it."""
        return TemporalDifference("critic", policy="actor", temperature="temperature", limits=(LEAST, MOST))

    def update(self, agents: AgentGroup, batch: Batch, noise: Tensor | None) -> dict[str, Tensor]:
        """Critics learn the soft target; then the policy improves their value, and the temperature follows the entropy."""
        assert noise is not None
        h, weight = agents.hyper, batch.weight
        width = batch.action.shape[-1]
        with torch.no_grad():
            temperature = agents.network("temperature")().exp()  # [P, 1]
            next_action, next_surprise = squashed(
                agents.network("actor")(batch.next_observation), noise[:, :, 0]
            )
            following = agents.network("critic", target=True)(batch.next_observation, next_action)
            error = self.error(agents, batch, following, temperature * next_surprise)

        inputs = batch.observation, batch.action
        losses = {"critic": agents.gradient_step("critic", error, *inputs, noted=batch.error)}
        agents.polyak_update("critic")
        if agents.updates % agents.policy_delay == 0:
            seen: dict[str, Tensor] = {}

            def policy_loss(actor: Forward) -> Tensor:
                action, surprise = squashed(actor(batch.observation), noise[:, :, 1])
                seen["entropy"] = -(weight * surprise.detach()).sum(-1)  # [P]
                value = self.worth(agents.network("critic")(batch.observation, action))  # [P, B]
                return (weight * (temperature * surprise - value)).sum(-1)

            losses["actor"] = agents.minimise("actor", policy_loss)
            excess = seen["entropy"] - h["entropy_per_action"] * width  # [P]
            losses["temperature"] = agents.minimise(
                "temperature", lambda log: log().exp().squeeze(-1) * excess
            )
        return losses


def squashed(out: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions drawn from a squashed Gaussian, and their log-density: differentiable in `out`.

    Args:
        out: [P, B, 2 A], means and logarithms of standard deviations before squashing.
        noise: [P, B, A], standard normal.

    Returns:
        actions [P, B, A] in [-1, 1], and their log-density [P, B] in nats.
    """
    mean, spread = out.chunk(2, -1)
    spread = spread.clamp(LEAST, MOST)
    raw = mean + spread.exp() * noise
    # log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)), which does not overflow
    squash = 2 * (math.log(2) - raw - F.softplus(-2 * raw))
    density = -0.5 * noise.square() - spread - 0.5 * math.log(2 * math.pi) - squash
    return torch.tanh(raw), density.sum(-1)
