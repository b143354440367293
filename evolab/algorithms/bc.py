"""BC: behaviour cloning of recorded episodes, token by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import CALLS, CHANGED
from evolab.algorithms.hyperparameters import RATE, SHARED, Hyperparameter
from evolab.algorithms.losses import chosen_mean, surprise
from evolab.algorithms.tokens import Forward, TokenAlgorithm
from evolab.core import checks
from evolab.core.actions import Actions
from evolab.core.discrete_actions import DiscreteActions
from evolab.core.experience import Episodes
from evolab.core.ranges import Float
from evolab.core.readonly import frozen_options
from evolab.networks.base import Role
from evolab.networks.batching.group import AgentGroup


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class BC(TokenAlgorithm):
    """Behaviour cloning for language environments: a policy that makes the recorded choices as likely as possible.

    Its loss is minus the log-likelihood of the tokens that the agent chose in the data, given all
    tokens before them, meaned over the chosen tokens of the batch. The environment's tokens are
    input only and not learned.

    Args:
        clip: largest norm of an agent's gradient; None for no clipping.
        beams: whole utterances that are compared where the environment fixes how long one is, see
            `evolab.population.utterances`; 1 for agents that choose token by token, as `agent.act` always does.

    Source: Pomerleau 1989, ALVINN; Radford et al. 2019 for the likelihood of sequences.
    """

    clip: float | None = 1.0
    beams: int = 1

    name: ClassVar[str] = "BC"
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        "lr": Hyperparameter(1e-3, RATE, Float(1e-4, 1e-2), "learning rate of the policy"),
        "batch_size": Hyperparameter(64, SHARED["batch_size"].limits, None, "episodes per update"),
    }

    def __post_init__(self) -> None:
        checks.positive_integer(f"{self.name}: beams", self.beams)
        if self.clip is not None:
            checks.positive(f"{self.name}: clip", self.clip)

    def roles(self, observation_space: spaces.Space, actions: Actions) -> dict[str, Role]:
        """The policy alone: logits of all tokens at every position."""
        vocabulary = int(observation_space.nvec.flat[0])  # type: ignore[attr-defined]
        assert isinstance(actions, DiscreteActions)
        said = (actions.start, actions.start + actions.width)
        return {"policy": Role(observation_space, vocabulary, has_target=False, rate="lr", choices=said)}

    def scores(self, agents: AgentGroup, forward: Forward) -> Tensor:
        """[P, B, V]: the policy's log-probabilities, which sampling draws from."""
        return forward("policy").log_softmax(-1)

    def update(self, agents: AgentGroup, batch: Episodes, noise: Tensor | None) -> dict[str, Tensor]:
        """One step on the likelihood of the chosen tokens."""
        return {"policy": self.clone(agents, batch, batch.action_mask[..., 1:])}

    def clone(self, agents: AgentGroup, batch: Episodes, weight: Tensor) -> Tensor:
        """One step of the policy on the likelihood of tokens that count `weight` [P, B, T - 1] each."""
        action, chosen = batch.tokens[..., 1:], batch.action_mask[..., 1:]

        def loss(policy: Forward) -> Tensor:
            logits = policy(batch.tokens[..., :-1], batch.length)  # [P, B, T - 1, V]
            return chosen_mean(surprise(logits, action) * weight, chosen, batch.weight)

        return agents.minimise("policy", loss, clip=self.clip)
