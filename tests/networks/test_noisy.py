"""Noisy layers, against plain ones whose weights were written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium import spaces

import evolab as ev
from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.depth import restack
from evolab.evolution.mutation.resize_tensors import resize
from evolab.networks.base import Layout, Role
from evolab.networks.noisy.noise import disturbed, drawn
from evolab.networks.noisy.noisy import NoisyLayers
from evolab.testing import check_network
from tests.mixed import FEATURES, mixed

VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
PICTURE = spaces.Box(0, 255, (8, 8, 3), np.uint8)
BOTH = spaces.Dict({"eye": PICTURE, "speed": VECTOR})


@pytest.mark.parametrize(
    ("network", "space"),
    [
        (ev.MLP([20, 24], min_units=8), VECTOR),
        (ev.MLP([20], layer_norm=True), VECTOR),
        (ev.CNN([6], latent=20, hidden=[24]), PICTURE),
        (ev.CNN([6], latent=20, hidden=[]), PICTURE),
        (ev.MultiInput(channels=[6], latent=20, hidden=[24]), BOTH),
    ],
    ids=["mlp", "normalised", "cnn", "nature", "both"],
)
def test_they_hold_the_contract_around_other_networks(network, space):
    check_network(NoisyLayers(network), space)


def noisy_linear(state, name, x, numbers, scale):
    """A layer of one agent, [B, I] to [B, O], with the first of its numbers; and those that are left."""
    outputs, inputs = state[f"{name}.weight"].shape
    signed = numbers.sign() * numbers.abs().sqrt()
    out, into = signed[:outputs], signed[outputs : outputs + inputs]
    weight = state[f"{name}.weight"] + scale * state[f"noise.{name}.weight"] * torch.outer(out, into)
    bias = state[f"{name}.bias"] + scale * state[f"noise.{name}.bias"] * out
    return F.linear(x, weight, bias), numbers[outputs + inputs :]


def answers(state, genes, x, numbers, scale):
    """Outputs of one agent's perceptron with noise in its weights."""
    for index, kind in enumerate(genes.activation):
        x, numbers = noisy_linear(state, f"hidden.{index}", x, numbers, scale)
        x = getattr(F, kind)(x) if kind != "tanh" else x.tanh()
    return noisy_linear(state, "output", x, numbers, scale)[0]


@pytest.mark.parametrize("compiled", [True, False])
def test_eight_agents_of_different_shape_are_disturbed_each_by_its_own_numbers(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(ev.MLP, "computes_unpadded", lambda self, like: False)
    population = mixed(ev.DQN(noisy=True))
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(8, 4, FEATURES, generator=generator, dtype=torch.float64)
    scale = torch.linspace(0.0, 2.0, 8, dtype=torch.float64)
    for group in population.groups:
        own, seen = scale[group.rows], x[group.rows]
        noise = drawn(group, "q", 1, generator)[:, 0]
        assert group.buckets[0].bound["q"].kernel.noises <= noise.shape[1]
        with disturbed(group, "q", noise, own):
            found = group.network("q")(seen)
        calm = group.network("q")(seen)
        for row in range(len(group)):
            individual = population.individual(group.start + row)
            state = {name: value[0] for name, value in individual.tensors["q"].items()}
            about = state, individual.genes, seen[row], noise[row]
            torch.testing.assert_close(found[row], answers(*about, own[row]), rtol=0, atol=1e-12)
            torch.testing.assert_close(calm[row], answers(*about, 0.0), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("network", "space"),
    [
        (ev.MLP([6, 5], activation="tanh"), VECTOR),
        (ev.CNN([3], latent=6, hidden=[5], activation="tanh"), PICTURE),
        (ev.MultiInput(channels=[3], latent=6, hidden=[], activation="tanh"), BOTH),
    ],
    ids=["mlp", "cnn", "both"],
)
def test_gradients_of_means_and_of_sizes_are_autograds_own(network, space):
    recipe, role = NoisyLayers(network), Role(space, 2)
    genes = recipe.genes(space)
    layout = Layout.of(recipe.axes(role, genes))
    kernel = recipe.kernel(role, [genes, genes], layout)
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(2, 1, layout.size, generator=generator, dtype=torch.float64) / 3
    numbers = torch.randn(2, kernel.noises, generator=generator, dtype=torch.float64)
    seen = ev.core.trees.map_leaves(
        lambda leaf: torch.as_tensor(leaf)[None].expand(2, *leaf.shape),
        {name: np.stack([space[name].sample() for _ in range(3)]) for name in space}
        if isinstance(space, spaces.Dict)
        else np.stack([space.sample() for _ in range(3)]),
    )
    wanted = torch.randn(2, 3, 2, generator=generator, dtype=torch.float64)
    kernel.disturb(numbers, torch.tensor([1.0, 0.7], dtype=torch.float64))
    out, backward = kernel.vjp_parameters(flat, seen)
    found = backward(wanted)
    leaf = flat.clone().requires_grad_()
    with torch.enable_grad():
        again = kernel(leaf, seen)
    torch.testing.assert_close(out, again.detach(), rtol=0, atol=1e-12)
    (expected,) = torch.autograd.grad((again * wanted).sum(), leaf)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    sizes = recipe.axes(role, genes).keys() - network.axes(role, genes).keys()
    assert all(layout.views(found)[name].abs().sum() > 0 for name in sizes)
    assert not any("conv" in name for name in sizes)


def test_noise_starts_at_half_over_the_root_of_a_layers_inputs():
    recipe = NoisyLayers(ev.MultiInput(channels=[3], latent=13, hidden=[5]))
    state = recipe.initialise(Role(BOTH, 2), recipe.genes(BOTH), torch.Generator().manual_seed(0))
    for name in ("noise.reading.weight", "noise.side.weight", "noise.hidden.0.bias"):
        assert torch.equal(state[name], torch.full_like(state[name], 0.5 / 16**0.5)), name  # 13 and 3 inputs
    assert torch.allclose(state["noise.output.weight"], torch.tensor(0.5 / 5**0.5))


def agent(**options):
    population = ev.Population(
        ev.DQN(noisy=True),
        VECTOR,
        spaces.Discrete(2),
        1,
        network=ev.MLP([16, 16], **options),
        seed=0,
        device="cpu",
    )
    context = Context(population.network, population.roles, {}, 0.1, torch.Generator().manual_seed(0))
    return population, population.individual(0).child(1), context


@pytest.mark.parametrize("adding", [True, False])
def test_another_layer_keeps_the_greedy_actions_and_has_noise_of_its_own(adding):
    population, child, context = agent()
    seen = np.random.default_rng(0).normal(size=(1, 5, 3)).astype(np.float32)
    before = population.groups[0].network("q")(torch.as_tensor(seen))
    child.tensors["q"]["noise.hidden.0.weight"] += 1.0
    restack(child, context, "hidden", adding)
    state, last = child.tensors["q"], f"hidden.{2 if adding else 0}"
    assert set(state) == set(NoisyLayers(population.network).axes(population.roles["q"], child.genes))
    assert torch.all(state["noise.hidden.0.weight"] > 1.0)  # what stays is carried on
    assert torch.all(state[f"noise.{last}.weight"] > 0)
    assert torch.allclose(state["noise.output.weight"], torch.tensor(0.125))
    assert not any(value.any() for value in child.tensors["q.mean"].values())
    population.rebuild([child])
    if adding:
        torch.testing.assert_close(population.groups[0].network("q")(torch.as_tensor(seen)), before)


def test_a_new_unit_has_noise_coming_in_and_none_going_out():
    _, child, context = agent()
    resize(child, context, "hidden.0", 32)
    state = child.tensors["q"]
    assert torch.all(state["noise.hidden.0.weight"][:, 16:] > 0)
    assert not state["noise.hidden.1.weight"][:, :, 16:].any()
    assert torch.all(state["noise.hidden.1.weight"][:, :, :16] > 0)


def test_a_network_without_a_layer_that_can_be_noisy_is_named():
    network = ev.Stack(lambda inputs, outputs: Scale(inputs, outputs))
    with pytest.raises(ValueError, match=r"noisy layers: .* has no fully connected layer"):
        ev.Population(ev.DQN(noisy=True), VECTOR, spaces.Discrete(2), 1, network=network, device="cpu")


class Scale(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return x.sum(-1, keepdim=True) + self.bias
