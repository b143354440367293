"""A chunk: a run of agents whose rows share a layout, computed together.

An algorithm sees a chunk, never the table: hyperparameters are [C], networks map [C, B, ...],
and `minimise` is one optimizer step of every agent in it. Chunks keep the padding that is
stored from being multiplied: each one is as wide and deep as its own largest agent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evolab.networks.network import Layout, Network, Role
from evolab.optimizer import Adam, clip_norm_, follow_

Forward = Callable[..., Tensor]


@dataclass(frozen=True)
class Bound:
    """One role of a chunk: its layout, its width in the table and its batched pass."""

    role: Role
    layout: Layout
    plan: Any


class Chunk:
    """Agents `start` to `stop` of a population.

    Attributes:
        hyper: hyperparameters by name, [C] each.
        learn_step: environment steps of an agent per update.
        batch: B, the largest batch size in the chunk.
        weight: [C, B], 1 / batch size where a sample is the agent's own, 0 beyond it.
        updates: updates since the last plan; decides when a delayed policy is due.
        credit: environment steps not yet answered by updates.
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
    ) -> None:
        self.start, self.stop = start, start + len(genes)
        self.genes = list(genes)
        self._table = table
        self.hyper = {name: values[self.start : self.stop] for name, values in hyper.items()}
        self.settings = list(settings)
        capacity = network.capacity(genes)
        self.bound: dict[str, Bound] = {}
        for name, role in roles.items():
            recipe = role.recipe(network)
            layout = Layout.of(recipe.axes(role, capacity))
            self.bound[name] = Bound(role, layout, recipe.plan(role, genes, layout))
        self.learn_step = int(settings[0].get("learn_step", 1))
        self.policy_delay = int(settings[0].get("policy_delay", 1))
        self.sizes = [int(setting.get("batch_size", 1)) for setting in settings]
        self.batch = max(self.sizes)
        self.updates = 0
        self.credit = 0.0
        self._weights: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}
        self._views: dict[str, Tensor] = {}
        self._optimizers: dict[str, Adam] = {}

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def rows(self) -> slice:
        """Where this chunk lies along P."""
        return slice(self.start, self.stop)

    def flat(self, name: str) -> Tensor:
        """[C, M, N]: rows of the table, cut to this chunk's layout; shares the table's memory."""
        view = self._views.get(name)
        if view is None:
            layout = self.bound[name.split(".", 1)[0]].layout
            view = self._views[name] = self._table[name][self.start : self.stop, :, : layout.size]
        return view

    def weight(self, length: int, like: Tensor) -> Tensor:
        """[C, B]: the weight of each of `length` samples in its agent's mean."""
        key = (length, like.dtype, like.device)
        if key not in self._weights:
            counts = torch.tensor([min(size, length) for size in self.sizes], dtype=like.dtype)[:, None]
            weight = (torch.arange(length)[None] < counts) / counts
            self._weights[key] = weight.to(device=like.device, dtype=like.dtype)
        return self._weights[key]

    def network(self, name: str, target: bool = False) -> Forward:
        """The pass of one network, `(observation, extra=None, member=None) -> [C, B, O]`, without gradient."""
        return _pass(self.bound[name].plan, self.flat(f"{name}.target" if target else name))

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
        tracked = [tracked_pass(self.bound[each].plan, self.flat(each)) for each in names]
        with torch.enable_grad():
            losses = loss(*tracked)
            leaves = [one.leaves() for one in tracked]
            reached = iter(torch.autograd.grad(losses.sum(), [leaf for own in leaves for leaf in own]))
        with torch.no_grad():
            gradients = [
                one.gradient([next(reached) for _ in own]) for one, own in zip(tracked, leaves, strict=True)
            ]
            if clip is not None:
                clip_norm_(gradients, clip)
            for each, gradient in zip(names, gradients, strict=True):
                self._optimizer(each).step(gradient)
                self.bound[each].plan.give_back(gradient)
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
        plan = self.bound[name].plan
        members = self.bound[name].role.members
        tape = plan.tape(self.flat(name)) if hasattr(plan, "tape") else None
        if tape is None:
            return self.minimise(
                name,
                lambda net: squared_error(net(observation, extra), target, weight, choice, members, huber),
            )
        with torch.no_grad():
            out = tape.run(observation, extra).unflatten(0, (len(self), members))  # [C, M, B, O]
            index = None if choice is None else choice[:, None, :, None].expand(-1, members, -1, -1)
            value = (out if index is None else out.gather(-1, index)).squeeze(-1)  # [C, M, B]
            error = value - target[:, None]
            near = error if huber is None else error.clamp(-huber, huber)
            slope = near * weight[:, None]
            losses = (slope * (error if huber is None else 2 * error - near)).sum((1, 2))
            slope = slope.mul_(2).unsqueeze(-1)
            if index is not None:
                slope = torch.zeros_like(out).scatter_(-1, index, slope)
            gradient = tape.gradient([slope.flatten(0, 1)])
            self._optimizer(name).step(gradient)
            plan.give_back(gradient)
        return losses

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
        plan, judge = self.bound[name].plan, self.bound[critic].plan
        tape = plan.tape(self.flat(name)) if hasattr(plan, "tape") and hasattr(judge, "slope") else None
        if tape is None or judge.tape(self.flat(critic)) is None:

            def loss(policy: Forward) -> Tensor:
                value = self.network(critic)(observation, torch.tanh(policy(observation)), member=0)
                return -(weight * value.squeeze(-1)).sum(-1)

            return self.minimise(name, loss)
        with torch.no_grad():
            action = torch.tanh(tape.run(observation))  # [C, B, A]
            grad = weight.neg().unsqueeze(-1)
            value, slope = judge.slope(self.flat(critic), observation, action, grad)
            gradient = tape.gradient([torch.ops.aten.tanh_backward(slope, action)])
            self._optimizer(name).step(gradient)
            plan.give_back(gradient)
        return (grad * value).sum((1, 2))

    def _optimizer(self, name: str) -> Adam:
        if name not in self._optimizers:
            count = self._table[f"{name}.count"][self.start : self.stop]
            rate = self.hyper[self.bound[name].role.rate]
            moments = self.flat(f"{name}.mean"), self.flat(f"{name}.square")
            self._optimizers[name] = Adam(self.flat(name), *moments, count, rate)
        return self._optimizers[name]

    def update(self, algorithm: Any, batch: Any, noise: Any) -> dict[str, Tensor]:
        """One update; as observations do not change during it, pictures are laid out once for all networks."""
        plans = [bound.plan for bound in self.bound.values() if hasattr(bound.plan, "memo")]
        memo: dict[int, Any] = {}
        for plan in plans:
            plan.memo = memo
        try:
            return algorithm.update(self, batch, noise)  # type: ignore[no-any-return]
        finally:
            for plan in plans:
                plan.memo = None

    def follow(self, name: str) -> None:
        """Move the target of `name` towards it by the hyperparameter tau."""
        follow_(self.flat(f"{name}.target"), self.flat(name), self.hyper["tau"])


def _pass(plan: Any, flat: Tensor) -> Forward:
    return lambda observation=None, extra=None, member=None: plan(flat, observation, extra, member)


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


class Leaf:
    """A network's pass whose parameters autograd differentiates by itself."""

    def __init__(self, plan: Any, flat: Tensor) -> None:
        self.plan, self.leaf = plan, flat.detach().requires_grad_()

    def __call__(
        self, observation: Any = None, extra: Tensor | None = None, member: int | None = None
    ) -> Any:
        """As the plan's own pass."""
        return self.plan(self.leaf, observation, extra, member)

    def leaves(self) -> list[Tensor]:
        """What the loss is to be differentiated by."""
        return [self.leaf]

    def gradient(self, reached: Sequence[Tensor]) -> Tensor:
        """[C, M, N], from the gradients of the leaves."""
        return reached[0]


def tracked_pass(plan: Any, flat: Tensor) -> Any:
    """The plan's own record of its passes where it keeps one, which costs less than autograd's."""
    tape = plan.tape(flat) if hasattr(plan, "tape") else None
    return Leaf(plan, flat) if tape is None else tape


def divide(
    costs: Sequence[Sequence[float]], keys: Sequence[Any], overhead: float, largest: int
) -> list[tuple[int, int]]:
    """Cut sorted agents into chunks of least total cost.

    A chunk costs its overhead plus, for each agent in it, the most expensive agent's work:
    dynamic programming over the contiguous cuts.

    Args:
        costs: per agent its (layer-wise) work; the cost of a chunk takes the maximum per entry.
        keys: agents of different key never share a chunk.
        overhead: cost of one more chunk, in the same unit.
        largest: most agents in a chunk.

    Returns:
        (start, stop) of each chunk, in order.
    """
    count = len(costs)
    best = [0.0] + [float("inf")] * count
    cut = [0] * (count + 1)
    for stop in range(1, count + 1):
        worst: list[float] = []
        for start in range(stop - 1, max(-1, stop - 1 - largest), -1):
            if keys[start] != keys[stop - 1]:
                break
            entry = costs[start]
            worst = [max(a, b) for a, b in zip(worst, entry, strict=True)] if worst else list(entry)
            total = best[start] + overhead + (stop - start) * sum(worst)
            if total < best[stop]:
                best[stop], cut[stop] = total, start
    chunks: list[tuple[int, int]] = []
    stop = count
    while stop:
        chunks.append((cut[stop], stop))
        stop = cut[stop]
    return chunks[::-1]
