"""A model of the environment, learnt from recorded rows: what policies do where the data hardly go."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor

from evolab.evaluation.fqe.data import EvaluationData
from evolab.evaluation.fqe.ensemble import drawn_rows
from evolab.networks.base import Role
from evolab.networks.batching.bucket import Forward
from evolab.networks.batching.group import AgentGroup
from evolab.networks.mlp.mlp import MLP

if TYPE_CHECKING:
    from evolab.population.population import Population

ROWS = 20_000
"""Rows at most that it learns from; they are kept in memory."""

WIDEST = 64
"""Features at most: beyond, a step is learnt too coarsely to be repeated a hundred times."""

UPDATES, BATCH, RATE = 1_000, 256, 3e-3
"""Updates at most, fewer where there are few rows; rows of each; Adam's first learning rate."""

MARGIN = 0.1
"""How far beyond the recorded states, in widths of their range, the model is still asked."""


class WorldModel:
    """How the environment answers: M networks that give the change, the reward and whether the episode ends.

    A straight line through the data, found in closed form, carries most of a step; a network adds
    what bends. So far from the data the model goes on as near to it, where a network alone says
    anything; states stay within the range of the recorded ones all the same.

    Args:
        data: recorded; only rows that are not held out are learnt from.
        width: number of discrete actions, or entries of a continuous one.
        members: M.
        generator: of the first weights and the batches.

    Attributes:
        explained: share of the variance of held-out changes and rewards that is predicted, known after
            `fit`; 1 is all. Where it is low the model should not be used.

    Source: Kidambi et al. 2020, MOReL, section 4: an ensemble over changes, and an end where the data
    do not reach; what is unknown is told by the range of the states here, not by disagreement.
    """

    def __init__(self, data: EvaluationData, width: int, members: int, generator: torch.Generator) -> None:
        self.data, self.width, self.members, self.explained = data, width, members, 0.0
        self._generator = generator
        pool = data.training
        rows = self._taken(pool[torch.randperm(len(pool), generator=generator)[:ROWS]])
        inputs, change, reward, ended = rows
        on = ended < 0.5  # what follows an end is never asked for, and many files hold nothing there
        if not bool(on.any()):
            on = torch.ones_like(on)
        self.change = change[on].mean(0), change[on].std(0).clamp(min=1e-6)
        self.reward = reward.mean(), reward.std().clamp(min=1e-6)
        seen = inputs[:, : data.features]
        low, high = seen.amin(0), seen.amax(0)
        self.range = low - MARGIN * (high - low), high + MARGIN * (high - low)
        self.can_end = bool(ended.any())
        wanted = torch.cat([self._unit(change, self.change), self._unit(reward, self.reward)[:, None]], -1)
        self.line = self._fit_line(inputs[on], wanted[on])
        self._rows = inputs, wanted - self._straight(inputs), ended
        self._build(generator, inputs)

    def fit(self) -> Iterator[tuple[int, int]]:
        """Learn; yields now and then how many updates are done, of how many, so that one can pause between."""
        inputs, rest, ended = self._rows
        updates = min(UPDATES, max(200, len(inputs) // 20))
        for done in range(updates):
            self.group.hyper["lr"].fill_(RATE * (1 - 0.95 * done / updates))
            index = torch.randint(len(inputs), (self.members, BATCH), generator=self._generator)
            self.group.minimise(
                ("world", "end"), partial(self._error, inputs[index], rest[index], ended[index])
            )
            if done % 25 == 0:
                yield done, updates
        self.explained = self._explained()

    @staticmethod
    def serves(space: spaces.Space) -> bool:
        """True where observations are short vectors of numbers, which a model can be asked about step by step."""
        if not isinstance(space, spaces.Box) or len(space.shape) != 1 or space.shape[0] > WIDEST:
            return False
        return bool(np.issubdtype(space.dtype, np.floating))

    def imagine(
        self, population: Population, steps: int, discount: float, least: float
    ) -> Generator[tuple[int, int], None, tuple[Tensor, Tensor, Tensor]]:
        """Episodes of every agent's greedy policy from the held-out first observations.

        Where the data show episodes that end, an episode that leaves the range of the recorded
        states is over: what comes then is unknown. Elsewhere it is kept within that range.

        Args:
            population: of P agents.
            steps: length of the episodes.
            discount: of the rewards.
            least: what leaving the recorded range is worth.

        Yields:
            (steps done, steps in all), now and then.

        Returns:
            [P, M, B], discounted rewards; [P, M, B, F], the states reached; [P, M, B], the
            discounted share of the episodes that goes on there.
        """
        data, count, members = self.data, len(population), self.members
        starts = data.standard(data.starts)[:64]
        state = starts.expand(count, members, *starts.shape)  # [P, M, B, F]
        total = state.new_zeros(state.shape[:-1])
        alive = torch.ones_like(total)
        world, end = self.group.network("world"), self.group.network("end")
        flat = (count, members * len(starts))
        with torch.no_grad():
            for done in range(steps):
                if done % 25 == 0:
                    yield done, steps
                plain = (state * data.std + data.mean).reshape(*flat, -1)
                action = self._code(self.acted(population, plain)).reshape(*state.shape[:-1], self.width)
                inputs = torch.cat([state, action], -1).transpose(0, 1).flatten(1, 2)  # [M, P B, F + A]
                shape = (members, count, len(starts))
                move, reward = self._step(inputs, world(inputs))
                total = total + alive * reward.reshape(shape).transpose(0, 1)
                after = inputs[..., : data.features] + move
                alive = alive * discount
                within = torch.minimum(torch.maximum(after, self.range[0]), self.range[1])
                if self.can_end:
                    on = torch.sigmoid(-end(after)[..., 0])
                    alive = alive * on.reshape(shape).transpose(0, 1)
                    lost = (within != after).any(-1).reshape(shape).transpose(0, 1) * alive
                    total, alive = total + lost * least, alive - lost
                state = within.reshape(*shape, -1).transpose(0, 1)
        return total, state, alive

    def acted(self, population: Population, observation: Tensor) -> Tensor:
        """Greedy actions [P, B] or [P, B, A] for an observation [P, B, F] of each agent's own."""
        act = population.algorithm.act
        found = torch.cat([act(group, observation[group.rows]) for group in population.groups])
        return torch.nan_to_num(found) if found.is_floating_point() else found

    def _taken(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs [N, F + A], changes [N, F], rewards [N] and ends [N] of given rows."""
        rows = self.data.rows(index)
        before = self.data.standard(rows["observation"])
        change = self.data.standard(rows["next_observation"]) - before
        inputs = torch.cat([before, self._code(rows["action"])], -1)
        return inputs, change, rows["reward"], rows["terminated"]

    def _code(self, action: Tensor) -> Tensor:
        """Actions as a network reads them: one-hot where they are discrete."""
        return F.one_hot(action, self.width).to(self.data.dtype) if self.data.discrete else action

    @staticmethod
    def _unit(values: Tensor, scale: tuple[Tensor, Tensor]) -> Tensor:
        return (values - scale[0]) / scale[1]

    @staticmethod
    def _fit_line(inputs: Tensor, wanted: Tensor) -> Tensor:
        """[F + A + 1, F + 1]: least squares with a constant and a little ridge, since one-hot codes add up to it."""
        # On the CPU: not every device has doubles.
        x = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], -1).cpu().double()
        ridge = 1e-4 * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
        line = torch.linalg.solve(x.T @ x + ridge, x.T @ wanted.cpu().double())
        return line.to(device=wanted.device, dtype=wanted.dtype)

    def _straight(self, inputs: Tensor) -> Tensor:
        return inputs @ self.line[:-1] + self.line[-1]

    def _step(self, inputs: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        """Change [..., F] of the state and reward [...], from the network's outputs [..., F + 1]."""
        found = out + self._straight(inputs)
        reward = found[..., -1] * self.reward[1] + self.reward[0]
        return found[..., :-1] * self.change[1] + self.change[0], reward

    def _error(self, inputs: Tensor, rest: Tensor, ended: Tensor, world: Forward, end: Forward) -> Tensor:
        """[M]: squared error of changes and rewards, and surprise at the ends, of every member on its own batch.

        An end is read from the state that the model expects: files seldom hold the last one.
        """
        out = world(inputs)  # [M, B, F + 1]
        error = (out - rest).square()
        error = torch.cat([error[..., :-1] * (1 - ended)[..., None], error[..., -1:]], -1)
        after = inputs[..., : self.data.features] + self._step(inputs, out.detach())[0]
        surprise = F.binary_cross_entropy_with_logits(end(after)[..., 0], ended, reduction="none")
        return error.mean((1, 2)) + surprise.mean(1)

    def _build(self, generator: torch.Generator, like: Tensor) -> None:
        features, members = self.data.features, self.members
        network = MLP((64, 64), activation="silu")
        roles = {
            "world": Role(_vector(features + self.width), features + 1, has_target=False, rate="lr"),
            "end": Role(_vector(features), 1, has_target=False, rate="lr"),
        }
        table: dict[str, Tensor] = {}
        for name, role in roles.items():
            flat = drawn_rows(network, role, members, generator, like).unsqueeze(1)  # [M, 1, N]
            zero = torch.zeros_like(flat)
            table |= {name: flat, f"{name}.mean": zero, f"{name}.square": zero.clone()}
            table[f"{name}.count"] = like.new_zeros(members)
        genes = network.genes(roles["end"].observation_space)
        hyper = {"lr": like.new_full((members,), RATE)}
        self.group = AgentGroup(table, hyper, network, roles, 0, [genes] * members, [{}] * members)

    def _explained(self) -> float:
        inputs, change, reward, ended = self._taken(self.data.probe_rows)
        with torch.no_grad():
            out = self.group.network("world")(inputs.expand(self.members, -1, -1)).mean(0)
        wanted = torch.cat([self._unit(change, self.change), self._unit(reward, self.reward)[:, None]], -1)
        on = ended < 0.5
        if not bool(on.any()):
            return 0.0  # every episode is one step long: there is nothing to imagine
        error = (out + self._straight(inputs) - wanted)[on].square().mean(0)
        variance = wanted[on].var(0, correction=0)
        varies = variance > 1e-3
        shares = 1 - error[varies] / variance[varies]
        return float(shares.mean()) if bool(varies.any()) else 1.0


def _vector(length: int) -> spaces.Box:
    return spaces.Box(-float("inf"), float("inf"), (length,))
