"""Convolutional networks: one of many learns as if alone, growth keeps the function, padding sleeps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

import evolab as ev
from evolab.algorithms.dqn import DQN
from evolab.algorithms.td3 import TD3
from evolab.core.experience import to_batch
from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.depth import change_layers
from evolab.evolution.mutation.resize_tensors import resize
from evolab.networks.base import Role
from evolab.networks.cnn import kernel as cnn_kernel
from evolab.networks.cnn.cnn import CNN
from tests.catch import Catch
from tests.mixed import padding, settings_of
from tests.networks import images
from tests.small import by_episodes

SMALL = {"min_channels": 2, "min_latent": 2, "min_units": 4}
NETWORKS = [
    CNN((4, 6), latent=8, hidden=(8,), **SMALL),
    CNN((6, 3), latent=5, hidden=(12,), activation="elu", **SMALL),
    CNN((5,), kernels=5, latent=6, hidden=(8, 6), **SMALL),
    CNN((3, 4), latent=7, hidden=(6,), **SMALL),
    CNN((3, 4, 2), kernels=(2, 3, 1), strides=(2, 1, 1), latent=4, hidden=(5,), activation="gelu", **SMALL),
]


@pytest.fixture(params=[0.0, float("inf")], ids=["by_row", "grouped"])
def way(request, monkeypatch):
    """Both ways to compute, whatever suits the size."""
    monkeypatch.setattr(cnn_kernel, "BY_ROW", request.param)


def mixed(algorithm, **options):
    return images.grown(algorithm, NETWORKS, images.IMAGE, settings_of(algorithm.name)[:5], **options)


def taught(algorithm, updates=8):
    population = mixed(algorithm)
    agents = images.plain(population)
    images.learn_beside(population, agents, images.IMAGE, updates)
    return population, agents


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("algorithm", [DQN(), TD3()], ids=repr)
def test_one_of_many_learns_as_if_alone_and_sleeping_channels_never_move(algorithm):
    population, agents = taught(algorithm)
    images.compare(population, agents)
    masks = padding(population)
    assert sum(int(mask.sum()) for mask in masks.values()) > 0
    for name, mask in masks.items():
        assert not population.table[name][mask].any(), f"padding of {name} moved"


def test_agents_of_unlike_geometry_share_no_group_and_of_like_geometry_may():
    population = mixed(DQN())
    for group in population.groups:
        assert len({population.network.key(genes) for genes in group.genes}) == 1
    shapes = [genes for group in population.groups for genes in group.genes]
    assert len({population.network.key(genes) for genes in shapes}) == 3
    alike = images.grown(DQN(), [NETWORKS[0], NETWORKS[3]], images.IMAGE, [settings_of("DQN")[0]] * 2)
    assert len(alike.groups) == 1


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("shape", [(7, 6, 3), (3, 7, 6)], ids=["channels_last", "channels_first"])
def test_an_exported_module_answers_as_its_row(shape):
    space = spaces.Box(0, 255, shape, np.uint8)
    population = images.grown(DQN(), NETWORKS, space, settings_of("DQN")[:5])
    observation = images.observations(space, (5, 4), torch.Generator().manual_seed(0))
    for group in population.groups:
        values = group.network("q")(observation[group.rows])
        for row in range(group.start, group.stop):
            module = population[row].module()
            assert torch.allclose(module(observation[row]), values[row - group.start], atol=1e-12)
            assert torch.equal(population[row].act(observation[row]), values[row - group.start].argmax(-1))


def test_images_reach_the_convolution_channels_first_and_scaled():
    network = CNN((2,), kernels=3, strides=1, latent=3, hidden=(4,), **SMALL)
    role = Role(spaces.Box(0, 255, (5, 4, 3), np.uint8), 2)
    genes = network.genes(role.observation_space)
    state = network.initialise(role, genes, torch.Generator().manual_seed(0))
    image = torch.randint(0, 256, (2, 5, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    convolved = nn.functional.conv2d(
        image.permute(0, 3, 1, 2) / 255, state["conv.0.weight"], state["conv.0.bias"], padding=1
    ).relu()
    read = state["latent.weight"].transpose(1, 2).flatten(1)  # channels come last in the table
    latent = (convolved.flatten(1) @ read.T + state["latent.bias"]).relu()
    hidden = (latent @ state["reading.weight"].T + state["hidden.0.bias"]).relu()
    expected = hidden @ state["output.weight"].T + state["output.bias"]
    module = network.module(role, genes, state)
    assert torch.allclose(module(image.flatten(1) / 255), expected, atol=1e-6)
    assert [type(layer).__name__ for layer in module][1:4] == ["Conv2d", "ReLU", "Flatten"]


def test_first_values_are_spread_as_torch_s_own():
    network = CNN((64,), kernels=3, latent=64, hidden=(64,))
    role = Role(spaces.Box(0, 255, (8, 8, 3), np.uint8), 32)
    genes = network.genes(role.observation_space)
    state = network.initialise(role, genes, torch.Generator().manual_seed(0))
    for name, fan in (("conv.0", 27), ("latent", 64 * 16), ("output", 64)):
        for part in ("weight", "bias"):
            values = state[f"{name}.{part}"]
            assert 0.85 / fan**0.5 < float(values.abs().max()) <= 1 / fan**0.5


def context(population, seed=0):
    return Context(population.network, population.roles, {}, 0.1, torch.Generator().manual_seed(seed))


def outputs(population, member, observation, extra):
    """Every network of an agent, target and members included, on the same batch."""
    found = {}
    for name, role in population.roles.items():
        for kind in ("", ".target"):
            for index in range(role.ensemble_size):
                state = {key: value[index] for key, value in member.tensors[name + kind].items()}
                x = observation if not role.extra else torch.cat([observation, extra], 1)
                found[f"{name}{kind}{index}"] = population.network.module(role, member.genes, state)(x)
    return found


def learnt():
    population = mixed(TD3())
    for seed in range(3):
        population.learn(images.experience(images.IMAGE, 5, 16, seed, discrete=False))
    g = torch.Generator().manual_seed(9)
    return population, torch.rand(6, 7 * 6 * 3, generator=g).double(), torch.rand(6, 2, generator=g).double()


@pytest.mark.parametrize("gene", ["conv.0", "conv.1", "kernel.0", "kernel.1", "latent", "hidden.0"])
def test_growth_preserves_the_function_and_the_moments_of_what_survives(gene):
    population, observation, action = learnt()
    for row in range(5):
        member = population.individual(row)
        if gene not in population.network.sizes(member.genes):
            continue
        before = outputs(population, member, observation, action)
        moments = {n: m.clone() for n, m in member.tensors["critic.square"].items()}
        old = population.network.sizes(member.genes)[gene][0]
        resize(member, context(population), gene, old + 2)
        after = outputs(population, member, observation, action)
        for name, value in before.items():
            assert torch.allclose(value, after[name], atol=1e-9), f"{gene} of row {row}, {name}"
        for name, value in moments.items():
            kept = member.tensors["critic.square"][name]
            assert torch.isclose(kept.sum(), value.sum()), f"{name} lost or gained moments"


def layered(member, population, stack, adding):
    network = population.network

    class Scripted:
        """Draws the stack and the direction that the test wants."""

        def integers(self, count):
            return network.stacks(member.genes).index(stack)

        def random(self):
            return 0.0 if adding else 1.0

    return change_layers(member, context(population), Scripted())


@pytest.mark.parametrize("stack", ["conv", "hidden"])
def test_a_new_layer_preserves_the_function(stack):
    population, observation, action = learnt()
    for row in range(5):
        member = population.individual(row)
        before, shape = outputs(population, member, observation, action), member.genes
        layered(member, population, stack, adding=True)
        assert len(member.genes.hidden) == len(shape.hidden) + 1
        after = outputs(population, member, observation, action)
        for name, value in before.items():
            assert torch.allclose(value, after[name], atol=1e-9), f"row {row}, {name}"


def test_a_removed_convolution_loses_its_activation_alone():
    network = CNN((3, 4), strides=(2, 2), kernels=(3, 4), latent=5, hidden=(6,), **SMALL)
    population = images.grown(DQN(), [network], images.IMAGE, settings_of("DQN")[:1])
    member = population.individual(0)
    one = member.genes.encoders[0]
    linear = dataclasses.replace(one, activation=(one.activation[0], "identity", one.activation[2]))
    member.genes = member.genes.with_encoder(0, linear)
    observation = torch.rand(6, 7 * 6 * 3, generator=torch.Generator().manual_seed(3)).double()
    before = outputs(population, member, observation, None)
    layered(member, population, "conv", adding=False)
    assert member.genes.encoders[0].channels == (3,)
    after = outputs(population, member, observation, None)
    assert all(torch.allclose(value, after[name], atol=1e-9) for name, value in before.items())


@pytest.mark.usefixtures("way")
def test_a_thousand_mutations_keep_every_limit_and_every_row():
    network = CNN((4, 6), latent=8, hidden=(8,), max_channels=16, max_latent=16, max_units=24, **SMALL)
    space = spaces.Box(0, 255, (6, 5, 2), np.uint8)
    population = ev.Population(
        "DQN", space, spaces.Discrete(3), 8, network=network, hyperparameters={"batch_size": 8}, seed=3
    )
    mutations = ev.Mutations(
        none=0, architecture=3, activation=1, new_layer=0.4, extra={"reset": (0.5, ev.reset_dormant)}
    )
    fitness = np.random.default_rng(1)
    observation = images.observations(space, (8, 4), torch.Generator().manual_seed(0))
    kinds = set()
    for generation in range(150):
        births = ev.evolve(
            population, fitness.normal(size=8), ev.Tournament(), mutations, generation=generation
        )
        kinds |= {birth.kind for birth in births}
        for member in population.individuals:
            for label, (size, low, high, _) in network.sizes(member.genes).items():
                assert low <= size <= high, label
            (one,) = member.genes.encoders
            assert 1 <= len(one.channels) <= 6
            assert 1 <= len(member.genes.head) <= 3
            assert len(one.kernels) == len(one.strides) == len(one.channels) == len(one.activation) - 1
            assert network.from_json(network.to_json(member.genes)) == member.genes
        if generation % 10 == 9:
            population.learn(images.experience(space, 8, 8, generation, discrete=True))
            assert all(bool(torch.isfinite(value).all()) for value in population.table.values())
            for name, mask in padding(population).items():
                assert not population.table[name][mask].any(), f"padding of {name} is not zero"
            together = population.act(observation, explore=False)
            for row in range(8):
                assert torch.equal(population[row].module()(observation[row]).argmax(-1), together[row])
    assert kinds >= {"architecture", "activation", "parameters", "hyperparameters", "reset"}


def test_an_update_runs_on_the_meta_device():
    population = ev.Population("TD3", images.IMAGE, spaces.Box(-1, 1, (2,)), 3, seed=1, device="meta")
    batch = images.experience(images.IMAGE, 3, 8, 0, discrete=False)
    population.algorithm.update(
        population.groups[0],
        population.learner.batch_of(population.groups[0], to_batch(batch, population.device)),
        torch.empty(3, 8, 2, device="meta"),
    )


def test_an_agent_on_disk_is_the_agent_that_was_saved(tmp_path):
    population = mixed(DQN())
    observation = images.observations(images.IMAGE, (3,), torch.Generator().manual_seed(0))
    population[2].save(tmp_path / "agent")
    loaded = ev.Agent.load(tmp_path / "agent")
    assert loaded.genes == population[2].genes
    assert torch.equal(loaded.module()(observation), population[2].module()(observation))


def test_the_default_network_suits_the_space():
    box, flag = spaces.Box(0, 255, (8, 8, 3), np.uint8), spaces.Discrete(2)
    default = [
        (box, ev.CNN),
        (spaces.Box(-1, 1, (4,)), ev.MLP),
        (spaces.Box(-1, 1, (4, 4, 3)), ev.MLP),
        (spaces.Dict({"flag": flag}), ev.MLP),
        (spaces.Dict({"deep": spaces.Tuple((flag, box))}), ev.MultiInput),
    ]
    for space, kind in default:
        assert type(ev.Population("DQN", space, spaces.Discrete(2), 1, seed=0).network) is kind


def caught(steps):
    """The mean return at catching the ball, from -1 to 1, after so many steps of each of two agents."""
    experiment = ev.Experiment(
        Catch,
        algorithm="DQN",
        population=2,
        num_envs=4,
        network=ev.CNN((16,), latent=32, hidden=(32,)),
        hyperparameters={"lr": 1e-3, "batch_size": 32, "epsilon_steps": 2_000, "tau": 0.02, "learn_step": 2},
        steps_per_generation=steps,
        eval_episodes=40,
        seed=1,
        **by_episodes(2),
    )
    experiment.fill(500)
    experiment.step()
    return max(experiment.history.generations[-1].evaluations, key=lambda one: one.fitness).fitness


def test_a_population_that_sees_trains_and_is_evaluated():
    assert -1 <= caught(40) <= 1


@pytest.mark.slow
def test_dqn_learns_to_catch_a_ball_from_pictures():
    assert caught(8_000) >= 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": []}, r"CNN: channels is \[\]; whole numbers of at least 1 are expected"),
        ({"channels": [8, 0]}, "channels"),
        ({"kernels": [3]}, "kernels has 1 values for 2 convolutions"),
        ({"strides": 0}, "strides is 0"),
        ({"latent": 0}, "latent is 0"),
        ({"hidden": [2.5]}, r"hidden is \[2.5\]"),
        ({"activation": "rellu"}, "activation is 'rellu'; known are relu"),
    ],
    ids=str,
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        CNN(**options)


def test_a_vector_is_no_image():
    with pytest.raises(TypeError, match=r"CNN needs images.*Use\s+ev\.MLP"):
        ev.Population("DQN", spaces.Box(-1, 1, (4,)), spaces.Discrete(2), 1, network=CNN())
