"""How the agents of a group want their samples drawn, by their hyperparameters, and what each sample counts."""

from __future__ import annotations

import torch
from torch import Tensor

from evolab.core.experience import Batch, Lookahead, Sampling
from evolab.networks.batching.group import AgentGroup


def sampling_of(group: AgentGroup) -> Sampling | None:
    """How a group's samples are drawn; None where all are single transitions, one like another."""

    def largest(name: str, least: float) -> float:
        return max(float(setting.get(name, least)) for setting in group.settings)

    steps, h = int(largest("n_step", 1)), group.hyper
    lookahead = None if steps == 1 else Lookahead(h["n_step"], h["discount"], steps)
    hindsight = h["hindsight"] if largest("hindsight", 0.0) > 0 else None
    priority = h["priority"] if largest("priority", 0.0) > 0 else None
    if lookahead is None and hindsight is None and priority is None:
        return None
    return Sampling(lookahead, hindsight, priority, None if priority is None else h["importance"])


def weighed(group: AgentGroup, sample: Batch, reward: Tensor) -> Tensor:
    """[P, B]: what each sample counts in its agent's mean; 1 in all, also where some count more than others.

    Schaul et al. 2016 divide by the largest, so that weights only make steps smaller. Then what is no loss, such as the
    entropy that a temperature follows, would be no mean any more; Adam does not notice the factor.

    Args:
        group: whose samples they are.
        sample: as a buffer gave it.
        reward: of it, in the table's precision and on its device.
    """
    even = group.weight(reward.shape[-1], reward)
    if sample.weight is None:
        return even
    own = torch.where(even > 0, sample.weight.to(even), 0.0)
    return own / own.sum(-1, keepdim=True)
