"""Observations become feature vectors here, and nowhere else.

Box is flattened (values from 0 to 255 by its bounds are divided by 255), Discrete and MultiDiscrete
are one-hot, MultiBinary is 0 or 1, Dict and Tuple are the concatenation of their parts in the order
of the space.
"""

from __future__ import annotations

from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor

from evolab.core.space_trees import leaf_spaces
from evolab.core.trees import Tree


def features(space: spaces.Space) -> int:
    """Length of the feature vector of one observation.

    Raises:
        TypeError: the space has no fixed size (Text, Graph, Sequence).
    """
    if isinstance(space, spaces.Box):
        return prod(space.shape)
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(np.sum(space.nvec))
    if isinstance(space, spaces.MultiBinary):
        return prod(space.shape)
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        return sum(features(leaf) for _, leaf in leaf_spaces(space))
    raise TypeError(
        f"observation space {space} has no fixed size; Box, Discrete, MultiDiscrete, MultiBinary, Dict and "
        f"Tuple are understood. Wrap the environment with gymnasium.wrappers.TransformObservation."
    )


def is_image(space: spaces.Space) -> bool:
    """True for a Box of rank 3, (H, W, C) or (C, H, W), that holds bytes or is 8 pixels wide and high at least."""
    if not isinstance(space, spaces.Box) or len(space.shape) != 3:
        return False
    return bool(space.dtype == np.uint8) or sorted(space.shape)[1] >= 8


def in_bytes(space: spaces.Box) -> bool:
    """True where values go from 0 to 255, whatever their dtype: they are divided by 255."""
    if not space.high.size or space.high.flat[0] != 255:  # nearly always: all bounds take 14 us of a picture
        return False
    return bool((space.low == 0).all() and (space.high == 255).all())


def encode(space: spaces.Space, observation: Tree, leading: int, dtype: torch.dtype) -> Tensor:
    """Feature vectors of a batch of observations.

    Args:
        space: of a single observation.
        observation: tensors with `leading` batch axes before the space's own.
        leading: how many axes are batch axes.
        dtype: of the result.

    Returns:
        [..., F], with F = `features(space)`.
    """
    if isinstance(space, spaces.Box):  # first: every other check is slower, and this is the usual case
        assert isinstance(observation, Tensor)
        if len(space.shape) == 0:
            observation = observation.unsqueeze(-1)
        flat = observation if observation.dim() == leading + 1 else observation.flatten(leading)
        flat = flat.to(dtype)
        return flat / 255 if in_bytes(space) else flat
    if isinstance(space, spaces.Dict):
        branches: dict[str, Tree] = observation  # type: ignore[assignment]  # as its space
        return torch.cat([encode(part, branches[key], leading, dtype) for key, part in space.items()], -1)
    if isinstance(space, spaces.Tuple):
        pairs = zip(space, observation, strict=True)
        return torch.cat([encode(part, value, leading, dtype) for part, value in pairs], -1)
    assert isinstance(observation, Tensor)
    if isinstance(space, spaces.Discrete):
        count = int(space.n)
        return F.one_hot((observation.long() - int(space.start)).clamp(0, count - 1), count).to(dtype)
    if isinstance(space, spaces.MultiDiscrete):
        values = observation.long().flatten(leading)
        start = np.asarray(space.start).ravel()
        parts = [
            F.one_hot((values[..., i] - int(start[i])).clamp(0, int(n) - 1), int(n)).to(dtype)
            for i, n in enumerate(space.nvec.ravel())
        ]
        return torch.cat(parts, -1)
    if isinstance(space, spaces.MultiBinary):
        return observation.flatten(leading).to(dtype)
    raise TypeError(
        f"observation space {space} is not understood; see evolab.networks.observations.features."
    )


def holds_image(space: spaces.Space) -> bool:
    """True for an image, and for a Dict or Tuple with one in it, however deep."""
    if isinstance(space, spaces.Dict):
        return any(holds_image(part) for part in space.values())
    if isinstance(space, spaces.Tuple):
        return any(holds_image(part) for part in space)
    return is_image(space)


def holds_vector(space: spaces.Space) -> bool:
    """True for numbers that have no scale of their own, and for a Dict or Tuple with some in it, however deep."""
    if isinstance(space, spaces.Dict):
        return any(holds_vector(part) for part in space.values())
    if isinstance(space, spaces.Tuple):
        return any(holds_vector(part) for part in space)
    return isinstance(space, spaces.Box) and not (is_image(space) or in_bytes(space))
