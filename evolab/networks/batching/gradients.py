"""Steps along gradients that are written out: what the standard losses cost without autograd.

Each does what `AgentGroup.minimise` would do with its loss. Where a network keeps no record of its passes, or
can't tell the slope of its extra inputs, `minimise` does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evolab.networks.batching.adam import clip_norm_
from evolab.networks.batching.bucket import Forward, joined, part

if TYPE_CHECKING:
    from evolab.networks.batching.group import AgentGroup


def regress(
    group: AgentGroup,
    name: str,
    target: Tensor,
    weight: Tensor,
    observation: Any,
    extra: Tensor | None,
    choice: Tensor | None,
    huber: float | None,
) -> Tensor:
    """See `AgentGroup.regress`."""
    members = group.roles[name].ensemble_size
    if len(group.buckets) == 1:
        with torch.no_grad():
            done = group.buckets[0].regress(name, observation, extra, target, weight, choice, huber)
        if done is not None:
            return done
    tapes = [bucket.tape(name) for bucket in group.buckets]
    if any(tape is None for tape in tapes):
        return group.minimise(
            name,
            lambda net: squared_error(net(observation, extra), target, weight, choice, members, huber),
        )
    with torch.no_grad():
        run = joined(group.buckets, [_without_member(tape.run) for tape in tapes])
        out = run(observation, extra).unflatten(0, (len(group), members))  # [C, M, B, O]
        index = None if choice is None else choice[:, None, :, None].expand(-1, members, -1, -1)
        value = (out if index is None else out.gather(-1, index)).squeeze(-1)  # [C, M, B]
        error = value - target[:, None]
        near = error if huber is None else error.clamp(-huber, huber)
        slope = near * weight[:, None]
        losses = (slope * (error if huber is None else 2 * error - near)).sum((1, 2))
        slope = slope.mul_(2).unsqueeze(-1)
        if index is not None:
            slope = torch.zeros_like(out).scatter_(-1, index, slope)
        for bucket, tape in zip(group.buckets, tapes, strict=True):
            bucket.descend(name, tape.gradient([slope[bucket.inside].flatten(0, 1)]))
    return losses


def push(
    group: AgentGroup,
    name: str,
    judge: Callable[[Tensor], tuple[Tensor, Tensor]],
    observation: Any,
    clip: float | Tensor | None,
) -> Tensor:
    """See `AgentGroup.push`."""
    tapes = [bucket.tape(name) for bucket in group.buckets]
    if any(tape is None for tape in tapes):
        return group.minimise(name, lambda net: judge(net(observation))[0], clip)
    with torch.no_grad():
        losses, slope = judge(
            joined(group.buckets, [_without_member(tape.run) for tape in tapes])(observation)
        )
        for bucket, tape in zip(group.buckets, tapes, strict=True):
            gradient = tape.gradient([slope[bucket.inside]])
            if clip is not None:
                clip_norm_([gradient], clip[bucket.inside] if isinstance(clip, Tensor) else clip)
            bucket.descend(name, gradient)
    return losses


def climb(group: AgentGroup, name: str, critic: str, weight: Tensor, observation: Any) -> Tensor:
    """See `AgentGroup.climb`."""
    tapes = [bucket.tape(name) for bucket in group.buckets]
    if any(
        tape is None or not hasattr(bucket.bound[critic].plan, "slope") or bucket.tape(critic) is None
        for bucket, tape in zip(group.buckets, tapes, strict=True)
    ):

        def loss(policy: Forward) -> Tensor:
            value = group.network(critic)(observation, torch.tanh(policy(observation)), member=0)
            return -(weight * value.squeeze(-1)).sum(-1)

        return group.minimise(name, loss)
    losses = []
    with torch.no_grad():
        action = torch.tanh(joined(group.buckets, [_without_member(tape.run) for tape in tapes])(observation))
        grad = weight.neg().unsqueeze(-1)
        for bucket, tape in zip(group.buckets, tapes, strict=True):
            seen, own, down = part(observation, bucket), action[bucket.inside], grad[bucket.inside]
            value, slope = bucket.bound[critic].plan.slope(bucket.flat(critic), seen, own, down)
            bucket.descend(name, tape.gradient([torch.ops.aten.tanh_backward(slope, own)]))
            losses.append((down * value).sum((1, 2)))
    return losses[0] if len(losses) == 1 else torch.cat(losses)


def _without_member(run: Callable[..., Tensor]) -> Forward:
    return lambda observation=None, extra=None, member=None: run(observation, extra)


def squared_error(
    values: Tensor,
    target: Tensor,
    weight: Tensor,
    choice: Tensor | None = None,
    members: int = 1,
    huber: float | None = None,
) -> Tensor:
    """[C]: weighted squared error of values [C, (M,) B, O], linear beyond `huber`, summed over the members."""
    if choice is not None:
        index = choice.unsqueeze(-1) if members == 1 else choice[:, None, :, None].expand(-1, members, -1, -1)
        values = values.gather(-1, index)
    error = values.squeeze(-1) - (target if members == 1 else target[:, None])
    near = error if huber is None else error.detach().clamp(-huber, huber)
    square = error.square() if huber is None else near * (2 * error - near)
    return ((weight if members == 1 else weight[:, None]) * square).flatten(1).sum(-1)
