"""Noise that a deterministic policy explores with."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian(like: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
    """White noise of standard deviation `scale` [P, 1 or E, 1], in the shape of `like` [P, E, A]."""
    drawn = torch.randn(like.shape, generator=generator, device=generator.device, dtype=like.dtype)
    return drawn.to(like.device) * scale


def ornstein_uhlenbeck(
    state: Tensor, scale: Tensor, theta: float, dt: float, generator: torch.Generator
) -> Tensor:
    """Noise with inertia: one step of `state` [P, E, A], which is moved in place.

    The stationary standard deviation is scale / sqrt(2 theta), reached after about
    1 / (theta dt) steps.

    Args:
        state: [P, E, A], where the process stands.
        scale: [P, 1 or E, 1], its volatility.
        theta: pull towards zero per unit of time.
        dt: length of a step.
        generator: of the noise.

    Source: Uhlenbeck and Ornstein 1930; Lillicrap et al. 2016, section 7.
    """
    state.mul_(1 - theta * dt).add_(gaussian(state, scale * dt**0.5, generator))
    return state
