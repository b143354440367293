"""BCQ: double DQN that learns from data alone and takes no action that the data would hardly take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import torch
from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import CALLS, CHANGED, MaskedAlgorithm
from evolab.algorithms.dqn import DQN
from evolab.algorithms.hyperparameters import SHARED, Hyperparameter
from evolab.core import checks
from evolab.core.actions import Actions
from evolab.core.experience import Batch
from evolab.core.masks import masked
from evolab.core.ranges import Float
from evolab.core.readonly import frozen_options
from evolab.core.trees import Tree
from evolab.networks.base import Role
from evolab.networks.batching.group import AgentGroup
from evolab.networks.loss import Loss


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class BCQ(MaskedAlgorithm):
    """Batch-constrained Q-learning for Discrete (and small MultiDiscrete) actions and a fixed dataset.

    The network gives a value and a logit of each action; both read the same hidden layers. The logits imitate the data.
    Of the actions that the imitation gives at least `threshold` times the chance of its likeliest, the one of the highest
    value is taken, in the environment and in the target: nobody ever asks what an action is worth that the data hardly
    have. A threshold of 0 permits all, as DQN does, and one of 1 is behaviour cloning.

    Its loss is `1/2 (Q(s, a) - target)^2 - log G(a | s) + penalty mean(logits^2)`, meaned over the batch, with `a` the
    action in the data.

    Args:
        double: the online network chooses the next action and the target network values it.
        huber: size of an error, in units of return, beyond which the first term grows linearly; None for the square
            throughout.
        penalty: weight of the squares of the logits.

    Source: Fujimoto et al. 2019, Benchmarking Batch Deep Reinforcement Learning Algorithms (arXiv:1910.01708),
    algorithm 1; the penalty and the layers in common are those of the authors' code.
    """

    double: bool = True
    huber: float | None = None
    penalty: float = 0.01

    name: ClassVar[str] = "BCQ"
    recordable: ClassVar[bool] = True
    offline: ClassVar[bool] = True
    action_spaces: ClassVar[tuple[type, ...]] = (spaces.Discrete, spaces.MultiDiscrete)
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        "lr": replace(DQN.hyperparameters["lr"], default=5e-4),
        **SHARED,
        "threshold": Hyperparameter(
            0.3,
            Float(0.0, 1.0, log=False),
            Float(0.1, 0.9, log=False),
            "least chance of an action in the data, as a share of the likeliest one's",
        ),
    }

    def __post_init__(self) -> None:
        checks.flag(f"{self.name}: double", self.double)
        if self.huber is not None:
            checks.positive(f"{self.name}: huber", self.huber)
        checks.finite(f"{self.name}: penalty", self.penalty, low=0.0)

    def roles(self, observation_space: spaces.Space, actions: Actions) -> dict[str, Role]:
        """One network, "q", with the values and then the logits of all actions, and its target."""
        return {"q": Role(observation_space, 2 * actions.width, rate="lr")}

    def likely_values(self, out: Tensor, threshold: Tensor | float) -> Tensor:
        """[..., A]: values of the actions; of those that are too unlikely less than every value, the less the unlikelier.

        Args:
            out: [..., 2 A], values and logits.
            threshold: broadcast to [..., A].
        """
        value, logit = out.chunk(2, -1)
        lacking = logit.amax(-1, keepdim=True) - logit  # of the logarithm of its chance
        unlikely = value.amin(-1, keepdim=True) - 1 - lacking
        return torch.where((-lacking).exp() >= threshold, value, unlikely)

    def values(self, agents: AgentGroup, observation: Tree) -> Tensor:
        """[P, B, A], as `likely_values`."""
        threshold = agents.hyper["threshold"][:, None, None]
        return self.likely_values(agents.network("q")(observation), threshold)

    def choosing(self, settings: Mapping[str, float]) -> Callable[[Tensor], Tensor]:
        """`likely_values` by the agent's own threshold."""
        return partial(self.likely_values, threshold=float(settings["threshold"]))

    def act(self, agents: AgentGroup, observation: Tree, mask: Tensor | None = None) -> Tensor:
        """The likely action of the highest value, [P, B]."""
        return masked(self.values(agents, observation), mask).argmax(-1)

    def value(self, agents: AgentGroup, observation: Tree, mask: Tensor | None = None) -> Tensor:
        """[P, B]: the highest value of any likely action."""
        return masked(self.values(agents, observation), mask).amax(-1)

    def update(self, agents: AgentGroup, batch: Batch, noise: Tensor | None) -> dict[str, Tensor]:
        """One step on all terms, then the target follows; "imitation" is how far the data's actions are from certain."""
        about = batch.weight, batch.action, self.penalty, self.huber
        loss = ConstrainedError(self.target(agents, batch), *about)
        total = agents.gradient_step("q", loss, batch.observation)
        agents.polyak_update("q")
        return {"q": total, **loss.parts}

    def target(self, agents: AgentGroup, batch: Batch) -> Tensor:
        """[P, B]: reward plus the discounted value of the next state's best likely action."""
        with torch.no_grad():
            following = agents.network("q", target=True)(batch.next_observation)  # [P, B, 2 A]
            online = agents.network("q")(batch.next_observation)
            valuing, _ = following.chunk(2, -1)
            _, logit = online.chunk(2, -1)  # the newest imitation decides what is likely
            chooser = online if self.double else torch.cat([valuing, logit], -1)
            likely = self.likely_values(chooser, agents.hyper["threshold"][:, None, None])
            best = masked(likely, batch.next_action_mask).argmax(-1, keepdim=True)
            return batch.reward + batch.future(agents.hyper["discount"]) * valuing.gather(-1, best).squeeze(
                -1
            )


@dataclass(frozen=True, eq=False)
class ConstrainedError(Loss):
    """`1/2 (Q(s, a) - target)^2 - log G(a | s) + penalty mean(logits^2)`, meaned over the batch.

    Attributes:
        target: [P, B], in units of return.
        weight: [P, B], of each sample in its agent's mean.
        action: [P, B] int64, what was done in the data.
        penalty: weight of the squares.
        huber: errors beyond it count linearly; None for no such limit.
        parts: "imitation" [P], the second term, once the loss was computed.
    """

    target: Tensor
    weight: Tensor
    action: Tensor
    penalty: float
    huber: float | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, out: Tensor) -> Tensor:
        """[P], from values and logits [P, B, 2 A]."""
        return self._losses(out)[0]

    def gradient(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """The losses; of values the error within `huber`, of logits their chances less what was done, and the penalty's."""
        losses, likelihood, near = self._losses(out)
        logit, index, weight = out.chunk(2, -1)[1], self.action.unsqueeze(-1), self.weight.unsqueeze(-1)
        of_value = torch.zeros_like(likelihood).scatter_(-1, index, weight * near.unsqueeze(-1))
        of_logit = weight * (likelihood.exp() + 2 * self.penalty / logit.shape[-1] * logit)
        return losses, torch.cat([of_value, of_logit.scatter_add_(-1, index, -weight)], -1)

    def _losses(self, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The losses [P], the logarithms of the chances [P, B, A] and the errors within `huber` [P, B]."""
        value, logit = out.chunk(2, -1)
        likelihood, index = logit.log_softmax(-1), self.action.unsqueeze(-1)
        imitation = -(self.weight * likelihood.gather(-1, index).squeeze(-1)).sum(-1)
        self.parts["imitation"] = imitation.detach()
        error = value.gather(-1, index).squeeze(-1) - self.target
        near = error if self.huber is None else error.clamp(-self.huber, self.huber)
        squared = (self.weight * near * (2 * error - near)).sum(-1) / 2
        return (
            squared + imitation + self.penalty * (self.weight * logit.square().mean(-1)).sum(-1),
            likelihood,
            near,
        )
