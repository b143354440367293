"""Residual blocks behind convolutions: the network of Espeholt et al. 2018, and how it evolves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import nn

import evolab as ev
from evolab.algorithms.dqn import DQN
from evolab.algorithms.td3 import TD3
from evolab.core.experience import to_batch
from evolab.evolution.mutation.architecture_path import reshape
from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.depth import restack
from evolab.evolution.mutation.resize_tensors import resize
from evolab.networks.base import Layout, Role
from evolab.networks.cnn import kernel as cnn_kernel
from evolab.testing import check_network
from tests.catch import Catch
from tests.mixed import padding, settings_of
from tests.networks import images
from tests.small import by_episodes

IMPALA = ev.CNN([16, 32, 32], blocks=2, latent=256, hidden=[])
ATARI = spaces.Box(0, 255, (4, 84, 84), np.uint8)
SMALL = {"min_channels": 2, "min_latent": 2, "min_units": 4}
NETWORKS = [
    ev.CNN((4, 6), blocks=2, latent=8, hidden=(8,), **SMALL),
    ev.CNN((5, 5), blocks=2, latent=7, hidden=(9,), activation="elu", **SMALL),
    ev.CNN((3, 4), blocks=(1, 2), strides=(2, 1), latent=7, hidden=(6,), **SMALL),
    ev.CNN((5,), kernels=5, blocks=1, strides=3, latent=6, hidden=(8, 6), activation="gelu", **SMALL),
]


@pytest.fixture(params=[0.0, float("inf")], ids=["by_row", "grouped"])
def way(request, monkeypatch):
    """Both ways to compute, whatever suits the size."""
    monkeypatch.setattr(cnn_kernel, "BY_ROW", request.param)


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.one, self.two = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return x + self.two(F.relu(self.one(F.relu(x))))


def impala(channels=(16, 32, 32), blocks=2, outputs=6, flat=32 * 11 * 11, latent=256, frames=4):
    """As the source draws it, written with plain modules."""
    layers = []
    for before, here in zip((frames, *channels), channels, strict=False):
        layers += [nn.Conv2d(before, here, 3, padding=1), nn.MaxPool2d(3, stride=2, padding=1)]
        layers += [Block(here) for _ in range(blocks)]
    return nn.Sequential(
        *layers, nn.ReLU(), nn.Flatten(), nn.Linear(flat, latent), nn.ReLU(), nn.Linear(latent, outputs)
    )


def own_of(layout, row, shapes):
    """One agent's tensors in a row of a group, without its padding."""
    views = layout.views(row)
    return {name: views[name][tuple(slice(0, axis.size) for axis in axes)] for name, axes in shapes.items()}


@pytest.mark.usefixtures("way")
def test_it_is_the_network_of_the_source_in_outputs_and_gradients_of_every_agent():
    """Two agents of unlike width in one group, each beside a network written with plain modules."""
    role, generator = Role(ATARI, 6), torch.Generator().manual_seed(0)
    narrow = ev.CNN([8, 16, 24], blocks=2, latent=64, hidden=[]).genes(ATARI)
    genes = [IMPALA.genes(ATARI), narrow]
    layout = Layout.of(IMPALA.axes(role, IMPALA.capacity(genes)))
    flat = torch.zeros(2, 1, layout.size, dtype=torch.float64)
    modules = []
    for row, one in enumerate(genes):
        shapes = IMPALA.axes(role, one)
        state = IMPALA.initialise(role, one, generator)
        for name, mine in own_of(layout, flat[row, 0], shapes).items():
            mine.copy_(state[name])
        (encoder,) = one.encoders
        plainly = impala(encoder.channels, latent=encoder.latent, flat=121 * encoder.channels[-1]).double()
        given = list(IMPALA.module(role, one, own_of(layout, flat[row, 0], shapes)).parameters())
        assert [tuple(own.shape) for own in plainly.parameters()] == [tuple(own.shape) for own in given]
        with torch.no_grad():
            for own, mine in zip(plainly.parameters(), given, strict=True):
                own.copy_(mine)
        modules.append(plainly)
    assert sum(own.numel() for own in modules[0].parameters()) == 1_090_774
    picture = torch.randint(0, 256, (2, 3, 4, 84, 84), generator=generator, dtype=torch.uint8)
    out = IMPALA.kernel(role, genes, layout)(flat.requires_grad_(), picture)
    (gradient,) = torch.autograd.grad(out.square().sum(), flat)
    for row, (one, plainly) in enumerate(zip(genes, modules, strict=True)):
        expected = plainly(picture[row].double() / 255)
        torch.testing.assert_close(out[row], expected, rtol=0, atol=1e-10)
        expected.square().sum().backward()
        mine = own_of(layout, gradient[row, 0], IMPALA.axes(role, one))
        ours = IMPALA.module(role, one, mine).parameters()  # a gradient laid out as a network
        for left, right in zip(ours, plainly.parameters(), strict=True):
            torch.testing.assert_close(left.detach(), right.grad, rtol=0, atol=1e-8)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("algorithm", [DQN(), TD3()], ids=repr)
def test_one_of_many_learns_as_if_alone_and_sleeping_channels_never_move(algorithm):
    settings = settings_of(algorithm.name)
    population = images.grown(algorithm, NETWORKS, images.IMAGE, [settings[0], *settings[:3]])
    assert len(population.groups) == 3
    agents = images.plain(population)
    images.learn_beside(population, agents, images.IMAGE, 6)
    images.compare(population, agents)
    masks = padding(population)
    assert sum(int(mask.sum()) for mask in masks.values()) > 0
    for name, mask in masks.items():
        assert not population.table[name][mask].any(), f"padding of {name} moved"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("network", NETWORKS, ids=lambda one: one.describe(one.genes(images.IMAGE)))
@pytest.mark.parametrize("shape", [(7, 6, 3), (3, 7, 6)], ids=["channels_last", "channels_first"])
def test_it_holds_the_contract(network, shape):
    check_network(network, spaces.Box(0, 255, shape, np.uint8))


def test_it_reads_images_beside_other_observations_and_before_a_memory():
    both = spaces.Dict({"eye": images.IMAGE, "speed": spaces.Box(-1, 1, (2,))})
    check_network(ev.MultiInput((4, 3), blocks=1, latent=4, hidden=[8], **SMALL), both)
    check_network(
        ev.Recurrent(8, encoder=ev.CNN((4,), blocks=1, latent=4, hidden=[8], **SMALL)), images.IMAGE
    )


def context(population, seed=0):
    return Context(population.network, population.roles, {}, 0.1, torch.Generator().manual_seed(seed))


def learnt():
    """A few updates of one agent with twin critics and targets, so that nothing is as it was drawn."""
    population = images.grown(TD3(), [NETWORKS[1]], images.IMAGE, settings_of("TD3")[:1])
    for seed in range(3):
        population.learn(images.experience(images.IMAGE, 1, 16, seed, discrete=False))
    return population


def outputs(population, member):
    """Every network of an agent, targets and members included, on one batch."""
    g = torch.Generator().manual_seed(9)
    seen, action = torch.rand(6, 7 * 6 * 3, generator=g).double(), torch.rand(6, 2, generator=g).double()
    found = {}
    for name, role in population.roles.items():
        x = torch.cat([seen, action], 1) if role.extra else seen
        for kind in ("", ".target"):
            for index in range(role.ensemble_size):
                state = {key: value[index] for key, value in member.tensors[name + kind].items()}
                found[f"{name}{kind}{index}"] = population.network.module(role, member.genes, state)(x)
    return found


@pytest.mark.parametrize("gene", ["conv.0", "conv.1", "kernel.0", "kernel.1", "latent", "hidden.0"])
def test_growth_preserves_the_function_and_the_moments_of_what_survives(gene):
    population = learnt()
    member = population.individual(0)
    before = outputs(population, member)
    moments = {name: value.clone() for name, value in member.tensors["critic.square"].items()}
    resize(member, context(population), gene, population.network.sizes(member.genes)[gene][0] + 2)
    after = outputs(population, member)
    for name, value in before.items():
        torch.testing.assert_close(value, after[name], rtol=0, atol=1e-9)
    for name, value in moments.items():
        assert torch.isclose(member.tensors["critic.square"][name].sum(), value.sum()), name


@pytest.mark.parametrize("stack", ["conv", "blocks.0", "blocks.1"])
def test_a_new_stage_and_a_new_block_preserve_the_function_whatever_the_activation_and_can_learn(stack):
    """The second agent has ELU, behind which a plain convolution would have to start linear."""
    population = learnt()
    member = population.individual(0)
    before, shape = outputs(population, member), member.genes
    restack(member, context(population), stack, adding=True)
    assert member.genes != shape
    for name, value in outputs(population, member).items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-9)
    population.rebuild([member])
    new = {"conv": "conv.2.block.0", "blocks.0": "conv.0.block.2", "blocks.1": "conv.1.block.2"}[stack]
    for _ in range(3):
        population.learn(images.experience(images.IMAGE, 1, 16, 7, discrete=False))
    weights = population.individual(0).tensors["critic"]
    assert weights[f"{new}.1.weight"].abs().sum() > 0, "no gradient reaches the block"


def test_a_stage_that_goes_leaves_its_convolution_at_the_middle_of_each_window():
    """Exactly so where nothing else is lost: blocks that add nothing, a linear map, and windows of one entry's choice."""
    network = ev.CNN((3, 4), blocks=1, strides=(1, 1), latent=5, hidden=(6,), activation="relu", **SMALL)
    population = images.grown(DQN(), [network], images.IMAGE, settings_of("DQN")[:1])
    member = population.individual(0)
    for state in member.tensors.values():
        for name, value in state.items():
            if ".block." in name:
                value.zero_()
    kinds = ("identity",) * 3
    member.genes = member.genes.with_encoder(
        0, dataclasses.replace(member.genes.encoders[0], activation=kinds)
    )
    seen = torch.rand(6, 7 * 6 * 3, generator=torch.Generator().manual_seed(3)).double()
    role = population.roles["q"]

    def answer():
        return network.module(role, member.genes, {k: v[0] for k, v in member.tensors["q"].items()})(seen)

    before = answer()
    restack(member, context(population), "conv", adding=False)
    assert member.genes.encoders[0].channels == (3,)
    torch.testing.assert_close(answer(), before, rtol=0, atol=1e-9)


def test_a_pooled_stage_can_go_and_the_latent_layer_reads_the_larger_map():
    population = learnt()
    member = population.individual(0)
    restack(member, context(population), "conv", adding=False)
    assert member.tensors["actor"]["latent.weight"].shape == (1, 7, 4 * 3, 5)
    population.rebuild([member])
    population.learn(images.experience(images.IMAGE, 1, 16, 1, discrete=False))
    assert all(bool(torch.isfinite(value).all()) for value in population.table.values())


def test_a_line_is_followed_through_blocks_that_came_and_went():
    """A replay reshapes agents by the steps that mutations take; a block has no size by which to tell it."""
    network = NETWORKS[0]
    population = ev.Population(
        "DQN", images.IMAGE, spaces.Discrete(3), 1, network=network, seed=0, device="cpu"
    )
    member, start = population.individual(0), network.genes(images.IMAGE)
    for stacks in (["blocks.1", "conv", "blocks.2"], []):
        wanted = start
        for stack in stacks:
            wanted = network.deeper(wanted, stack)
        reshape(member, context(population), wanted)
        assert member.genes == wanted
        assert network.from_json(network.to_json(wanted)) == wanted


@pytest.mark.usefixtures("way")
def test_hundreds_of_mutations_keep_every_limit_and_every_row():
    network = ev.CNN(
        (4, 6), blocks=1, latent=8, hidden=(8,), max_layers=3, max_blocks=2, max_channels=12, max_latent=16,
        max_units=24, **SMALL,
    )  # fmt: skip
    space = spaces.Box(0, 255, (6, 5, 2), np.uint8)
    population = ev.Population(
        "DQN", space, spaces.Discrete(3), 6, network=network, hyperparameters={"batch_size": 8}, seed=3
    )
    mutations = ev.Mutations(
        none=0, architecture=3, activation=1, new_layer=0.6, extra={"reset": (0.5, ev.reset_dormant)}
    )
    fitness = np.random.default_rng(1)
    observation = images.observations(space, (6, 4), torch.Generator().manual_seed(0))
    seen = set()
    for generation in range(60):
        ev.evolve(population, fitness.normal(size=6), ev.Tournament(), mutations, generation=generation)
        for member in population.individuals:
            for label, (size, low, high, _) in network.sizes(member.genes).items():
                assert low <= size <= high, label
            (one,) = member.genes.encoders
            seen.add(one.blocks)
            assert 1 <= len(one.channels) == len(one.blocks) <= 3
            assert 1 <= min(one.blocks) <= max(one.blocks) <= 2
            assert network.from_json(network.to_json(member.genes)) == member.genes
        if generation % 10 == 9:
            population.learn(images.experience(space, 6, 8, generation, discrete=True))
            for name, mask in padding(population).items():
                assert not population.table[name][mask].any(), f"padding of {name} is not zero"
            together = population.act(observation, explore=False)
            for row in range(6):
                assert torch.equal(population[row].module()(observation[row]).argmax(-1), together[row])
    assert {len(blocks) for blocks in seen} == {1, 2, 3}
    assert {count for blocks in seen for count in blocks} == {1, 2}


def test_an_update_runs_on_the_meta_device():
    population = ev.Population(
        "TD3", images.IMAGE, spaces.Box(-1, 1, (2,)), 3, network=NETWORKS[0], seed=1, device="meta"
    )
    batch = images.experience(images.IMAGE, 3, 8, 0, discrete=False)
    population.algorithm.update(
        population.groups[0],
        population.learner.batch_of(population.groups[0], to_batch(batch, population.device)),
        torch.empty(3, 8, 2, device="meta"),
    )


def test_an_agent_on_disk_is_the_agent_that_was_saved(tmp_path):
    population = images.grown(DQN(), NETWORKS, images.IMAGE, settings_of("DQN")[:4])
    population[2].save(tmp_path / "agent")
    loaded, seen = (
        ev.Agent.load(tmp_path / "agent"),
        images.observations(images.IMAGE, (3,), torch.Generator()),
    )
    assert loaded.genes == population[2].genes
    assert torch.equal(loaded.module()(seen), population[2].module()(seen))


@pytest.mark.parametrize("algorithm", ["DQN", "PPO"])
def test_they_train_and_evolve_with_it(algorithm):
    exp = ev.Experiment(
        Catch,
        algorithm=algorithm,
        population=2,
        num_envs=2,
        network=ev.CNN((4, 6), blocks=1, latent=16, hidden=[], min_channels=2),
        mutations=ev.Mutations(none=0, architecture=1, new_layer=0.5),
        steps_per_generation=64,
        seed=1,
        **(by_episodes(2) if algorithm == "DQN" else {}),
    )
    if algorithm == "DQN":
        exp.fill(64)
    exp.run(generations=3)
    assert exp.generation == 3
    assert all("residual block" in agent.describe()["architecture"] for agent in exp.population)
    assert "residual block" in repr(exp.history.generations[-1])
    changed = [b for one in exp.history.generations for b in one.births if b.kind == "architecture"]
    assert changed
    # What changed, and not the whole network before and after it.
    assert all(len(b.detail) < 30 and (" -> " in b.detail or ": one " in b.detail) for b in changed)
    exp.close()


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["DQN", "PPO"])
def test_they_learn_to_catch_a_ball_from_pictures_with_it(algorithm):
    own = (
        {"epsilon_steps": 2_000, "tau": 0.02, "learn_step": 2, "batch_size": 32} if algorithm == "DQN" else {}
    )
    exp = ev.Experiment(
        Catch,
        algorithm=algorithm,
        population=2,
        num_envs=4,
        network=ev.CNN((8, 16), blocks=1, latent=32, hidden=[]),
        hyperparameters={"lr": 1e-3, **own},
        steps_per_generation=4_000,
        seed=1,
        **(by_episodes(2) if algorithm == "DQN" else {}),
    )
    if algorithm == "DQN":
        exp.fill(500)
    exp.run(generations=4)
    with ev.envs.make(Catch, population=1, num_envs=1) as envs:
        unseen = float(ev.evaluate(ev.Population.of([exp.elite]), envs, 100, seed=10_000)[0])
    assert unseen >= 0.9
    exp.close()


def test_an_image_that_pooling_cannot_halve_is_refused_before_anything_is_drawn():
    with pytest.raises(
        ValueError, match=r"convolution 2 of 3 gives a map of 2x1, of an image of 4x2.* fewer channels="
    ):
        ev.Population("DQN", spaces.Box(0, 255, (4, 2, 1), np.uint8), spaces.Discrete(3), 1, network=IMPALA)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (-1, "blocks is -1; whole numbers of at least 1"),
        ([1, 0, 1], "blocks is"),
        ([2], "blocks has 1 values for 3 convolutions"),
        (True, "blocks is True"),
    ],
    ids=str,
)
def test_blocks_that_cannot_be_are_named(blocks, message):
    with pytest.raises(ValueError, match=message):
        ev.CNN([4, 4, 4], blocks=blocks)


def test_genes_from_a_file_that_do_not_fit_are_named():
    value = NETWORKS[0].to_json(NETWORKS[0].genes(images.IMAGE))
    assert "blocks" not in ev.CNN([8]).to_json(ev.CNN([8]).genes(ATARI))["encoders"][0]
    for blocks in ([2], [2, 0]):
        with pytest.raises(ValueError, match=r"encoders\[0\].blocks is .* behind each of 2 convolutions"):
            NETWORKS[0].from_json(value | {"encoders": [value["encoders"][0] | {"blocks": blocks}]})
