"""A group: a run of agents that make their updates together.

An algorithm sees a group, never the table: hyperparameters are [P], networks map [P, B, ...],
and `minimise` is one optimizer step of every agent in it. Its networks are computed bucket by
bucket, each bucket as wide and deep as its own largest agent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from evolab.core.trees import Tree
from evolab.networks.adam import clip_norm_
from evolab.networks.base import Layout, Network, Role
from evolab.networks.batching.bucket import Bound, Bucket, Forward, joined
from evolab.networks.batching.cuda_graphs import Recordings
from evolab.networks.batching.gradients import TrackedPass
from evolab.networks.batching.updates_due import Pace
from evolab.networks.batching.whole_rollouts import Rule, WholeRollouts, by_kernels
from evolab.networks.batching.whole_updates import WholeUpdates
from evolab.networks.genes import Genes
from evolab.networks.kernel import Backward, Kernel
from evolab.networks.loss import Loss, Regression


class LearningRule(Protocol):
    """What a group asks of an algorithm."""

    def update(self, agents: AgentGroup, batch: Any, noise: Any) -> dict[str, Tensor]:
        """One update of every agent; gives losses by name, [P] each."""


class AgentGroup:
    """Agents `start` to `stop` of a population.

    Attributes:
        buckets: stretches of agents that share a layout.
        hyper: hyperparameters by name, [P] each.
        batch: B, the largest batch size in the group.
        weight: [P, B], 1 / batch size where a sample is the agent's own, 0 beyond it.
        pace: how many updates it has made, and how many it owes.
        recordings: its updates as CUDA graphs.
    """

    def __init__(
        self,
        table: Mapping[str, Tensor],
        hyper: Mapping[str, Tensor],
        network: Network,
        roles: Mapping[str, Role],
        start: int,
        genes: Sequence[Genes],
        settings: Sequence[Mapping[str, float]],
        cuts: Sequence[tuple[int, int]] | None = None,
        layouts: Mapping[str, Layout] | None = None,
    ) -> None:
        """`cuts` are (start, stop) of each bucket within the group; None for one bucket. `layouts` as in `Bucket`."""
        self.start, self.stop = start, start + len(genes)
        self.genes, self.roles = list(genes), roles
        self._table = table
        self.hyper = {name: values[self.start : self.stop] for name, values in hyper.items()}
        self.settings = [dict(setting) for setting in settings]
        self.buckets = [
            Bucket(table, hyper, network, roles, genes[a:b], start + a, a, layouts)
            for a, b in cuts or [(0, len(genes))]
        ]
        self._kernels = [bound.kernel for bucket in self.buckets for bound in bucket.bound.values()]
        self.pace = Pace(int(settings[0].get("learn_step", 1)))
        self.policy_delay = int(settings[0].get("policy_delay", 1))
        self.sizes = [int(setting.get("batch_size", 1)) for setting in settings]
        self.batch = max(self.sizes)
        self.recordings = Recordings()
        self._weights: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}
        self._views: dict[str, Tensor] = {}
        self._whole: dict[object, WholeUpdates | WholeRollouts | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without what holds addresses, which is made anew."""
        return {**vars(self), "_whole": {}}

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def updates(self) -> int:
        """Made since it was laid out; decides when a delayed policy is due."""
        return self.pace.updates

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
        """[P, M, N]: rows of the table, cut to this group's largest layout; shares the table's memory."""
        view = self._views.get(name)
        if view is None:
            role = name.split(".", 1)[0]
            size = max(bucket.bound[role].size for bucket in self.buckets)
            view = self._views[name] = self._table[name][self.start : self.stop, :, :size]
        return view

    def weight(self, length: int, like: Tensor) -> Tensor:
        """[P, B]: the weight of each of `length` samples in its agent's mean."""
        key = (length, like.dtype, like.device)
        if key not in self._weights:
            self._weights[key] = self._weighed(length, like.dtype).to(like.device)
        return self._weights[key]

    def _weighed(self, length: int, dtype: torch.dtype) -> Tensor:
        counts = torch.tensor([min(size, length) for size in self.sizes], dtype=dtype)[:, None]
        return (torch.arange(length)[None] < counts) / counts

    def like(self, other: AgentGroup) -> bool:
        """True where the same operations on the same rows of the table compute either group."""
        return self._form() == other._form()

    def _form(self) -> tuple[int, list[slice], list[Any]]:
        kernels = [(bucket, bound.kernel) for bucket in self.buckets for bound in bucket.bound.values()]
        forms = [kernel.form(self.genes[bucket.inside]) for bucket, kernel in kernels]
        return self.batch, [bucket.rows for bucket in self.buckets], forms

    def become(self, other: AgentGroup) -> None:
        """Take over what a group like this one says of its agents; what is recorded stays good."""
        self.genes, self.settings, self.sizes = other.genes, other.settings, other.sizes
        self.pace.restart()
        for (length, dtype, _), weight in self._weights.items():
            weight.copy_(self._weighed(length, dtype))

    def forget(self) -> None:
        """Drop the scratch memory that one update leaves for the next."""
        for kernel in self._kernels:
            kernel.forget()

    def network(self, name: str, target: bool = False) -> Forward:
        """The pass of one network, `(observation=(), extra=None, member=None) -> [P, B, O]`, without gradient."""
        kind = f"{name}.target" if target else name
        return joined(
            self.buckets, [_pass(bucket.bound[name].kernel, bucket.flat(kind)) for bucket in self.buckets]
        )

    def minimise(
        self, name: str | Sequence[str], loss: Callable[..., Tensor], clip: float | Tensor | None = None
    ) -> Tensor:
        """One Adam step of every agent on its own loss.

        Args:
            name: of the network whose parameters move, or several names.
            loss: gets the networks' passes in that order, gives the loss of each agent [P].
            clip: largest norm of an agent's gradient over all these networks, a number or [P];
                None for no clipping.

        Returns:
            [P], the losses, detached.
        """
        names = (name,) if isinstance(name, str) else tuple(name)
        tracked = [
            [TrackedPass(bucket.bound[each].kernel, bucket.flat(each)) for bucket in self.buckets]
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
            self._adam_step(names, gradients, clip)
        return losses.detach()

    def gradient_step(
        self,
        name: str,
        loss: Loss,
        observation: Tree,
        extra: Tensor | None = None,
        clip: float | Tensor | None = None,
        noted: Tensor | None = None,
    ) -> Tensor:
        """One Adam step of every agent on a loss whose gradient is written out.

        The same as `minimise` with that loss of the network's outputs, at less cost: see `Loss`.

        Args:
            name: of the network whose parameters move.
            loss: of its outputs.
            observation: batch of observations, [P, B, ...] leaves.
            extra: [P, B, E], further inputs.
            clip: as in `minimise`.
            noted: [P, B], gets the loss's `distance` of each sample; None where nobody asks.

        Returns:
            [P], the losses.
        """
        with torch.no_grad():
            if isinstance(loss, Regression) and clip is None and noted is None and len(self.buckets) == 1:
                losses = self.buckets[0].regress(name, loss, observation, extra)
                if losses is not None:
                    return losses
            passes = [bucket.vjp_parameters(name, observation, extra) for bucket in self.buckets]
            found = _whole([out for out, _ in passes])
            losses, slope = loss.gradient(found)
            if noted is not None:
                noted.copy_(loss.distance(found))
            gradients = [
                backward(slope[bucket.inside])
                for bucket, (_, backward) in zip(self.buckets, passes, strict=True)
            ]
            self._adam_step((name,), [gradients], clip)
        return losses

    def _adam_step(
        self, names: Sequence[str], gradients: Sequence[Sequence[Tensor]], clip: float | Tensor | None
    ) -> None:
        """One step of Adam along the gradients [P, M, N] of each network and bucket."""
        for index, bucket in enumerate(self.buckets):
            own = [each[index] for each in gradients]
            if clip is not None:
                clip_norm_(own, clip[bucket.inside] if isinstance(clip, Tensor) else clip)
            for name, gradient in zip(names, own, strict=True):
                bucket.adam_step(name, gradient)

    def vjp_extra(self, name: str, observation: Tree, extra: Tensor) -> tuple[Tensor, Backward]:
        """How a network's outputs change with its further inputs.

        Args:
            name: of the network, which does not move; of an ensemble the first member is asked.
            observation: batch of observations, [P, B, ...] leaves.
            extra: [P, B, E].

        Returns:
            the outputs [P, B, O], and a function from their gradient to that of `extra`.
        """
        passes = [bucket.vjp_extra(name, observation, extra) for bucket in self.buckets]

        def to_extra(grad: Tensor) -> Tensor:
            pairs = zip(self.buckets, passes, strict=True)
            return _whole([backward(grad[bucket.inside]) for bucket, (_, backward) in pairs])

        return _whole([out for out, _ in passes]), to_extra

    def update(self, rule: LearningRule, batch: Any, noise: Tree | None) -> dict[str, Tensor]:
        """One update; as observations do not change during it, pictures are laid out once for all networks.

        Where batch sizes differ, samples that are not an agent's own, which weigh nothing, are not computed.
        """
        kernels, cache, length = self._kernels, {}, batch.weight.shape[1]  # type: ignore[var-annotated]
        for kernel in kernels:
            kernel.share_inputs(cache)
        limited = self.buckets if min(self.sizes) < min(length, self.batch) else []
        for bucket in limited:
            bucket.limit(length, self.sizes[bucket.inside])
        try:
            return rule.update(self, batch, noise)
        finally:
            for kernel in kernels:
                kernel.share_inputs(None)
            for bucket in limited:
                bucket.limit(length, None)

    def whole(self, rule: Rule) -> WholeUpdates | WholeRollouts | None:
        """Updates by a rule, several in one call of the kernels; None where these do not know all networks."""
        if rule not in self._whole:
            self._whole[rule] = by_kernels(self.buckets, self.hyper, rule)
        return self._whole[rule]

    def polyak_update(self, name: str) -> None:
        """Move the target of `name` towards it by the hyperparameter tau."""
        for bucket in self.buckets:
            bucket.polyak_update(name)


def _pass(kernel: Kernel, flat: Tensor) -> Forward:
    return lambda observation=(), extra=None, member=None: kernel(flat, observation, extra, member)


def _whole(parts: Sequence[Tensor]) -> Tensor:
    """A group's tensor [P, ...] from those of its buckets."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
