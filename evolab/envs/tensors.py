"""What vector environments on a device give and take: tensors, or arrays that share their memory by DLPack, checked."""

from __future__ import annotations

from math import prod
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike
from torch import Tensor

from evolab.core.actions import bounds
from evolab.core.composite_actions import ActionParts, JoinedBox
from evolab.core.space_trees import is_whole
from evolab.core.trees import Tree, leaves, map_leaves
from evolab.envs.actions import as_batch, middle


@runtime_checkable
class TensorVector(Protocol):
    """N environments that are stepped as one, of any class: Gymnasium's interface, with tensors in the place of arrays.

    Attributes:
        num_envs: N.
        single_observation_space: of one environment.
        single_action_space: of one environment.
    """

    num_envs: int
    single_observation_space: spaces.Space
    single_action_space: spaces.Space

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[Any, Any]:
        """Observations [N, ...] and `info`."""

    def step(self, action: object, /) -> tuple[Any, Any, Any, Any, Any]:
        """Observations [N, ...], rewards [N], terminated [N], truncated [N] and `info`."""


def on_a_device(value: object) -> bool:
    """True for observations that are tensors, or arrays of another library than numpy that share theirs by DLPack."""
    if isinstance(value, (dict, tuple)):
        parts = value.values() if isinstance(value, dict) else value
        return any(on_a_device(part) for part in parts)
    return isinstance(value, Tensor) or (
        hasattr(value, "__dlpack__") and type(value).__module__.partition(".")[0] != "numpy"
    )


class Reader:
    """Tensors of one vector environment, whose first one says on which device they lie.

    Args:
        name: what errors call the environment.
        count: N.
        space: of one observation.
    """

    def __init__(self, name: str, count: int, space: spaces.Space) -> None:
        self.name, self.count, self.space = name, count, space
        self.device: torch.device | None = None
        self._given: Any = None  # an array of the environment's own library, which takes actions in it

    def observation(self, given: object, what: str = "observation") -> Any:
        """[N, ...] leaves in the space's form: floats as float32, everything else as it came; no copy where it fits.

        Raises:
            TypeError: no tensor, or of numbers that the space does not have.
            ValueError: another shape, another device, or parts that are missing.
        """
        return self._leaves(self.space, given, what)

    def _leaves(self, space: spaces.Space, given: object, what: str) -> Any:
        if isinstance(space, spaces.Dict):
            if not isinstance(given, dict) or set(given) != set(space.spaces):
                raise ValueError(f"{self.name}: {what} is no dict with the keys {list(space.spaces)}.")
            return {key: self._leaves(part, given[key], f"{what}[{key!r}]") for key, part in space.items()}
        if isinstance(space, spaces.Tuple):
            if not isinstance(given, (tuple, list)) or len(given) != len(space):
                raise ValueError(f"{self.name}: {what} is no tuple of {len(space)} parts.")
            parts = enumerate(zip(space, given, strict=True))
            return tuple(self._leaves(part, one, f"{what}[{index}]") for index, (part, one) in parts)
        real = isinstance(space, spaces.Box) and space.dtype.kind == "f"
        return self.tensor(given, tuple(space.shape or ()), what, real)

    def tensor(self, given: object, shape: tuple[int, ...], what: str, real: bool) -> Tensor:
        """[N, *shape], float32 where it is `real`; the environment's own memory where it is that already.

        Raises:
            TypeError: no tensor, or of other numbers.
            ValueError: another shape or another device.
        """
        if isinstance(given, Tensor):
            found = given.detach()
        elif hasattr(given, "__dlpack__"):
            found = torch.from_dlpack(given)
            self._given = given
        else:
            raise TypeError(
                f"{self.name}: {what} is {type(given).__name__}; its observations are tensors, so a tensor, or an array "
                "with __dlpack__, is expected."
            )
        if tuple(found.shape) != (self.count, *shape):
            raise ValueError(
                f"{self.name}: {what} has shape {tuple(found.shape)}; {(self.count, *shape)} is expected, one row for "
                "each environment."
            )
        self.device = self.device or found.device
        if found.device != self.device:
            raise ValueError(
                f"{self.name}: {what} lies on {found.device} and its first observation on {self.device}; all have to lie on "
                f"one device: {what}.to({str(self.device)!r})."
            )
        if found.dtype.is_complex or found.is_floating_point() != real:
            wanted = "float32" if real else "whole numbers or bool"
            raise TypeError(f"{self.name}: {what} is {found.dtype}; {wanted} is expected.")
        return found.to(torch.float32) if real else found

    def reward(self, given: object) -> Tensor:
        """[N], float32."""
        return self.tensor(given, (), "reward", True)

    def flags(self, given: object, what: str) -> Tensor:
        """[N], bool."""
        found = self.tensor(given, (), what, False)
        return found if found.dtype == torch.bool else found != 0

    def handed(self, action: Tensor) -> Any:
        """Actions as the environment takes them: tensors, or arrays of its own library in the same memory."""
        if self._given is None or not hasattr(self._given, "__array_namespace__"):
            return action
        return self._given.__array_namespace__().from_dlpack(action)


class ActionTensors:
    """Actions of all environments as one tensor in the space's numbers and range.

    Args:
        space: of one environment's actions.
        lead: (P, E).
        device: of the environments.

    Raises:
        TypeError: actions have several parts.
    """

    def __init__(self, space: spaces.Space, lead: tuple[int, int], device: torch.device) -> None:
        if isinstance(space, ActionParts | JoinedBox):
            raise TypeError(
                "environments on a device take actions of one part: Box, Discrete, MultiDiscrete or MultiBinary."
            )
        self._space, self._lead, self._device = space, lead, device
        self._shape = tuple(space.shape or ())
        self._box = isinstance(space, spaces.Box)
        self._whole = isinstance(space, spaces.Box) and is_whole(space)
        self._dtype = torch.from_numpy(np.zeros(1, space.dtype)).dtype
        self._middle = torch.as_tensor(middle(space), device=device)
        low, high = bounds(space)
        self._low, self._high = (torch.as_tensor(end, device=device) for end in (low, high))

    def batch(self, action: ArrayLike | Tensor) -> tuple[Tensor, Tensor | None]:
        """[N, ...] actions, and [N], True where one was not finite and the middle of the range took its place.

        Raises:
            ValueError: another shape, or no action of the space; the second is not asked of another device than the CPU,
                which would have to be waited for.
            TypeError: other numbers.
        """
        if not isinstance(action, Tensor):
            array, bad = as_batch(self._space, action, self._lead)
            rows = torch.from_numpy(array).to(self._device)
            return rows, None if bad is None else torch.from_numpy(bad).to(self._device)
        if tuple(action.shape) != self._lead + self._shape:
            raise ValueError(
                f"action has shape {tuple(action.shape)}; expected (P, E, ...) = {self._lead + self._shape}."
            )
        given = action.detach().to(self._device).reshape(prod(self._lead), *self._shape)
        if self._box:
            finite = torch.isfinite(given)
            given = torch.where(finite, given, self._middle.to(given.dtype))
            given = given.round() if self._whole else given
            return torch.clamp(given, self._low, self._high).to(self._dtype), ~finite.flatten(1).all(1)
        if given.is_floating_point():
            raise TypeError(f"action is {given.dtype}; {self._space} takes integers.")
        if given.is_cpu and bool(((given < self._low) | (given > self._high)).any()):
            raise ValueError(
                f"action has values in {int(given.min())}..{int(given.max())}; {self._space} has no such action."
            )
        return given.to(self._dtype), None


def rows_not_finite(batch: Tree, reward: Tensor) -> Tensor:
    """[N], True where an observation or a reward is NaN or infinite; nothing waits for the device."""
    bad = ~torch.isfinite(reward)
    for leaf in leaves(batch):
        if leaf.is_floating_point():
            bad = bad | ~torch.isfinite(leaf.flatten(1)).all(1)
    return bad


def chosen(mask: Tensor, one: Tree, other: Tree) -> Any:
    """Rows of `one` where `mask` [N] is True, those of `other` elsewhere, in fresh memory."""
    return map_leaves(lambda a, b: torch.where(mask.view(-1, *[1] * (a.dim() - 1)), a, b), one, other)


def finite_tensors(batch: Tree) -> Any:
    """The same with 0 in place of what is NaN or infinite."""
    return map_leaves(
        lambda leaf: torch.nan_to_num(leaf, 0.0, 0.0, 0.0) if leaf.is_floating_point() else leaf, batch
    )
