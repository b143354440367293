"""ILQL: implicit Q-learning for language, a cloned policy that is corrected by values from the same data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import CALLS, CHANGED
from evolab.algorithms.bc import BC
from evolab.algorithms.hyperparameters import RATE, SHARED, Hyperparameter
from evolab.algorithms.losses import chosen_mean, surprise
from evolab.algorithms.tokens import Forward
from evolab.core.actions import Actions
from evolab.core.experience import Episodes
from evolab.core.ranges import Float
from evolab.core.readonly import frozen_options
from evolab.networks.base import Role
from evolab.networks.batching.group import AgentGroup

LARGEST_WEIGHT = 20.0
"""Cap of the exponential weight of the policy's loss, as in implicit Q-learning's own code (100 there)."""

LARGEST_ADVANTAGE = 10.0
"""Cap of the advantage beside which a log-probability still counts when decoding."""


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class ILQL(BC):
    """Implicit language Q-learning for language environments.

    Beside the policy stands a second transformer with three heads: Q1 and Q2 of every token, and V.
    Q learns the reward and the next choice's V; V learns an upper expectile, over the tokens that
    the data chose, of the smaller of the two target Qs, so that no action outside the data is ever
    valued. A further term holds Q's softmax to the data. The policy is cloned with a weight that
    grows with the advantage, and an agent chooses the token with the highest

        log pi(a | s) + beta * (min Q(s, a) - V(s)).

    `monte_carlo` mixes the return that really followed into Q's target, which needs no
    bootstrapping and values the policy of the data: one step of improvement, and no more.
    Where `beams` whole utterances are compared, the advantage is that of an utterance, and `support`
    leaves out those that the policy finds too unlikely.

    Args:
        train_policy: False leaves the policy as it is, such as one that `load=` brought along.

    Source: Snell et al. 2022, Offline RL for natural language generation with implicit language
    Q-learning, section 4; Kostrikov et al. 2022, Implicit Q-learning, eqs. 5 to 7; Kumar et al. 2020,
    Conservative Q-learning, eq. 4; Nair et al. 2020, AWAC, eq. 13; Fujimoto et al. 2019, Benchmarking batch
    deep reinforcement learning algorithms, eq. 7 for `support`.
    """

    train_policy: bool = True

    name: ClassVar[str] = "ILQL"
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        **BC.hyperparameters,
        "lr_value": Hyperparameter(1e-3, RATE, Float(1e-4, 1e-2), "learning rate of Q and V"),
        "discount": Hyperparameter(
            0.99, SHARED["discount"].limits, None, "weight of the next choice's value", complement=True
        ),
        "tau": SHARED["tau"],
        "expectile": Hyperparameter(
            0.7,
            Float(0.01, 0.999, log=False),
            Float(0.5, 0.95, log=False),
            "of the data's choices that V stands for",
        ),
        "cql_weight": Hyperparameter(
            0.01, Float(0.0, 1e3, log=False), Float(1e-4, 1.0), "weight of the term that holds Q to the data"
        ),
        "awac_weight": Hyperparameter(
            0.0, Float(0.0, 1e3, log=False), None, "exponent per unit of advantage in the policy's weight"
        ),
        "monte_carlo": Hyperparameter(
            0.0, Float(0.0, 1.0, log=False), None, "share of the return that followed in Q's target"
        ),
        "beta": Hyperparameter(
            4.0,
            Float(0.0, 1e3, log=False),
            Float(0.5, 64.0),
            "what an advantage of 1 counts in decoding, in nats",
        ),
        "support": Hyperparameter(
            0.0,
            Float(0.0, 1.0, log=False),
            None,
            "of the likeliest utterance's probability that another one needs to be said",
        ),
    }

    def roles(self, observation_space: spaces.Space, actions: Actions) -> dict[str, Role]:
        """The policy, and "value": Q1 and Q2 of all tokens and V, with a target."""
        roles = super().roles(observation_space, actions)
        outputs = 2 * roles["policy"].outputs + 1
        return {**roles, "value": Role(observation_space, outputs, rate="lr_value")}

    def scores(self, agents: AgentGroup, forward: Forward) -> Tensor:
        """[P, B, V]: log-probabilities, moved by beta times the advantage that the target network sees."""
        first, second, state = heads(forward("value", target=True))
        advantage = torch.minimum(first, second) - state.unsqueeze(-1)
        advantage = advantage.clamp(-LARGEST_ADVANTAGE, LARGEST_ADVANTAGE)
        return forward("policy").log_softmax(-1) + agents.hyper["beta"][:, None, None] * advantage

    def utterance_scores(self, agents: AgentGroup, likely: Tensor, token: Tensor, forward: Forward) -> Tensor:
        """[P, B, K]: log-probabilities, moved by beta times the Q of the last token.

        Nothing is earned within an utterance, so that the Q of its last token is its own, and V the same
        for all, which are compared. Those less likely than `support` times the likeliest are left out.
        """
        first, second, _ = heads(forward("value", target=True))
        q = torch.minimum(_of(first, token), _of(second, token))
        beta, support = (agents.hyper[name][:, None, None] for name in ("beta", "support"))
        best = likely.amax(-1, keepdim=True)
        score = likely + beta * q
        return score.masked_fill(likely < best + support.log(), float("-inf"))

    def update(self, agents: AgentGroup, batch: Episodes, noise: Tensor | None) -> dict[str, Tensor]:
        """One step of Q and V, their targets follow, then one of the policy."""
        h = agents.hyper
        action, chosen = batch.tokens[..., 1:], batch.action_mask[..., 1:]  # [P, B, T - 1]
        with torch.no_grad():
            slow = [
                head[..., :-1, :]
                for head in heads(agents.network("value", target=True)(batch.tokens, batch.length))[:2]
            ]
            slow_q = torch.minimum(*(_of(head, action) for head in slow))
            following = returns_to_go(batch.reward[..., 1:], chosen, h["discount"][:, None])
        parts: dict[str, Tensor] = {}

        def loss(value: Forward) -> Tensor:
            first, second, state = heads(value(batch.tokens, batch.length))  # [P, B, T, V] twice, [P, B, T]
            with torch.no_grad():
                after = h["discount"][:, None, None] * next_value(state, batch)
                share = h["monte_carlo"][:, None, None]
                target = (1 - share) * (batch.reward[..., 1:] + after) + share * following
            error = slow_q - state[..., :-1]
            parts["advantage"] = error.detach()
            squared = expectile_error(error, h["expectile"][:, None, None])
            for q in (first[..., :-1, :], second[..., :-1, :]):
                squared = squared + (_of(q, action) - target).square()
                squared = squared + h["cql_weight"][:, None, None] * surprise(q, action)
            return chosen_mean(squared, chosen, batch.weight)

        losses = {"value": agents.minimise("value", loss, clip=self.clip)}
        agents.polyak_update("value")
        if not self.train_policy:
            return losses
        weight = (h["awac_weight"][:, None, None] * parts["advantage"]).exp().clamp(max=LARGEST_WEIGHT)
        return {"policy": self.clone(agents, batch, weight), **losses}


def heads(out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Q1 [..., V], Q2 [..., V] and V [...] from the value network's outputs [..., 2V + 1]."""
    size = out.shape[-1] // 2
    return out[..., :size], out[..., size : 2 * size], out[..., -1]


def _of(q: Tensor, action: Tensor) -> Tensor:
    return q.gather(-1, action.unsqueeze(-1)).squeeze(-1)


def expectile_error(error: Tensor, expectile: Tensor) -> Tensor:
    """Asymmetric squared error: errors above zero weigh `expectile`, the rest `1 - expectile`.

    Args:
        error: [P, B, T], target minus prediction, in units of return.
        expectile: broadcastable, strictly between 0 and 1.

    Source: Kostrikov et al. 2022, Implicit Q-learning, eq. 5.

    >>> expectile_error(torch.tensor([1.0, -1.0]), torch.tensor(0.75))
    tensor([0.7500, 0.2500])
    """
    return torch.where(error > 0, expectile, 1 - expectile) * error.square()


def returns_to_go(reward: Tensor, chosen: Tensor, discount: Tensor) -> Tensor:
    """Return that followed every chosen token, discounted once per choice.

    Args:
        reward: [P, B, T], zero where nothing was chosen.
        chosen: [P, B, T], bool.
        discount: [P, 1].

    Returns:
        [P, B, T]; where nothing was chosen, that of the next choice.

    >>> returns_to_go(torch.tensor([[[0.0, 1.0, 0.0, 1.0]]]), torch.tensor([[[True, True, False, True]]]),
    ...               torch.tensor([[0.5]]))
    tensor([[[0.7500, 1.5000, 1.0000, 1.0000]]])
    """
    total = torch.zeros_like(reward[..., 0])
    parts = []
    for time in range(reward.shape[-1] - 1, -1, -1):
        total = torch.where(chosen[..., time], reward[..., time] + discount * total, total)
        parts.append(total)
    return torch.stack(parts[::-1], -1)


def next_value(state: Tensor, batch: Episodes) -> Tensor:
    """The value of where each chosen token leads: V before the next choice, 0 where the episode ended.

    An episode that was cut goes on from the value behind its last token.

    Args:
        state: [P, B, T], V after each token.
        batch: tokens, what was chosen and whether it terminated.

    Returns:
        [P, B, T - 1], at the places of tokens 1 to T - 1.
    """
    length = batch.tokens.shape[-1]
    place = torch.arange(length, device=state.device).expand(batch.tokens.shape)
    # The place of the next choice behind each token; `length` where there is none.
    later = torch.where(batch.action_mask, place, length).flip(-1).cummin(-1).values.flip(-1)
    upcoming = torch.cat([later[..., 2:], torch.full_like(later[..., :1], length)], -1)  # [P, B, T - 1]
    ended = upcoming == length
    final = (batch.length - 1).clamp(min=0).unsqueeze(-1)  # [P, B, 1]
    source = torch.where(ended, final, upcoming - 1)
    bootstrapped = state.gather(-1, source)
    return torch.where(
        ended & (batch.terminated.unsqueeze(-1) > 0), torch.zeros_like(bootstrapped), bootstrapped
    )
