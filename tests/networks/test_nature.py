"""Convolutions without padding, and heads without hidden layers: exactly the network of Mnih et al. 2015."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

import evolab as ev
from evolab.algorithms.dqn import DQN
from evolab.algorithms.td3 import TD3
from evolab.networks.cnn import kernel as cnn_kernel
from evolab.testing import check_network
from tests.mixed import settings_of
from tests.networks import images

NATURE = ev.CNN([32, 64, 64], kernels=[8, 4, 3], strides=[4, 2, 1], padding=0, latent=512, hidden=[])
ATARI = spaces.Box(0, 255, (4, 84, 84), np.uint8)


def nature():
    return nn.Sequential(
        nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 6),
    )  # fmt: skip


def test_it_is_the_network_of_the_source_layer_by_layer():
    population = ev.Population("DQN", ATARI, spaces.Discrete(6), 1, network=NATURE, seed=0, device="cpu")
    (agent,) = population
    module, plainly = agent.module(), nature()
    shapes = [tuple(one.shape) for one in plainly.parameters()]
    assert [tuple(one.shape) for one in module.parameters()] == shapes
    assert sum(one.numel() for one in module.parameters()) == 1_687_206
    with torch.no_grad():
        for own, given in zip(plainly.parameters(), module.parameters(), strict=True):
            own.copy_(given)
    picture = torch.randint(
        0, 256, (1, 5, 4, 84, 84), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    (group,) = population.groups
    expected = plainly(picture[0].float() / 255)
    torch.testing.assert_close(group.network("q")(picture)[0], expected, rtol=1e-4, atol=1e-5)


UNPADDED = [
    ev.CNN(
        (4, 6), kernels=(3, 2), strides=(2, 1), padding=0, latent=8, hidden=[], min_channels=2, min_latent=2
    ),
    ev.CNN((3,), kernels=4, strides=1, padding=1, latent=5, hidden=[], min_channels=2, min_latent=2),
    ev.CNN((4,), kernels=5, padding=[0], latent=6, hidden=[7], min_channels=2, min_latent=2, min_units=4),
]


@pytest.mark.parametrize("network", UNPADDED, ids=lambda one: one.describe(one.genes(images.IMAGE)))
def test_rows_modules_and_growth_agree(network):
    check_network(network, images.IMAGE)


@pytest.mark.parametrize("by_row", [True, False])
@pytest.mark.parametrize("algorithm", [DQN(), TD3()], ids=repr)
def test_one_of_many_learns_as_if_alone(monkeypatch, algorithm, by_row):
    monkeypatch.setattr(cnn_kernel, "BY_ROW", 0.0 if by_row else float("inf"))
    population = images.grown(algorithm, UNPADDED, images.IMAGE, settings_of(algorithm.name)[:3])
    agents = images.plain(population)
    images.learn_beside(population, agents, images.IMAGE, 4)
    images.compare(population, agents)


def test_a_kernel_grows_with_its_padding_and_shrinks_no_further_than_it_has_some():
    genes = NATURE.genes(ATARI)
    assert NATURE.sizes(genes)["kernel.0"][:3] == (8, 8, 8)
    assert NATURE.sizes(genes)["kernel.1"][:3] == (4, 4, 8)
    assert NATURE.resized(genes, "kernel.1", 6).encoders[0].paddings == (0, 1, 0)
    assert NATURE.deeper(genes, "hidden") is None
    assert NATURE.from_json(NATURE.to_json(genes)) == genes
    assert "less" not in ev.CNN([8]).to_json(ev.CNN([8]).genes(ATARI))["encoders"][0]


def test_it_is_saved_and_evolves(tmp_path):
    space = spaces.Box(0, 255, (12, 12, 2), np.uint8)
    network = ev.CNN([4], kernels=4, strides=2, padding=0, latent=8, hidden=[], min_channels=2)
    population = ev.Population("DQN", space, spaces.Discrete(3), 4, network=network, seed=0, device="cpu")
    for seed in range(3):
        ev.evolve(
            population, np.arange(4.0), ev.Tournament(), ev.Mutations(none=0, architecture=1), generation=seed
        )
    population[3].save(tmp_path / "agent")
    seen = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 2), dtype=np.uint8)
    loaded = ev.Agent.load(tmp_path / "agent")
    assert np.array_equal(loaded.act(seen), population[3].act(seen))
    assert loaded.table.network == network


@pytest.mark.parametrize("padding", [-1, 3, 1.5, [0], [0, 2]])
def test_a_padding_that_cannot_be_is_refused(padding):
    with pytest.raises(ValueError, match=r"padding is .* here at most"):
        ev.CNN([4, 4], kernels=[4, 3], padding=padding)


def test_a_kernel_that_does_not_fit_is_named_before_anything_is_drawn():
    with pytest.raises(ValueError, match="a kernel of 8 with a padding of 0 does not fit into 7x6"):
        ev.Population("DQN", images.IMAGE, spaces.Discrete(3), 1, network=NATURE, device="cpu")
