"""How the agents of a group want their samples drawn, by their hyperparameters."""

from __future__ import annotations

from evolab.core.experience import Lookahead, Sampling
from evolab.networks.batching.group import AgentGroup


def sampling_of(group: AgentGroup) -> Sampling | None:
    """How a group's samples are drawn; None where all are single transitions, one like another."""

    def largest(name: str, least: float) -> float:
        return max(float(setting.get(name, least)) for setting in group.settings)

    steps, h = int(largest("n_step", 1)), group.hyper
    lookahead = None if steps == 1 else Lookahead(h["n_step"], h["discount"], steps)
    hindsight = h["hindsight"] if largest("hindsight", 0.0) > 0 else None
    return None if lookahead is None and hindsight is None else Sampling(lookahead, hindsight)
