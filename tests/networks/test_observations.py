from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from evolab.core.trees import to_tensor
from evolab.networks.observations import encode, features

SPACES = [
    (spaces.Box(-1, 1, (3,)), np.array([0.5, -1, 1], np.float32), [0.5, -1.0, 1.0]),
    (spaces.Box(-1, 1, (2, 2)), np.array([[1, 2], [3, 4]], np.float32), [1.0, 2.0, 3.0, 4.0]),
    (spaces.Box(-1, 1, ()), np.array(0.25, np.float32), [0.25]),
    (spaces.Box(0, 255, (2,), np.uint8), np.array([0, 255], np.uint8), [0.0, 1.0]),
    (spaces.Discrete(3), np.array(2), [0.0, 0.0, 1.0]),
    (spaces.Discrete(3, start=-1), np.array(-1), [1.0, 0.0, 0.0]),
    (spaces.MultiDiscrete([2, 3]), np.array([1, 0]), [0.0, 1.0, 1.0, 0.0, 0.0]),
    (spaces.MultiBinary(3), np.array([1, 0, 1], np.int8), [1.0, 0.0, 1.0]),
    (
        spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Box(-1, 1, (1,))}),
        {"b": np.array(1), "a": np.array([0.5], np.float32)},
        None,
    ),
    (
        spaces.Tuple([spaces.Box(-1, 1, (1,)), spaces.Discrete(2)]),
        (np.array([0.5], np.float32), np.array(0)),
        [0.5, 1.0, 0.0],
    ),
]


def lead(value, *shape):
    if isinstance(value, dict):
        return {key: lead(part, *shape) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(lead(part, *shape) for part in value)
    return np.broadcast_to(value, (*shape, *np.shape(value))).copy()


@pytest.mark.parametrize(("space", "value", "expected"), SPACES, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("leading", [1, 2])
def test_every_space_becomes_features(space, value, expected, leading):
    shape = (2, 3)[:leading]
    encoded = encode(space, to_tensor(lead(value, *shape), torch.device("cpu")), leading, torch.float64)
    assert encoded.shape == (*shape, features(space))
    assert encoded.dtype == torch.float64
    if expected is None:  # a Dict follows the order of its space
        parts = {"a": [0.5], "b": [0.0, 1.0]}
        expected = [number for key in space.spaces for number in parts[key]]
    assert torch.equal(encoded, torch.tensor(expected, dtype=torch.float64).expand_as(encoded))


def test_a_space_without_a_size_says_what_to_do():
    with pytest.raises(TypeError, match=r"has no fixed size; Box, Discrete, .* are understood. Wrap the env"):
        features(spaces.Text(5))
