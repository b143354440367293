"""An agent's policy as plain torch modules: what other programs run, and what is written for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from evolab.core.actions import BoxActions, limits, nearest_whole
from evolab.core.discrete_actions import combined
from evolab.core.masks import masked, of_outputs
from evolab.core.space_trees import is_whole
from evolab.core.trees import Tree
from evolab.networks.observations import encode
from evolab.population.normalisation import NAME, scales_of
from evolab.population.spec import Spec
from evolab.population.table import Table

SCALES = ("observation_centre", "observation_factor", "observation_limit")

GIVEN = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.float16)
}
"""Dtypes in which a program gives actions; other whole numbers become int64, other floats are the parameters' own."""


def module(table: Table, row: int) -> nn.Module:
    """The policy of an agent as a plain torch module; see `Agent.module`."""
    spec, individual = table.spec, table.individual(row)
    role = spec.roles[spec.policy]
    state = {key: value[0].detach().cpu().clone() for key, value in individual.tensors[spec.policy].items()}
    core = role.recipe(spec.network).module(role, individual.genes, state)
    statistics = individual.tensors.get(NAME, {}).get("observation")
    memory = spec.network.memory(individual.genes)
    if spec.network.reads_tokens:
        return core
    choosing = spec.algorithm.choosing(individual.hyperparameters)
    return Policy(core, spec, memory, choosing, statistics)


class Policy(nn.Module):
    """Observations to actions (Box) or to values or logits of all actions (Discrete); see `Agent.module`.

    Attributes:
        memory: C and H of what is remembered between two steps; (0, 0) of a network that does not remember.
    """

    scale: Tensor
    centre: Tensor
    low: Tensor
    high: Tensor
    wholes: Tensor | None
    observation_centre: Tensor
    observation_factor: Tensor
    observation_limit: Tensor

    def __init__(
        self,
        core: nn.Module,
        spec: Spec,
        memory: tuple[int, int],
        preferences: Callable[[Tensor], Tensor],
        statistics: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.core, self.memory = core, memory
        self._space, self._dtype = spec.observation_space, spec.dtype
        self._mode, self._preferences, self._width = (
            spec.algorithm.mode,
            preferences,
            spec.actions.width,
        )
        self._shape = tuple(spec.action_space.shape or ())
        self._bounded, self._whole = False, False
        self._normaliser, self._scaled = spec.normaliser, statistics is not None
        if statistics is not None:
            scales = scales_of(statistics.detach().cpu(), spec.dtype)
            for name, scale in zip(SCALES, scales, strict=True):
                self.register_buffer(name, scale)
        if isinstance(spec.actions, BoxActions):
            self._bounded, self._whole = True, spec.actions.whole
            self.register_buffer("centre", spec.actions.centre.detach().cpu().clone())
            self.register_buffer("scale", spec.actions.half.detach().cpu().clone())  # `half` is torch's
            if self._whole:
                self.register_buffer("low", spec.actions.low.detach().cpu().clone())
                self.register_buffer("high", spec.actions.high.detach().cpu().clone())
                wholes = spec.actions.wholes
                self.register_buffer("wholes", None if wholes is None else wholes.cpu().clone())

    def forward(self, observation: Tree, memory: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """[B, ...] observations to [B, ...] actions or [B, A] values.

        A network that remembers also takes what was remembered [B, C, H], zeros where an episode begins, and gives what
        is remembered now.
        """
        if any(self.memory) and memory is None:
            raise TypeError(
                f"this policy remembers: pass what it remembered, [B, {self.memory[0]}, {self.memory[1]}] and zeros where "
                "an episode begins; it gives (answer, what it remembers now)."
            )
        if self._scaled:
            scales = self.observation_centre, self.observation_factor, self.observation_limit
            observation = self._normaliser.standard(observation, scales, 1)
        features = encode(self._space, observation, 1, self._dtype)
        if memory is None:
            return self._answer(self.core(features))
        out, memory = self.core(features, memory)
        return self._answer(out), memory

    def _answer(self, out: Tensor) -> Tensor:
        if not self._bounded:
            return self._preferences(out)
        action = self._mode(out, self._width) * self.scale + self.centre
        if self._whole:
            action = nearest_whole(action, self.low, self.high, self.wholes)
        return action if len(self._shape) == 1 else action.reshape(*action.shape[:-1], *self._shape)


class Greedy(nn.Module):
    """A batch of observations [B, ...] to actions [B, ...] that `env.step` takes, post-processing included.

    Where a mask [B, W] comes with the observations, int8 as Gymnasium's are, actions are among those that it permits.
    Actions of a Dict or Tuple space are [B, A], all parts behind one another in the order of the space.
    """

    low: Tensor
    high: Tensor

    def __init__(self, table: Table, row: int) -> None:
        super().__init__()
        self.policy = module(table, row).eval().requires_grad_(False)
        space, self._actions = table.spec.action_space, table.actions
        self._kind, self._start, self._counts = "values", 0, [1]
        self._parts, self._shape = list(table.spec.actions.parts), tuple(space.shape or ())
        if isinstance(space, spaces.Box):
            self._kind = "box"
            self._given = GIVEN.get(
                np.dtype(space.dtype).name, torch.int64 if is_whole(space) else table.dtype
            )
            for name, bound in zip(("low", "high"), limits(space), strict=True):
                self.register_buffer(name, torch.as_tensor(bound, dtype=table.dtype))
        elif isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
            self._kind = "several"
            self._counts, start = combined(space)
            self.register_buffer("low", torch.as_tensor(start, dtype=torch.int64))
        else:
            assert isinstance(space, spaces.Discrete)
            self._start = int(space.start)

    def forward(self, observation: Tree, action_mask: Tensor | None = None) -> Tensor:
        """Greedy actions."""
        return self.chosen(self.policy(observation), action_mask)

    def chosen(self, out: Tensor, action_mask: Tensor | None) -> Tensor:
        """Greedy actions from the policy's answers."""
        if action_mask is not None:
            out = masked(out, of_outputs(self._actions, action_mask.bool()))
        if self._kind == "box":
            return torch.clamp(out, self.low, self.high).to(self._given)
        if self._kind == "values":
            return out.argmax(-1) + self._start
        if self._parts:
            parts = [own.argmax(-1) for own in out.split(self._parts, -1)]
        else:
            choice, parts = out.argmax(-1), []
            for count in reversed(self._counts):
                parts.insert(0, choice % count)
                choice = torch.div(choice, count, rounding_mode="floor")
        return (torch.stack(parts, -1) + self.low).reshape(-1, *self._shape)


class Remembering(Greedy):
    """The same of an agent that remembers: what it remembered [B, C, H] comes in, zeros at first, what it does now out."""

    def forward(  # type: ignore[override]
        self, observation: Tree, memory: Tensor, action_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Greedy actions, and what is remembered now."""
        out, now = self.policy(observation, memory)
        return self.chosen(out, action_mask), now
