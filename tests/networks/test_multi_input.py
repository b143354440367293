"""Networks over Dict and Tuple observations: an encoder per image, vectors beside the latents."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.algorithms.dqn import DQN
from evolab.algorithms.td3 import TD3
from evolab.core.trees import map_leaves
from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.resize_tensors import resize
from evolab.networks.base import Role
from evolab.networks.cnn import kernel as cnn_kernel
from evolab.networks.multi_input import MultiInput
from evolab.networks.observations import encode
from tests.mixed import padding, settings_of
from tests.networks import images

SPACE = spaces.Dict(
    {
        "eye": spaces.Box(0, 255, (5, 6, 3), np.uint8),
        "gear": spaces.Discrete(3),
        "rest": spaces.Tuple((spaces.Box(-1, 1, (2,), np.float64), spaces.Box(0, 255, (1, 4, 5), np.uint8))),
    }
)
SMALL = {"min_channels": 2, "min_latent": 2, "min_units": 4}
NETWORKS = [
    MultiInput((4,), latent=6, hidden=(8,), **SMALL),
    MultiInput((3,), latent=4, hidden=(5,), activation="tanh", **SMALL),
    MultiInput((3, 2), latent=5, hidden=(7, 6), **SMALL),
]


@pytest.mark.parametrize("algorithm", [DQN(), TD3()], ids=repr)
@pytest.mark.parametrize("by_row", [0.0, float("inf")], ids=["by_row", "grouped"])
def test_one_of_many_learns_as_if_alone_and_sleeping_channels_never_move(algorithm, by_row, monkeypatch):
    monkeypatch.setattr(cnn_kernel, "BY_ROW", by_row)
    population = images.grown(algorithm, NETWORKS, SPACE, settings_of(algorithm.name)[:3])
    agents = images.plain(population)
    images.learn_beside(population, agents, SPACE, 6)
    images.compare(population, agents)
    for name, mask in padding(population).items():
        assert not population.table[name][mask].any(), f"padding of {name} moved"


def test_an_exported_module_answers_as_its_row():
    population = images.grown(DQN(), NETWORKS, SPACE, settings_of("DQN")[:3])
    observation = images.observations(SPACE, (3, 4), torch.Generator().manual_seed(0))
    together = population.act(observation, explore=False)
    for row in range(3):
        mine = map_leaves(lambda leaf, row=row: leaf[row], observation)
        assert torch.equal(population[row].module()(mine).argmax(-1), together[row])
        assert torch.equal(population[row].act(mine), together[row])


def test_every_part_of_an_observation_counts():
    population = images.grown(DQN(), NETWORKS, SPACE, settings_of("DQN")[:3])
    module = population[0].module()
    observation = images.observations(SPACE, (2,), torch.Generator().manual_seed(0))
    values = module(observation)
    eye, gear, (vector, depth) = observation["eye"], observation["gear"], observation["rest"]
    others = [
        {**observation, "eye": 255 - eye},
        {**observation, "gear": (gear + 1) % 3},
        {**observation, "rest": (vector + 1, depth)},
        {**observation, "rest": (vector, 255 - depth)},
    ]
    assert all(not torch.allclose(module(other), values) for other in others)


@pytest.mark.parametrize("gene", ["image0.conv.0", "image1.kernel.0", "image1.latent", "hidden.0"])
def test_growth_of_one_part_preserves_the_function(gene):
    population = images.grown(TD3(), NETWORKS, SPACE, settings_of("TD3")[:3])
    observation = images.observations(SPACE, (4,), torch.Generator().manual_seed(0))
    features = encode(SPACE, observation, 1, torch.float64)
    for row in range(3):
        member = population.individual(row)
        role = population.roles["actor"]

        def answer(member=member, role=role):
            state = {key: value[0] for key, value in member.tensors["actor"].items()}
            return population.network.module(role, member.genes, state)(features)

        before, size = answer(), population.network.sizes(member.genes)[gene][0]
        context = Context(population.network, population.roles, {}, 0.1, torch.Generator().manual_seed(0))
        resize(member, context, gene, size + 2)
        assert population.network.sizes(member.genes)[gene][0] == size + 2
        assert torch.allclose(answer(), before, atol=1e-9)


def test_images_evolve_apart():
    network = MultiInput((4,), latent=6, hidden=(8,), max_channels=16, max_latent=16, **SMALL)
    population = ev.Population(
        "DQN", SPACE, spaces.Discrete(3), 6, network=network, hyperparameters={"batch_size": 8}, seed=2
    )
    mutations = ev.Mutations(none=0, architecture=3, new_layer=0.5)
    fitness = np.random.default_rng(0)
    for generation in range(25):
        ev.evolve(population, fitness.normal(size=6), ev.Tournament(), mutations, generation=generation)
    population.learn(images.experience(SPACE, 6, 8, 0, discrete=True))
    assert any(len(set(member.genes.encoders)) == 2 for member in population.individuals)
    for member in population.individuals:
        assert network.from_json(network.to_json(member.genes)) == member.genes
    for name, mask in padding(population).items():
        assert not population.table[name][mask].any(), f"padding of {name} is not zero"


def test_vectors_alone_go_straight_to_the_head():
    space = spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Box(-1, 1, (2,))})
    network = MultiInput(hidden=(8,))
    genes = network.genes(space)
    assert genes.encoders == ()
    axes = network.axes(Role(space, 2), genes)
    assert [axis.size for axis in axes["side.weight"]] == [8, 5]
    population = ev.Population("DQN", space, spaces.Discrete(2), 2, network=network, seed=0)
    observation = images.observations(space, (2, 3), torch.Generator().manual_seed(0))
    assert population.act(observation).shape == (2, 3)


def test_a_part_without_a_fixed_size_is_named():
    space = spaces.Dict({"eye": spaces.Box(0, 255, (5, 6, 3), np.uint8), "say": spaces.Text(5)})
    with pytest.raises(TypeError, match="has no fixed size"):
        ev.Population("DQN", space, spaces.Discrete(2), 1)
