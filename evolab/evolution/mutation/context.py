"""What a mutation may know besides the agent that it changes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from evolab.core.ranges import Range
from evolab.networks.base import Network, Role


@dataclass(frozen=True)
class Context:
    """The surroundings of a mutation.

    Attributes:
        network: what the genes belong to.
        roles: the agent's networks by name, the policy first.
        search_space: ranges of the hyperparameters that evolve.
        sd: scale of noise on weights, relative to each weight.
        generator: for draws of tensors.
        resample: share of the changes of a hyperparameter that draw it anew from its range.
        together: hyperparameters change all at once, not one of them.
    """

    network: Network
    roles: dict[str, Role]
    search_space: dict[str, Range]
    sd: float
    generator: torch.Generator
    resample: float = 0.0
    together: bool = False
