"""A group: a run of agents that make their updates together.

An algorithm sees a group, never the table: hyperparameters are [C], networks map [C, B, ...],
and `minimise` is one optimizer step of every agent in it. Its networks are computed bucket by
bucket, each bucket as wide and deep as its own largest agent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from evolab.networks.base import Layout, Network, Role
from evolab.networks.batching.adam import clip_norm_
from evolab.networks.batching.bucket import Bound, Bucket, Forward, joined, tracked_pass
from evolab.networks.batching.cuda_graphs import Recordings
from evolab.networks.batching.gradients import climb, push, regress


class AgentGroup:
    """Agents `start` to `stop` of a population.

    Attributes:
        buckets: stretches of agents that share a layout.
        hyper: hyperparameters by name, [C] each.
        learn_step: environment steps of an agent per update.
        batch: B, the largest batch size in the group.
        weight: [C, B], 1 / batch size where a sample is the agent's own, 0 beyond it.
        updates: updates since the last plan; decides when a delayed policy is due.
        credit: environment steps not yet answered by updates.
        recordings: its updates as CUDA graphs.
    """

    def __init__(
        self,
        table: Mapping[str, Tensor],
        hyper: Mapping[str, Tensor],
        network: Network,
        roles: Mapping[str, Role],
        start: int,
        genes: Sequence[Any],
        settings: Sequence[Mapping[str, Any]],
        cuts: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        """`cuts` are (start, stop) of each bucket within the group; None for one bucket."""
        self.start, self.stop = start, start + len(genes)
        self.genes, self.roles = list(genes), roles
        self._table = table
        self.hyper = {name: values[self.start : self.stop] for name, values in hyper.items()}
        self.settings = [dict(setting) for setting in settings]
        self.buckets = [
            Bucket(table, hyper, network, roles, genes[a:b], start + a, a)
            for a, b in cuts or [(0, len(genes))]
        ]
        self.learn_step = int(settings[0].get("learn_step", 1))
        self.policy_delay = int(settings[0].get("policy_delay", 1))
        self.sizes = [int(setting.get("batch_size", 1)) for setting in settings]
        self.batch = max(self.sizes)
        self.updates = 0
        self.credit = 0.0
        self.recordings = Recordings()
        self._weights: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}
        self._views: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def rows(self) -> slice:
        """Where this group lies along P."""
        return slice(self.start, self.stop)

    @property
    def bound(self) -> dict[str, Bound]:
        """The roles of the only bucket, as networks have them whose agents are never cut into several."""
        (bucket,) = self.buckets
        return bucket.bound

    def layout(self, name: str, row: int) -> Layout:
        """How the row of one agent, counted within the group, is laid out."""
        bucket = next(bucket for bucket in self.buckets if row < bucket.inside.stop)
        return bucket.bound[name].layouts[row - bucket.inside.start]

    def flat(self, name: str) -> Tensor:
        """[C, M, N]: rows of the table, cut to this group's largest layout; shares the table's memory."""
        view = self._views.get(name)
        if view is None:
            role = name.split(".", 1)[0]
            size = max(bucket.bound[role].size for bucket in self.buckets)
            view = self._views[name] = self._table[name][self.start : self.stop, :, :size]
        return view

    def weight(self, length: int, like: Tensor) -> Tensor:
        """[C, B]: the weight of each of `length` samples in its agent's mean."""
        key = (length, like.dtype, like.device)
        if key not in self._weights:
            self._weights[key] = self._weighed(length, like.dtype).to(like.device)
        return self._weights[key]

    def _weighed(self, length: int, dtype: torch.dtype) -> Tensor:
        counts = torch.tensor([min(size, length) for size in self.sizes], dtype=dtype)[:, None]
        return (torch.arange(length)[None] < counts) / counts

    def like(self, other: AgentGroup) -> bool:
        """True where the same operations on the same rows of the table compute either group."""
        spans = [[bucket.rows for bucket in group.buckets] for group in (self, other)]
        forms = [
            [_form(bound.plan, group.genes) for bucket in group.buckets for bound in bucket.bound.values()]
            for group in (self, other)
        ]
        return spans[0] == spans[1] and forms[0] == forms[1] and self.batch == other.batch

    def become(self, other: AgentGroup) -> None:
        """Take over what a group like this one says of its agents; what is recorded stays good."""
        self.genes, self.settings, self.sizes = other.genes, other.settings, other.sizes
        self.updates, self.credit = 0, 0.0
        for (length, dtype, _), weight in self._weights.items():
            weight.copy_(self._weighed(length, dtype))

    def forget(self) -> None:
        """Drop the scratch memory that one update leaves for the next."""
        for bucket in self.buckets:
            for bound in bucket.bound.values():
                if hasattr(bound.plan, "forget"):
                    bound.plan.forget()

    def network(self, name: str, target: bool = False) -> Forward:
        """The pass of one network, `(observation, extra=None, member=None) -> [C, B, O]`, without gradient."""
        kind = f"{name}.target" if target else name
        return joined(
            self.buckets, [_pass(bucket.bound[name].plan, bucket.flat(kind)) for bucket in self.buckets]
        )

    def minimise(
        self, name: str | Sequence[str], loss: Callable[..., Tensor], clip: float | Tensor | None = None
    ) -> Tensor:
        """One Adam step of every agent on its own loss.

        Args:
            name: of the network whose parameters move, or several names.
            loss: gets the networks' passes in that order, gives the loss of each agent [C].
            clip: largest norm of an agent's gradient over all these networks, a number or [C];
                None for no clipping.

        Returns:
            [C], the losses, detached.
        """
        names = (name,) if isinstance(name, str) else tuple(name)
        tracked = [
            [tracked_pass(bucket.bound[each].plan, bucket.flat(each)) for bucket in self.buckets]
            for each in names
        ]
        with torch.enable_grad():
            losses = loss(*(joined(self.buckets, passes) for passes in tracked))
            leaves = [[one.leaves() for one in passes] for passes in tracked]
            wanted = [leaf for passes in leaves for own in passes for leaf in own]
            reached = iter(torch.autograd.grad(losses.sum(), wanted))
        with torch.no_grad():
            gradients = [
                [one.gradient([next(reached) for _ in own]) for one, own in zip(passes, kept, strict=True)]
                for passes, kept in zip(tracked, leaves, strict=True)
            ]
            for index, bucket in enumerate(self.buckets):
                own = [passes[index] for passes in gradients]
                if clip is not None:
                    clip_norm_(own, clip[bucket.inside] if isinstance(clip, Tensor) else clip)
                for each, gradient in zip(names, own, strict=True):
                    bucket.descend(each, gradient)
        return losses.detach()

    def regress(
        self,
        name: str,
        target: Tensor,
        weight: Tensor,
        observation: Any,
        extra: Tensor | None = None,
        choice: Tensor | None = None,
        huber: float | None = None,
    ) -> Tensor:
        """One Adam step of every agent on the weighted squared error of its values.

        The same as `minimise` with that loss, at less cost: its gradient needs no autograd.

        Args:
            name: of the network that gives the values; each of its members M learns the same target.
            target: [C, B], in units of the values.
            weight: [C, B], of each sample in its agent's loss.
            observation: batch of observations, [C, B, ...] leaves.
            extra: [C, B, E], concatenated to the features.
            choice: [C, B], the output that is the value; None where there is one output.
            huber: errors beyond it count linearly, with the slope that the square has there; None for no such limit.

        Returns:
            [C], the losses, summed over the members.
        """
        return regress(self, name, target, weight, observation, extra, choice, huber)

    def push(
        self,
        name: str,
        judge: Callable[[Tensor], tuple[Tensor, Tensor]],
        observation: Any,
        clip: float | Tensor | None = None,
    ) -> Tensor:
        """One Adam step of every agent along a slope that is written out.

        The same as `minimise` with these losses, at less cost: its gradient needs no autograd.

        Args:
            name: of the network whose parameters move; it has one member.
            judge: gets its outputs [C, B, O], gives the losses [C] and how they change with the outputs.
            observation: batch of observations, [C, B, ...] leaves.
            clip: as in `minimise`.

        Returns:
            [C], the losses.
        """
        return push(self, name, judge, observation, clip)

    def climb(self, name: str, critic: str, weight: Tensor, observation: Any) -> Tensor:
        """One Adam step of every agent's policy up the value of its squashed actions.

        The same as `minimise` with minus the weighted mean of `critic(s, tanh(policy(s)))`, by the
        critic's first member, at less cost: its gradient needs no autograd.

        Args:
            name: of the policy's network.
            critic: name of the network that judges; it does not move.
            weight: [C, B], of each sample in its agent's mean.
            observation: batch of observations, [C, B, ...] leaves.

        Returns:
            [C], the losses.

        Source: Silver et al. 2014, Deterministic policy gradient algorithms, eq. 9.
        """
        return climb(self, name, critic, weight, observation)

    def update(self, algorithm: Any, batch: Any, noise: Any) -> dict[str, Tensor]:
        """One update; as observations do not change during it, pictures are laid out once for all networks.

        Where batch sizes differ, samples that are not an agent's own, which weigh nothing, are not computed.
        """
        bound = [one for bucket in self.buckets for one in bucket.bound.values()]
        plans = [one.plan for one in bound if hasattr(one.plan, "memo")]
        memo: dict[int, Any] = {}
        for plan in plans:
            plan.memo = memo
        length = batch.weight.shape[1]
        mixed = min(self.sizes) < min(length, self.batch) and not algorithm.on_policy
        limited = [bucket for bucket in self.buckets if mixed]
        for bucket in limited:
            bucket.limit(length, self.sizes[bucket.inside])
        try:
            return algorithm.update(self, batch, noise)  # type: ignore[no-any-return]
        finally:
            for plan in plans:
                plan.memo = None
            for bucket in limited:
                bucket.limit(length, None)

    def follow(self, name: str) -> None:
        """Move the target of `name` towards it by the hyperparameter tau."""
        for bucket in self.buckets:
            bucket.follow(name)


def _form(plan: Any, genes: Sequence[Any]) -> Any:
    """What decides a plan's operations: what it says itself, or all that its agents' genes say."""
    return plan.form if hasattr(plan, "form") else list(genes)


def _pass(plan: Any, flat: Tensor) -> Forward:
    return lambda observation=None, extra=None, member=None: plan(flat, observation, extra, member)
