"""Fitted Q evaluation: what policies are worth, estimated from recorded data alone."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from evolab.algorithms.base import Algorithm
from evolab.core import checks
from evolab.core.rng import torch_stream
from evolab.core.schema import listing, maybe, measured, record, whole
from evolab.core.shown import shows_calls
from evolab.core.trees import Tree, map_leaves
from evolab.data.buffers.base import Buffer
from evolab.data.buffers.replay import ReplayBuffer
from evolab.evaluation.episodes import healthy
from evolab.evaluation.fqe.behaviour import BehaviourPolicy, ContinuousBehaviour, DiscreteBehaviour
from evolab.evaluation.fqe.by_critics import ByCritics
from evolab.evaluation.fqe.data import EvaluationData
from evolab.evaluation.fqe.ensemble import CriticEnsembles
from evolab.evaluation.fqe.world_model import WorldModel
from evolab.networks.batching.bucket import Forward

if TYPE_CHECKING:
    from evolab.population.population import Population


STATE = record(
    {"owners": listing(whole())}, {"made": listing(whole()), "record": measured, "kept": maybe(whole())}
)
RELIABLE = 0.95
"""Share of the held-out changes' variance that a model has to predict: less, and a hundred steps of it are noise."""

SUPPORTED = 0.9
"""Share of supported actions from which on nothing is deducted: no test of support is sharper."""


@shows_calls("ev.Experiment(None, 'CQN', fitness={made})")
@dataclass
class FQE(ByCritics):
    """Fitness without a simulator: the value of every agent's greedy policy, learnt off-policy.

    Each agent has an ensemble of critics that learn `Q(s, a) = r + discount Q'(s', pi(s'))` on
    the same batches as everyone's, from all episodes but those held out; targets are kept within
    what the rewards allow. The fitness is the mean value of the held-out episodes' first
    observations, less the ensemble's standard deviation: its lower bound. An agent of whose actions
    less than 90% are such as the data show (see `DiscreteBehaviour` and `ContinuousBehaviour`) is valued, in
    proportion to what is missing, at the least that the rewards allow.

    Critics belong to agents: a survivor keeps its own, a child starts with its parent's.

    Critics know nothing of states that no episode reached, and good policies soon reach states that
    a random one does not. Where observations are short vectors and a model of the environment, learnt from the
    same data, predicts held-out rows well (see `WorldModel`), the first `imagined` steps of an episode
    are therefore played in that model, and the critics value what comes after them.

    Fitness is a discounted return, so it hardly distinguishes policies whose episodes all last several
    times 1 / (1 - discount) steps. How well it ranks is measured in `tests/benchmarks/offline_fqe.py`.

    Args:
        discount: of the values; 1 / (1 - discount) steps is how far it looks.
        members: M, critics of an agent.
        hidden: widths of a critic's hidden layers.
        batch_size: rows per update.
        lr: Adam's learning rate.
        tau: share of a critic that its target takes over at each update; large, because rewards have
            to travel far in few updates, which values kept within bounds can bear.
        updates: of the critics in a generation; None for `share` of the agents' own.
        share: updates of the critics per update of an agent; at 0.07 they take a fifth of the time, and
            the model's 200 steps about as long as 200 updates of four small agents.
        first: fewest updates of the first estimate, which starts from nothing.
        held_out: share of the episodes that no critic learns from.
        imagined: steps played in the model, where it predicts well enough; None for 2 / (1 - discount), at
            most 500; 0 for none.
        beside_returns: record the estimate beside the returns, which then decide. Without an
            environment it always decides.

    Raises:
        ValueError: a value outside its range.

    Source: Le et al. 2019, Batch Policy Learning under Constraints, for fitted Q evaluation; Feinberg et al.
    2018, Model-Based Value Expansion, eq. 1, for the steps in front of it.
    """

    discount: float = 0.99
    members: int = 3
    hidden: tuple[int, ...] = (64, 64)
    batch_size: int = 256
    lr: float = 3e-3
    tau: float = 0.3
    updates: int | None = None
    share: float = 0.07
    first: int = 600
    held_out: float = 0.2
    imagined: int | None = None
    beside_returns: bool = False

    def __post_init__(self) -> None:
        checks.finite("discount", self.discount, low=0.0, high=0.9999)
        checks.finite("tau", self.tau, low=1e-4, high=1.0)
        checks.finite("lr", self.lr, low=1e-7, high=1.0)
        checks.finite("share", self.share, low=1e-3, high=10.0)
        checks.finite("held_out", self.held_out, low=0.0, high=0.9)
        checks.flag("beside_returns", self.beside_returns)
        for name in ("members", "batch_size", "first"):
            checks.positive_integer(name, getattr(self, name))
        for name, least in (("updates", 1), ("imagined", 0)):
            if getattr(self, name) is not None:
                checks.positive_integer(name, getattr(self, name), least)
        self.hidden = checks.widths("FQE: hidden", self.hidden)
        self.measures: dict[str, np.ndarray] = {}
        self._measured: Population | None = None
        self._made: dict[int, int] = {}
        self._record = -np.inf
        self._data: EvaluationData
        self._critics: CriticEnsembles
        self._behaviour: BehaviourPolicy
        self._keep: Tensor
        self._world: WorldModel | None = None
        self._restored: tuple[dict[str, Any], dict[str, Tensor]] | None = None

    def check(self, algorithm: Algorithm) -> None:
        """Refuse what learns from no stored transitions; see `Fitness.check`."""
        if not algorithm.keeps_transitions:
            raise ValueError(
                f"fitness='fqe' measures agents by stored transitions, and {algorithm.name} keeps none; use 'return'."
            )

    def estimate(
        self, population: Population, buffer: Buffer, seed: int
    ) -> Iterator[tuple[int, int] | np.ndarray]:
        """Values of all agents.

        Args:
            population: of P agents.
            buffer: the data.
            seed: of the batches.

        Yields:
            (updates done, updates in all) on the way, and [P] at last: lower bounds, in units of
            discounted return. `measures` then holds "fqe", "fqe_spread" and "support", [P] each.
        """
        generator = torch_stream(seed, "fqe")
        yield from self._begin(population, buffer)
        data, critics, scale = self._data, self._critics, self._data.scale
        parents = [individual.parent for individual in population.individuals]
        made = [individual.updates for individual in population.individuals]
        all_new = critics.assign(
            population.ids, parents, torch_stream(population.seed, "fqe critics"), data.mean
        )
        total = self._due(made, all_new)
        group = critics.group
        for done in range(total):
            index = data.draw(self.batch_size, generator)
            rows = data.rows(index)
            x = self._everyone(data.standard(rows["observation"]), population)
            after = self._everyone(data.standard(rows["next_observation"]), population)
            action = self._everyone(rows["action"], population)
            with torch.no_grad():
                chosen = policy(population, rows["next_observation"])
                value = critics.values(group.network("value", target=True), after, chosen)  # [P, M, B]
                value = (scale.centre + scale.unit * value).clamp(scale.low, scale.high)
                target = rows["reward"] + self.discount * (1 - rows["terminated"]) * value
                target = (target.clamp(scale.low, scale.high) - scale.centre) / scale.unit
                keep = self._keep[:, data.episode[index]]  # [M, B]

            group.minimise("value", partial(_error, critics, x, action, target, keep))
            group.polyak_update("value")
            if done % 25 == 0:
                yield done, total
        self._made = dict(zip(population.ids, made, strict=True))
        fitness = yield from self._lower_bound(population)
        best = int(np.argmax(np.nan_to_num(fitness, nan=-np.inf)))
        if fitness[best] > self._record:  # an archived agent may be brought back to life
            self._record = float(fitness[best])
            critics.keep(population.ids[best])
        yield fitness

    def _begin(self, population: Population, buffer: Buffer) -> Iterator[tuple[int, int]]:
        """Start anew for another population or other data; go on otherwise."""
        if not isinstance(buffer, ReplayBuffer):
            raise TypeError(
                f"fitted Q evaluation measures from stored transitions: a ReplayBuffer is expected, "
                f"{type(buffer).__name__} came."
            )
        if self._measured is population and self._data.buffer is buffer and self._data.size == len(buffer):
            return
        stream = torch_stream(population.seed, "fqe evidence")
        self._data = data = EvaluationData(population, buffer, self.discount, self.held_out, stream)
        width = population.actions.width
        self._behaviour = (
            DiscreteBehaviour(data, width, stream) if data.discrete else ContinuousBehaviour(data, stream)
        )
        self._world = None
        if self.imagined != 0 and data.known and WorldModel.serves(population.observation_space):
            world = WorldModel(data, width, self.members, torch_stream(population.seed, "fqe world"))
            yield from world.fit()
            self._world = world if world.explained >= RELIABLE else None
        episodes = int(data.episode[-1]) + 1
        # Each critic does without a fifth of the episodes, so that an ensemble differs by what it saw.
        drawn = torch.rand(self.members, episodes, generator=stream)
        self._keep = (drawn < (0.8 if episodes >= 5 else 1.0)).to(population.device, population.dtype)
        if self._measured is not population:
            self._critics = CriticEnsembles(
                data.features, width, data.discrete, self.members, self.hidden, self.lr, self.tau
            )
            self._made, self._record = {}, -np.inf
        if self._restored is not None:
            state, tensors = self._restored
            self._made = dict(zip(state["owners"], state["made"], strict=True))
            self._record = float(state["record"])
            self._critics.put_state(state, tensors, data.mean)
            self._restored = None
        self._measured = population

    def take_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a checkpoint keeps: plain values, and tensors by name."""
        if self._measured is None:
            return self._restored or ({"owners": []}, {})
        state, tensors = self._critics.take_state()
        made = [self._made[owner] for owner in state["owners"]]
        return {**state, "made": made, "record": self._record}, tensors

    def put_state(self, state: dict[str, object], tensors: dict[str, Tensor]) -> None:
        """Go on from a checkpoint, at the next estimate."""
        STATE("", state)
        self._measured = None
        self._restored = (state, tensors) if state["owners"] else None

    def _due(self, made: list[int], all_new: bool) -> int:
        """A share of the agents' own updates since the last time; at least `first` the first time."""
        due = self.updates
        if due is None:
            due = max(1, round(self.share * (max(made) - max(self._made.values(), default=0))))
        return max(due, self.first) if all_new else due

    def _everyone(self, part: Tensor, population: Population) -> Tensor:
        return part.expand(len(population), *part.shape)

    def _expected(self, population: Population) -> Generator[tuple[int, int], None, Tensor]:
        """[P, M]: value of every agent at the held-out first observations, by every member of the ensemble."""
        data, scale = self._data, self._data.scale
        if self._world is None:
            x = self._everyone(data.standard(data.starts), population)
            return self._valued(x, policy(population, data.starts)).mean(-1)
        steps = self.imagined or min(500, round(2 / (1 - self.discount)))
        play = self._world.imagine(population, steps, self.discount, scale.low)
        total, state, alive = yield from play
        _, members, episodes = total.shape
        x = state.flatten(1, 2)  # [P, M B, F]: the ensemble's member m goes on where the model's left
        action = self._world.acted(population, x * data.std + data.mean)
        after = self._valued(x, action).unflatten(-1, (members, episodes))  # [P, M, M, B]
        after = after.diagonal(dim1=1, dim2=2).transpose(1, 2)  # [P, M, B]
        return (total + alive * after).clamp(scale.low, scale.high).mean(-1)

    def _valued(self, x: Tensor, action: Tensor) -> Tensor:
        """[P, M, B]: the critics' values, in units of return, within what the rewards allow."""
        critics, scale = self._critics, self._data.scale
        with torch.no_grad():
            plain = critics.values(critics.group.network("value", target=True), x, action)
            return (scale.centre + scale.unit * plain).clamp(scale.low, scale.high)

    def _lower_bound(self, population: Population) -> Generator[tuple[int, int], None, np.ndarray]:
        data, scale = self._data, self._data.scale
        value = yield from self._expected(population)
        with torch.no_grad():
            spread = value.std(-1, correction=0)
            support = self._behaviour.support(data.standard(data.probes), policy(population, data.probes))
            lower = (value.mean(-1) - spread).clamp(min=scale.low)
            trust = (support / SUPPORTED).clamp(max=1.0)
            lower = trust * lower + (1 - trust) * scale.low
        found = {"fqe": lower, "fqe_spread": spread, "support": support}
        self.measures = {name: value.cpu().double().numpy() for name, value in found.items()}
        return np.where(healthy(population), self.measures["fqe"], np.nan)


def _error(
    critics: CriticEnsembles, x: Tensor, action: Tensor, target: Tensor, keep: Tensor, forward: Forward
) -> Tensor:
    """[P]: squared error, meaned over the batch and summed over the ensemble; `keep` hides rows from members."""
    return (keep * (critics.values(forward, x, action) - target).square()).mean(-1).sum(-1)


def policy(population: Population, observation: Tree) -> Tensor:
    """Greedy actions of all agents on common observations [B, ...]: [P, B], or [P, B, A] in [-1, 1]."""
    parts = []
    for group in population.groups:
        shared = map_leaves(lambda leaf, p=len(group): leaf.expand(p, *leaf.shape), observation)
        parts.append(population.algorithm.act(group, population.table.seen(shared, group.rows)))
    return torch.nan_to_num(torch.cat(parts)) if parts[0].is_floating_point() else torch.cat(parts)
