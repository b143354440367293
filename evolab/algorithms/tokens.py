"""The contract of algorithms over tokens: how good the next token is, and whole utterances."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import Algorithm
from evolab.core.trees import Tree
from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.buffers.rollout import RolloutBuffer
from evolab.data.buffers.token_buffer import TokenBuffer
from evolab.networks.base import Network
from evolab.networks.batching.group import AgentGroup
from evolab.networks.gpt.gpt import GPT

Forward = Callable[..., Tensor]


class TokenAlgorithm(Algorithm):
    """A learning rule for language environments, from recorded episodes of tokens (`Episodes`).

    Attributes:
        beams: whole utterances that are compared where the environment fixes how long one is; 1 for agents
            that choose token by token.
    """

    beams: int = 1
    offline: ClassVar[bool] = True
    reads_tokens: ClassVar[bool] = True
    keeps_transitions = False
    action_spaces: ClassVar[tuple[type, ...]] = (spaces.Discrete,)

    def network(self) -> Network:
        """What a population has where no other network was asked for."""
        return GPT()

    def buffer(self, asked: ReplayBuffer | RolloutBuffer | None) -> TokenBuffer:
        """Whole episodes, as many as a buffer that was asked for would hold."""
        return TokenBuffer(asked.capacity if isinstance(asked, ReplayBuffer) else None)

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

    @abstractmethod
    def scores(self, agents: AgentGroup, forward: Forward) -> Tensor:
        """How good each token would be as the next one.

        Args:
            agents: of a group.
            forward: `(name, target=False)` to that network's outputs [P, B, O] at the last position.

        Returns:
            [P, B, V].
        """

    def utterance_scores(self, agents: AgentGroup, likely: Tensor, token: Tensor, forward: Forward) -> Tensor:
        """How good whole utterances are: as likely as the policy finds them, unless a subclass says otherwise.

        Args:
            agents: of a group.
            likely: [P, B, K], the policy's log-probability of each.
            token: [P, B, K], the last token of each.
            forward: `(name, target=False)` to that network's outputs [P, B, K, O] in front of it.

        Returns:
            [P, B, K].
        """
        return likely

    def act(self, agents: AgentGroup, observation: Tree) -> Tensor:
        """The next token of the highest score among those that are actions, [P, B], counted as those are.

        Pad stands behind an episode of an environment wherever it has room for another token, so the last place
        of a whole observation tells which token it is. A shorter one is the tokens so far, without pad.
        """
        assert isinstance(observation, Tensor)
        tokens = observation.long()  # [P, B, T]
        whole = tokens.shape[-1] == agents.roles["policy"].observation_space.shape[0]  # type: ignore[index]
        behind = tokens == tokens[..., -1:] if whole else torch.zeros_like(tokens, dtype=torch.bool)
        length = (~behind).sum(-1)  # [P, B]
        tokens = tokens[..., : max(int(length.max()), 1)]
        last = (length - 1).clamp(min=0)[..., None, None]

        def forward(name: str, target: bool = False) -> Tensor:
            out = agents.network(name, target)(tokens)  # [P, B, T, O]
            return out.gather(2, last.expand(-1, -1, -1, out.shape[-1])).squeeze(2)

        low, high = agents.roles["policy"].choices  # type: ignore[misc]
        return self.scores(agents, forward)[..., low:high].argmax(-1)


def token_algorithm(algorithm: Algorithm) -> TokenAlgorithm:
    """The same algorithm, known to read tokens.

    Raises:
        TypeError: it does not.
    """
    if not isinstance(algorithm, TokenAlgorithm):
        raise TypeError(f"{algorithm.name} reads no tokens; use BC or ILQL.")
    return algorithm
