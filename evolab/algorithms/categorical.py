"""Categorical policies: one choice among all outputs, or several choices at once, each among outputs of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from evolab.core.masks import lowest, masked


def logits_of(out: Tensor, parts: Sequence[int] = (), mask: Tensor | None = None) -> Tensor:
    """Logits of one choice [..., A], or of several [..., K, n], n the most options that one of them has.

    Args:
        out: [..., A], the outputs of a network.
        parts: K, how many of the A belong to each of several choices; empty for one choice.
        mask: [..., A], False for options that are forbidden; None where none is.

    Returns:
        logits that are `lowest` where there is nothing to choose.

    >>> logits_of(torch.tensor([1.0, 2.0, 3.0, 4.0]), (2, 2))
    tensor([[1., 2.],
            [3., 4.]])
    """
    out = masked(out, mask)
    if not parts:
        return out
    widest = max(parts)
    if widest == min(parts):
        return out.unflatten(-1, (len(parts), widest))
    fill = lowest(out.dtype)
    each = [F.pad(own, (0, widest - own.shape[-1]), value=fill) for own in out.split(list(parts), -1)]
    return torch.stack(each, -2)


def drawn(logits: Tensor, several: bool, masks: bool, generator: torch.Generator) -> Tensor:
    """Options drawn by their probabilities, [...] of [..., n].

    Args:
        logits: of `logits_of`.
        several: they are of several choices, which may have fewer options than n.
        masks: some options may be forbidden.
        generator: of the draw.
    """
    clocks = torch.empty(logits.shape, device=generator.device, dtype=logits.dtype)
    # The first of competing exponential clocks with rates p rings at i with probability p_i.
    clocks = clocks.exponential_(generator=generator).to(logits.device)
    first = logits.softmax(-1) / clocks
    if several or masks:  # an agent that has diverged, whose probabilities are NaN, keeps to what there is
        first = first.masked_fill(logits == lowest(logits.dtype), -1.0)
    return first.argmax(-1)


def likelihood(logits: Tensor, action: Tensor, several: bool) -> tuple[Tensor, Tensor]:
    """Log-probability of actions and the policy's entropy, in nats, of several choices together.

    Args:
        logits: [..., n], or [..., K, n] of several choices, as `logits_of` gives them.
        action: [...], or [..., K].
        several: sum over the choices.

    >>> likelihood(torch.zeros(2, 4), torch.tensor([0, 3]), several=True)
    (tensor(-2.7726), tensor(2.7726))
    """
    log_probs = logits.log_softmax(-1)
    log_prob = log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    return (log_prob.sum(-1), entropy.sum(-1)) if several else (log_prob, entropy)
