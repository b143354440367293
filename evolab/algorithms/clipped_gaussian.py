"""Likelihood of Gaussian actions that were clipped to their bounds, or rounded to whole numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

EDGE = 1e-6  # how near to a bound, in [-1, 1], an action counts as clipped: a round trip through float32


def clipped_gaussian(
    mean: Tensor, spread: Tensor, action: Tensor, grain: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Log-likelihood of Gaussian draws that were clipped to [-1, 1], and the entropy before clipping.

    Args:
        mean: [P, B, A] in [-1, 1].
        spread: [P, 1, A], logarithms of the standard deviations.
        action: [P, B, A] in [-1, 1].
        grain: [A], for whole numbers half of what each takes of [-1, 1], 0 for real ones; None where all are real.

    Returns:
        log-density, or log-probability of lying beyond the bound where an entry is at one, or of
        all draws that become the same whole number; summed over the entries, [P, B]. Entropy in nats, [P, B].

    Source: Fujita and Maeda 2018, Clipped Action Policy Gradient.
    """
    deviation = spread.exp()
    inside = -0.5 * ((action - mean) / deviation).square() - spread - 0.5 * math.log(2 * math.pi)
    beyond = torch.special.log_ndtr((action.sign() * mean - 1) / deviation)
    each = torch.where(action.abs() >= 1 - EDGE, beyond, inside)
    if grain is not None:
        whole = grain > 0
        shares = share_of_gaussian(mean, deviation, action, torch.where(whole, grain, torch.ones_like(grain)))
        each = torch.where(whole, shares, each)
    log_prob = each.sum(-1)
    entropy = (spread + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)  # [P, 1]
    return log_prob, entropy.expand_as(log_prob)


def share_of_gaussian(mean: Tensor, deviation: Tensor, action: Tensor, grain: Tensor) -> Tensor:
    """Log-probability of a draw within `grain` of `action`, [P, B, A]; the outer shares reach to infinity."""
    low, high = (action - grain - mean) / deviation, (action + grain - mean) / deviation
    # Both ends on the side where the distribution function is small: 1 - 1e-9 has no logarithm in float32.
    turned = low + high > 0
    near, far = torch.where(turned, -low, high), torch.where(turned, -high, low)
    above, below = torch.special.log_ndtr(near), torch.special.log_ndtr(far)
    # A narrow share is the density times its width; the difference of its ends would be rounded away.
    width = (2 * grain / deviation).expand_as(low)
    narrow = width < 1e-2
    gap = torch.where(narrow, -torch.ones_like(above), below - above)
    wide = above + torch.log(-torch.expm1(gap))
    density = -0.5 * ((low + high) / 2).square() - 0.5 * math.log(2 * math.pi) + torch.log(width)
    inside = torch.where(narrow, density, wide)
    first, last = action - grain <= -1 + EDGE, action + grain >= 1 - EDGE
    tail = torch.special.log_ndtr(torch.where(first, high, -low))
    whole = torch.where(first & last, torch.zeros_like(tail), tail)  # the only value there is
    return torch.where(first | last, whole, inside)
