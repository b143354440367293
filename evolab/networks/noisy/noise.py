"""Noise for noisy layers: drawn for a group of agents, and put into their weights for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from evolab.networks.batching.group import AgentGroup


def drawn(agents: AgentGroup, name: str, count: int, generator: torch.Generator) -> Tensor:
    """[P, U, N]: standard Gaussian numbers for so many disturbances of a network, as many as its largest agent needs.

    Args:
        agents: of a group.
        name: of the network.
        count: U.
        generator: of the noise.
    """
    width = max(bucket.bound[name].kernel.noises for bucket in agents.buckets)
    like = agents.flat(name)
    shape = len(agents), count, width
    return torch.randn(shape, generator=generator, device=generator.device, dtype=like.dtype).to(like.device)


@contextmanager
def disturbed(agents: AgentGroup, name: str, noise: Tensor, scale: Tensor) -> Iterator[None]:
    """Inside, a network computes with noise in its weights; outside with the means.

    A weight's noise is `f(e) f(e')` of the numbers of its input and its output, a bias's `f(e')`, where `f(e)` is
    `sign(e) sqrt(|e|)`: so a layer needs as many numbers as it has inputs and outputs.

    Args:
        agents: of a group.
        name: of the network, which has noisy layers.
        noise: [P, N] as `drawn` gives it: the same for all samples of an agent.
        scale: [P], what the noise of each agent is multiplied by.

    Source: Fortunato et al. 2018, Noisy Networks for Exploration, eq. 10 and 11.
    """
    factors = noise.sign() * noise.abs().sqrt()
    for bucket in agents.buckets:
        bucket.bound[name].kernel.disturb(factors[bucket.inside], scale[bucket.inside])
    try:
        yield
    finally:
        for bucket in agents.buckets:
            bucket.bound[name].kernel.disturb(None)
