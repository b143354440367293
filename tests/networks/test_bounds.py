"""What an image is and how it is scaled follows from its space's bounds, not from its dtype."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.networks.default import network_for
from evolab.networks.observations import encode, in_bytes, is_image

SIZE = (12, 12, 3)


@pytest.mark.parametrize(
    ("space", "image"),
    [
        (spaces.Box(0, 1, (84, 84, 4), np.float32), True),
        (spaces.Box(0, 255, (84, 84, 4), np.float32), True),
        (spaces.Box(-np.inf, np.inf, (4, 84, 84), np.float32), True),
        (spaces.Box(0, 1, (10, 10, 4), np.bool_), True),
        (spaces.Box(0, 255, (4, 4, 3), np.uint8), True),
        (spaces.Box(0, 1, (3, 4, 2), np.float32), False),
        (spaces.Box(0, 1, (84, 84), np.float32), False),
    ],
)
def test_float_images_are_images(space, image):
    assert is_image(space) is image
    assert isinstance(network_for(None, space), ev.CNN) is image
    inside = network_for(None, spaces.Dict({"eye": space, "speed": spaces.Discrete(3)}))
    assert isinstance(inside, ev.MultiInput) is image


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.float32, np.float64])
def test_values_from_0_to_255_are_divided_whatever_their_dtype(dtype):
    space = spaces.Box(0, 255, (2,), dtype)
    assert in_bytes(space)
    seen = torch.from_numpy(np.array([[51, 255]], dtype))
    assert encode(space, seen, 1, torch.float64).tolist() == [[0.2, 1.0]]


@pytest.mark.parametrize(
    "space",
    [spaces.Box(0, 1, (2,), np.uint8), spaces.Box(np.array([0, 0]), np.array([255, 1]), (2,), np.float32)],
)
def test_other_bounds_are_left_alone(space):
    seen = torch.from_numpy(np.array([[1, 1]], space.dtype))
    assert encode(space, seen, 1, torch.float64).tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("network", [ev.CNN(channels=[8], latent=16), ev.MLP([16])], ids=["CNN", "MLP"])
def test_the_same_picture_in_bytes_and_in_floats_gets_the_same_answer(network):
    pixels = np.random.default_rng(0).integers(0, 256, (6, *SIZE))
    answers = []
    for dtype in (np.uint8, np.float32, np.int32):
        space = spaces.Box(0, 255, SIZE, dtype)
        agent = ev.Population(
            "TD3", space, spaces.Box(-1, 1, (2,)), 1, network=network, seed=0, device="cpu"
        )[0]
        answers.append(agent.act(pixels.astype(dtype)))
        module = agent.module()(torch.from_numpy(pixels.astype(dtype))).detach().numpy()
        assert np.allclose(module, answers[-1], atol=1e-6)
    assert np.allclose(answers[0], answers[1], atol=1e-6)
    assert np.allclose(answers[0], answers[2], atol=1e-6)
    assert np.abs(answers[0]).max() < 0.99  # scaled: unscaled pictures saturate tanh


def test_a_vector_of_floats_from_0_to_255_is_scaled_by_the_compiled_kernel_too():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5))
    found = [
        ev.Population(
            "TD3",
            spaces.Box(0, 255, (5,), dtype),
            spaces.Box(-1, 1, (2,)),
            1,
            network=[16],
            seed=0,
            device="cpu",
        )[0].act(pixels.astype(dtype))
        for dtype in (np.uint8, np.float32)
    ]
    assert np.allclose(found[0], found[1], atol=1e-6)
