"""Whole rollouts: everything that a group learns from its own newest steps, in one call of the kernels.

What the acting policy made of the steps, their advantages, and every minibatch of every pass are small operations,
between which the interpreter takes longer than they do. Agents share nothing, so each is a thread's from its first
minibatch to its last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from evolab.core.experience import Batch
from evolab.networks.batching.bucket import Bucket
from evolab.networks.batching.whole_updates import WholeUpdates, kernels_of, told, whole_updates
from evolab.networks.kernels.rollout_updates import LOSSES, ClippedPolicyGradient, Rollouts
from evolab.networks.kernels.td_updates import MOST_ACTIONS, TemporalDifference, Trained, address, torch_tanh

Rule = TemporalDifference | ClippedPolicyGradient
"""What an update is, as the kernels know it."""

PASSES = 3
"""Multiply-adds of a minibatch, as a multiple of a forward pass of both networks: roughly, for the number of threads."""


class WholeRollouts:
    """What a group learns from rollouts by one rule. Make one with `whole_rollouts`.

    Args:
        bucket: all agents of the group; its networks are perceptrons that kernels compute.
        hyper: hyperparameters by name, [P] each.
        rule: their update.
    """

    entry: ClassVar[str] = "learn_rollouts"

    def __init__(self, bucket: Bucket, hyper: Mapping[str, Tensor], rule: ClippedPolicyGradient) -> None:
        self.bucket, self.hyper, self.rule = bucket, hyper, rule
        self.kernels = kernels_of(bucket, rule.networks)
        self.of_values, self.choosing = self.kernels[rule.value], self.kernels[rule.policy]
        self.dtype = bucket.flat(rule.value).dtype
        self._drawn = rule.deviations in bucket.bound
        names = _names(bucket, rule)
        self._sizes = {name: bucket.sizes(name) for name in names}
        self._trained = {
            name: told(bucket, name, self.kernels.get(name), self._sizes[name]) for name in names
        }
        self.work = PASSES * sum(sum(kernel.every.work) for kernel in self.kernels.values())

    def takes(self, batch: Batch) -> bool:
        """False where the kernels do not know what is in a rollout."""
        plain = batch.grain is None and batch.action_mask is None and batch.remembered is None
        return plain and (not self._drawn or batch.action.shape[-1] <= MOST_ACTIONS)

    def job(
        self, batch: Batch, ended: Tensor, valid: Tensor, environments: int, order: Tensor, parts: int
    ) -> RolloutJob:
        """All passes over a rollout, ready to be made.

        Args:
            batch: fields [P, B, ...], steps of the agents in `environments` side by side.
            ended: [P, B], True where the next step belongs to another episode.
            valid: [P, B], False where a step is no transition.
            environments: E.
            order: [epochs, P, B], in which each pass takes the steps.
            parts: minibatches of a pass.
        """
        rule, hyper = self.rule, self.hyper
        x, following = (
            self.of_values.encoded(one, self.dtype, 2).contiguous()
            for one in (batch.observation, batch.next_observation)
        )
        fields = batch.reward, batch.terminated, ended.to(self.dtype), valid.to(self.dtype)
        reward, terminated, ended, valid = (one.contiguous() for one in fields)
        action, order = batch.action.contiguous(), order.contiguous()
        epochs, agents, length = order.shape
        drawn = self._drawn
        losses = reward.new_empty(epochs * parts, agents, len(LOSSES))
        about = Rollouts(
            *(agents, length, environments, x.shape[-1], action.shape[-1] if drawn else 0, epochs, parts),
            *(x.data_ptr(), following.data_ptr()),
            *((action.data_ptr(), None) if drawn else (None, action.data_ptr())),
            *(order.data_ptr(), reward.data_ptr(), terminated.data_ptr(), ended.data_ptr(), valid.data_ptr()),
            *(address(hyper[name]) for name in ("discount", "gae_lambda", "clip", "entropy_coefficient")),
            *(address(hyper[name]) for name in ("value_coefficient", "max_grad_norm")),
            *(torch_tanh(self.dtype), self._trained[rule.policy], self._trained[rule.value]),
            *(self._trained.get(rule.deviations, Trained()), losses.data_ptr()),
        )
        held = x, following, reward, terminated, ended, valid, action, order
        return RolloutJob(self, about, losses, held)


class RolloutJob:
    """A group's passes over its rollouts, told to the kernels.

    Attributes:
        whole: whose they are.
        told: to the kernels.
        updates: minibatches of all passes.
    """

    def __init__(self, whole: WholeRollouts, told: Rollouts, losses: Tensor, held: object) -> None:
        self.whole, self.told, self.updates = whole, told, len(losses)
        self._losses = losses
        self._held = held  # what the kernels read has to live until they are done

    @property
    def work(self) -> float:
        """Multiply-adds, roughly."""
        return self.whole.work * self.told.batch * self.told.epochs

    def losses(self) -> dict[str, list[Tensor]]:
        """By name, [P] of each minibatch."""
        return {name: list(self._losses[..., place].unbind(0)) for place, name in enumerate(LOSSES)}


def whole_rollouts(
    buckets: Sequence[Bucket], hyper: Mapping[str, Tensor], rule: ClippedPolicyGradient
) -> WholeRollouts | None:
    """What a group learns from rollouts in one call; None where the kernels do not compute all of its networks."""
    if len(buckets) > 1 or not kernels_of(buckets[0], rule.networks):
        return None
    (bucket,) = buckets
    even = all(bucket.optimizer(name).even for name in _names(bucket, rule))
    return WholeRollouts(bucket, hyper, rule) if even and not bucket.bound[rule.policy].role.parts else None


def by_kernels(
    buckets: Sequence[Bucket], hyper: Mapping[str, Tensor], rule: Rule
) -> WholeUpdates | WholeRollouts | None:
    """What a group learns by a rule of either kind."""
    if isinstance(rule, TemporalDifference):
        return whole_updates(buckets, hyper, rule)
    return whole_rollouts(buckets, hyper, rule)


def orders(epochs: int, agents: int, length: int, generator: torch.Generator) -> Tensor:
    """[epochs, P, B]: in which order each pass takes the steps of each agent."""
    each = (torch.rand((agents, length), generator=generator, device=generator.device) for _ in range(epochs))
    return torch.stack([one.argsort(1) for one in each])


def _names(bucket: Bucket, rule: ClippedPolicyGradient) -> list[str]:
    """What moves."""
    return [name for name in (*rule.networks, rule.deviations) if name in bucket.bound]
