"""BC: behaviour cloning of recorded episodes, token by token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import RATE, SHARED, AgentGroup, Algorithm, Float, Hyperparameter, Role
from evolab.core.checks import positive_integer
from evolab.core.experience import Episodes
from evolab.networks.base import Network
from evolab.networks.gpt.gpt import GPT

Forward = Callable[..., Tensor]


@dataclass(frozen=True)
class BC(Algorithm):
    """Behaviour cloning for language environments: a policy as likely as possible to say what the data say.

    Its loss is minus the log-likelihood of the tokens that the agent chose in the data, given all
    tokens before them, meaned over the chosen tokens of the batch. What the environment said is
    read and not learned.

    Args:
        clip: largest norm of an agent's gradient; None for no clipping.
        beams: whole utterances that are compared in games whose environment fixes how long one is, see
            `evolab.population.language`; 1 for agents that choose token by token, as `agent.act` always does.

    Source: Pomerleau 1989, ALVINN; Radford et al. 2019 for the likelihood of sequences.
    """

    clip: float | None = 1.0
    beams: int = 1

    name: ClassVar[str] = "BC"
    offline: ClassVar[bool] = True
    reads_tokens: ClassVar[bool] = True
    action_spaces: ClassVar[tuple[type, ...]] = (spaces.Discrete,)
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        "lr": Hyperparameter(1e-3, RATE, Float(1e-4, 1e-2), "learning rate of the policy"),
        "batch_size": Hyperparameter(64, SHARED["batch_size"].limits, None, "episodes per update"),
    }

    def __post_init__(self) -> None:
        positive_integer("beams", self.beams)

    def network(self) -> Network:
        """What a population has where no other network was asked for."""
        return GPT()

    def check(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        """Raise where observations are no sequences of tokens, or actions no tokens.

        Raises:
            TypeError: names what fits.
        """
        if not isinstance(observation_space, spaces.MultiDiscrete) or not isinstance(
            action_space, spaces.Discrete
        ):
            raise TypeError(
                f"{self.name} needs a language environment, such as ev.envs.WordGame(); this one's observations "
                f"are {observation_space} and its actions {action_space}. Use CQN or TD3BC to learn from its data."
            )

    def roles(self, observation_space: spaces.Space, actions: Any) -> dict[str, Role]:
        """The policy alone: logits of all tokens at every position."""
        vocabulary = int(observation_space.nvec.flat[0])  # type: ignore[attr-defined]
        said = (actions.start, actions.start + actions.width)
        return {"policy": Role(observation_space, vocabulary, has_target=False, rate="lr", choices=said)}

    def scores(self, agents: AgentGroup, forward: Forward) -> Tensor:
        """How good each token would be as the next one.

        Args:
            agents: of a group.
            forward: `(name, target=False)` to that network's outputs [C, B, O] at the last position.

        Returns:
            [C, B, V]: the policy's log-probabilities, which sampling draws from.
        """
        return forward("policy").log_softmax(-1)

    def utterance_scores(self, agents: AgentGroup, likely: Tensor, token: Tensor, forward: Forward) -> Tensor:
        """How good whole utterances are.

        Args:
            agents: of a group.
            likely: [C, B, K], the policy's log-probability of each.
            token: [C, B, K], the last token of each.
            forward: `(name, target=False)` to that network's outputs [C, B, K, O] in front of it.

        Returns:
            [C, B, K]: the log-probabilities.
        """
        return likely

    def act(self, agents: AgentGroup, observation: Any) -> Tensor:
        """The next token of the highest score among those that are actions, [C, B], counted as those are.

        Pad stands behind an episode wherever it has room for another token, so the last place of an
        observation tells which token it is.
        """
        tokens = observation.long()  # [C, B, T]
        length = (tokens != tokens[..., -1:]).sum(-1)  # [C, B]
        tokens = tokens[..., : max(int(length.max()), 1)]
        last = (length - 1).clamp(min=0)[..., None, None]

        def forward(name: str, target: bool = False) -> Tensor:
            out = agents.network(name, target)(tokens)  # [C, B, T, O]
            return out.gather(2, last.expand(-1, -1, -1, out.shape[-1])).squeeze(2)

        low, high = agents.roles["policy"].choices  # type: ignore[misc]
        return self.scores(agents, forward)[..., low:high].argmax(-1)

    def update(self, agents: AgentGroup, batch: Episodes, noise: Tensor | None) -> dict[str, Tensor]:  # type: ignore[override]
        """One step on the likelihood of the chosen tokens."""
        return {"policy": self.clone(agents, batch, batch.action_mask[..., 1:])}

    def clone(self, agents: AgentGroup, batch: Episodes, weight: Tensor) -> Tensor:
        """One step of the policy on the likelihood of tokens that count `weight` [C, B, T - 1] each."""
        action, chosen = batch.tokens[..., 1:], batch.action_mask[..., 1:]

        def loss(policy: Forward) -> Tensor:
            logits = policy(batch.tokens[..., :-1], batch.length)  # [C, B, T - 1, V]
            return chosen_mean(surprise(logits, action) * weight, chosen, batch.weight)

        return agents.minimise("policy", loss, clip=self.clip)


def surprise(logits: Tensor, action: Tensor) -> Tensor:
    """Minus the log-likelihood of tokens, in nats.

    Args:
        logits: [..., V].
        action: [...], int64.

    Returns:
        [...].

    >>> surprise(torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64))
    tensor([1.3863])
    """
    taken = logits.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    return logits.logsumexp(-1) - taken


def chosen_mean(value: Tensor, chosen: Tensor, weight: Tensor | None) -> Tensor:
    """Mean over the chosen tokens of each agent's episodes.

    Args:
        value: [C, B, T].
        chosen: [C, B, T], True where the agent chose the token.
        weight: [C, B], what an episode counts; zero beyond an agent's own batch. None for 1.

    Returns:
        [C].
    """
    counts = chosen.to(value.dtype)
    if weight is not None:
        counts = counts * weight.unsqueeze(-1)
    return (counts * value).sum((-1, -2)) / counts.sum((-1, -2)).clamp(min=torch.finfo(value.dtype).tiny)
