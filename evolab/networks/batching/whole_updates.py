"""Whole updates: what a group learns from several batches, in one call of the kernels.

Between the operations of an update the interpreter and small tensors take as long as the products of small
networks. An algorithm that says what its update is (`Algorithm.whole`) has the kernels make all of it, agent by
agent and several updates in a row; its `update` stays what it means, and what runs everywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from evolab.core.experience import Batch
from evolab.networks.batching.bucket import Bucket
from evolab.networks.kernels.td_updates import (
    MOST_ACTIONS,
    TemporalDifference,
    Trained,
    Updates,
    address,
    run,
    torch_tanh,
)
from evolab.networks.mlp.compiled_kernel import CompiledMLPKernel


class Whole(Protocol):
    """What several updates of a group have in common.

    Attributes:
        entry: the kernels' function that makes them.
        dtype: of the parameters.
        choosing: the network among whose outputs choices are.
    """

    entry: ClassVar[str]
    dtype: torch.dtype
    choosing: CompiledMLPKernel


class KernelJob(Protocol):
    """Some updates of a group, told to the kernels."""

    @property
    def whole(self) -> Whole:
        """Whose they are."""

    @property
    def told(self) -> Any:
        """To the kernels."""

    @property
    def updates(self) -> int:
        """How many."""

    @property
    def work(self) -> float:
        """Multiply-adds, roughly."""

    def losses(self) -> dict[str, list[Tensor]]:
        """By name, [P] of each update in which there was one."""


PASSES = 4
"""Multiply-adds of an update, as a multiple of a forward pass of all networks: roughly, for the number of threads."""


class WholeUpdates:
    """The updates of a group by one rule. Make one with `whole_updates`.

    Args:
        bucket: all agents of the group; its networks are perceptrons that kernels compute.
        hyper: hyperparameters by name, [P] each.
        rule: their update.
    """

    entry: ClassVar[str] = "learn"

    def __init__(self, bucket: Bucket, hyper: Mapping[str, Tensor], rule: TemporalDifference) -> None:
        self.bucket, self.hyper, self.rule = bucket, hyper, rule
        self.kernels = kernels_of(bucket, rule.networks)
        self.of_values = self.choosing = self.kernels[rule.value]
        self.dtype = bucket.flat(rule.value).dtype
        names = [*self.kernels, *rule.numbers]
        self._sizes = {name: bucket.sizes(name) for name in names}
        self._trained: dict[str | None, Trained] = {None: Trained()}  # what a rule does not have
        for name in names:
            self._trained[name] = told(bucket, name, self.kernels.get(name), self._sizes[name])
        self.work = PASSES * sum(sum(kernel.every.work) for kernel in self.kernels.values())

    def takes(self, batch: Batch) -> bool:
        """False where the kernels do not know what is in a batch."""
        return self.rule.deviations is None or (
            batch.grain is None and batch.action.shape[-1] <= MOST_ACTIONS
        )

    def job(
        self, batch: Batch, noise: Tensor | None, before: int, delay: int, sizes: Sequence[int]
    ) -> UpdateJob:
        """These updates, ready to be made.

        Args:
            batch: fields [U, P, B, ...], weights [P, B].
            noise: [U, P, B, A], of a stochastic policy [U, P, B, 2, A]; None where the rule has none.
            before: updates that the group has made.
            delay: updates of the values per update of the policy.
            sizes: [P], batch size of each agent.
        """
        rule, hyper = self.rule, self.hyper
        x, following = (
            self.of_values.encoded(one, self.dtype, 3).contiguous()
            for one in (batch.observation, batch.next_observation)
        )
        fields = batch.reward, batch.terminated, batch.weight
        reward, terminated, weight = (one.contiguous() for one in fields)
        action, noise = batch.action.contiguous(), None if noise is None else noise.contiguous()
        ahead = None if batch.discount is None else batch.discount.contiguous()
        permitted = None if batch.next_action_mask is None else batch.next_action_mask.contiguous()
        updates, agents, length = reward.shape
        members = self.of_values.role.ensemble_size
        if rule.policy is None:
            moves, delay = 0, 1
        else:
            moves = (before + updates) // delay - before // delay
        losses = batch.reward.new_empty(updates, agents, members)
        values = batch.reward.new_empty(moves, agents, len(rule.noted) or length)
        counts = self._own(sizes, length)
        acts = rule.policy is not None
        about = Updates(
            *(agents, updates, length, x.shape[-1]),
            self.of_values.role.extra
            if rule.policy
            else self.of_values.role.outputs // (rule.quantiles or 1),
            *(before, delay, int(rule.double), None if counts is None else counts.ctypes.data),
            *(x.data_ptr(), following.data_ptr()),
            *((action.data_ptr(), None) if acts else (None, action.data_ptr())),
            *(reward.data_ptr(), terminated.data_ptr(), weight.data_ptr()),
            *(address(noise), address(hyper["discount"]), address(ahead), address(hyper["tau"])),
            *(address(hyper[name]) if rule.smoothed else None for name in ("target_noise", "noise_clip")),
            *(rule.huber or 0.0, torch_tanh(self.dtype)),
            *(self._trained[rule.value], self._trained[rule.policy]),
            *(losses.data_ptr(), values.data_ptr()),
            self._trained[rule.temperature],
            *(address(hyper["entropy_per_action"]) if rule.temperature else None, *rule.limits),
            *(
                rule.quantiles or 0,
                address(hyper[rule.dropped]) if rule.dropped else None,
                address(batch.error),
                address(permitted),
                address(hyper[rule.cloning]) if rule.cloning else None,
            ),
            *(self._trained[rule.states], self._trained[rule.deviations]),
            *(address(hyper[name]) if rule.states else None for name in ("expectile", "advantage_weight")),
        )
        held = x, following, reward, terminated, action, noise, ahead, permitted, counts, batch.error
        return UpdateJob(self, about, losses, values, weight, held)

    def _own(self, sizes: Sequence[int], length: int) -> np.ndarray | None:
        """[P], how many of so many samples are an agent's own; None for all."""
        if min(sizes) >= min(length, max(sizes)):
            return None
        return np.minimum(np.array(sizes, dtype=np.int64), length)


class UpdateJob:
    """Some updates of a group, told to the kernels.

    Attributes:
        whole: whose they are.
        told: to the kernels.
        updates: how many.
    """

    def __init__(
        self, whole: WholeUpdates, told: Updates, losses: Tensor, values: Tensor, weight: Tensor, held: object
    ) -> None:
        self.whole, self.told, self.updates = whole, told, int(told.updates)
        self._losses, self._values, self._weight = losses, values, weight
        self._held = held  # what the kernels read has to live until they are done

    @property
    def work(self) -> float:
        """Multiply-adds, roughly."""
        return self.whole.work * self.told.batch * self.told.updates

    def losses(self) -> dict[str, list[Tensor]]:
        """By name, [P] of each update in which there was one."""
        rule = self.whole.rule
        each = self._losses.squeeze(-1) if self._losses.shape[-1] == 1 else self._losses.sum(-1)
        found = {rule.value: list(each.unbind(0))}
        for place, name in enumerate(rule.noted):
            found[name] = list(self._values[..., place].unbind(0))
        if rule.policy is not None and not rule.noted and len(self._values):
            found[rule.policy] = list((self._weight.neg() * self._values).sum(2).unbind(0))
        return found


def whole_updates(
    buckets: Sequence[Bucket], hyper: Mapping[str, Tensor], rule: TemporalDifference
) -> WholeUpdates | None:
    """The updates of a group by a rule in one call; None where the kernels do not compute all of its networks."""
    if len(buckets) > 1:
        return None
    (bucket,) = buckets
    if not kernels_of(bucket, rule.networks):
        return None
    for name in (*rule.networks, *rule.numbers):
        adam, target = (
            bucket.optimizer(name),
            f"{name}.target" if bucket.bound[name].role.has_target else name,
        )
        if not adam.even or bucket.flat(target).stride() != adam.state.parameters.stride():
            return None
    return WholeUpdates(bucket, hyper, rule)


def make(jobs: Sequence[KernelJob]) -> None:
    """Make the updates of several groups, their agents spread over threads."""
    whole = jobs[0].whole
    work = sum(job.work for job in jobs)
    run(whole.dtype, whole.entry, [job.told for job in jobs], work, whole.choosing.every)


def kernels_of(bucket: Bucket, names: Sequence[str]) -> dict[str, CompiledMLPKernel]:
    """The compiled kernels of these networks by name; none where one of them is computed otherwise."""
    found: dict[str, CompiledMLPKernel] = {}
    for name in names:
        kernel = bucket.bound[name].kernel
        if not isinstance(kernel, CompiledMLPKernel):
            return {}
        found[name] = kernel
    return found


def told(bucket: Bucket, name: str, kernel: CompiledMLPKernel | None, sizes: np.ndarray) -> Trained:
    """What moves under one name, as the kernels are told of it; `kernel` is None for numbers, `sizes` have to live on."""
    state, role = bucket.optimizer(name).state, bucket.bound[name].role
    return Trained(
        None if kernel is None else kernel.every.plan_address,
        *(role.ensemble_size, state.parameters.stride(1), state.parameters.data_ptr()),
        bucket.flat(f"{name}.target").data_ptr() if role.has_target else None,
        *(sizes.ctypes.data, state.mean.data_ptr(), state.square.data_ptr()),
        *(state.count.data_ptr(), state.rate.data_ptr()),
    )
