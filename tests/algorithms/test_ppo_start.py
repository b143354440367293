"""What a policy of PPO starts from: orthogonal weights, and nearly the same for all that is observed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev

FACES = spaces.Box(0, 255, (12, 12, 3), np.uint8)
WORLDS = {
    "vector": (spaces.Box(-1, 1, (5,)), ev.MLP([16, 24])),
    "normalised": (spaces.Box(-1, 1, (5,)), ev.MLP([16, 24], layer_norm=True)),
    "picture": (FACES, ev.CNN([4], latent=8, hidden=[6])),
    "headless": (FACES, ev.CNN([4], latent=8, hidden=[])),
    "both": (
        spaces.Dict({"eye": FACES, "speed": spaces.Box(-1, 1, (2,))}),
        ev.MultiInput([4], latent=8, hidden=[6]),
    ),
}


def started(world, algorithm="PPO"):
    space, network = WORLDS[world]
    return ev.Population(algorithm, space, spaces.Discrete(3), 2, network=network, seed=0, device="cpu")


def last(name, state):
    return name.endswith(
        ("output.weight",) if "output.weight" in state else ("reading.weight", "side.weight")
    )


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("role", "gain"), [("actor", 0.01), ("critic", 1.0)])
def test_weights_are_orthogonal_and_biases_zero(world, role, gain):
    for state in (started(world).individual(row).tensors[role] for row in range(2)):
        seen = 0
        for name, (value,) in ((name, value) for name, value in state.items()):
            if name.endswith("bias"):
                assert not value.any(), name
            elif name.endswith("weight"):
                weight = value.flatten(1).double()
                short = weight @ weight.T if len(weight) <= weight.shape[1] else weight.T @ weight
                size = gain if last(name, state) else 2**0.5
                torch.testing.assert_close(short, size**2 * torch.eye(len(short)).double(), rtol=0, atol=1e-5)
                seen += last(name, state)
        assert seen


def test_agents_start_apart():
    one, other = (started("vector").individual(row).tensors["actor"]["hidden.0.weight"] for row in range(2))
    assert (one - other).abs().max() > 0.1


@pytest.mark.parametrize("world", WORLDS)
def test_every_action_is_as_likely_as_another_at_first(world):
    population = started(world)
    space = population.observation_space
    space.seed(0)
    for agent in population:
        logits = [agent.module()(agent_input(space.sample(), space)) for _ in range(20)]
        assert torch.stack(logits).softmax(-1).sub(1 / 3).abs().max() < 0.05


def agent_input(seen, space):
    """One observation as an exported module takes it, a batch of one."""
    if isinstance(space, spaces.Dict):
        return {key: agent_input(seen[key], part) for key, part in space.items()}
    return torch.as_tensor(seen)[None]


def test_other_algorithms_start_as_torch_does():
    bias = started("vector", "DQN").individual(0).tensors["q"]["hidden.0.bias"]
    assert 0 < bias.abs().max() <= 5**-0.5
