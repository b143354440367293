"""Off-policy, on-policy, offline: where an algorithm's experience comes from, and what follows from that alone."""

from __future__ import annotations

from dataclasses import dataclass

from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.buffers.rollout import RolloutBuffer


@dataclass(frozen=True)
class Regime:
    """What algorithms have in common that learn from experience of one kind.

    Attributes:
        acts: they learn by acting; False where all experience is there beforehand.
        replays: they learn while they act, from all that was stored: not from data alone, nor from their newest steps.
        buffer: the kind of their experience.
        normalisable: what can be brought to one scale; returns are measured while agents act.
        continuous: names of those that take Box actions, for a message.
        discrete: of those that take Discrete actions.
    """

    acts: bool
    replays: bool
    buffer: type[ReplayBuffer] | type[RolloutBuffer]
    normalisable: tuple[str, ...]
    continuous: str
    discrete: str


BOTH = ("observations", "returns")
OFF_POLICY = Regime(True, True, ReplayBuffer, BOTH, "TD3 or DDPG", "DQN")
ON_POLICY = Regime(True, False, RolloutBuffer, BOTH, "TD3 or DDPG", "DQN")
OFFLINE = Regime(False, False, ReplayBuffer, ("observations",), "TD3BC", "CQN")
