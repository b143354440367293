"""Perceptrons of a mixed group against torch's own modules."""

from __future__ import annotations

import pytest
import torch

from evolab.algorithms.dqn import DQN
from evolab.algorithms.td3 import TD3
from evolab.networks.base import Layout, Role
from evolab.networks.mlp.mlp import MLP, MLPGenes
from tests.mixed import FEATURES, OBSERVATIONS, SHAPES, mixed, modules_of


def packed(genes, role, layer_norm=False, seed=0):
    """A group's flat parameters [C, M, N], its kernel, and every member's plain module."""
    network = MLP([8], layer_norm=layer_norm)
    genes = sorted(genes, key=network.order)
    layout = Layout.of(network.axes(role, network.capacity(genes)))
    flat = torch.zeros(len(genes), role.ensemble_size, layout.size, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    modules = []
    for row, gene in enumerate(genes):
        modules.append([])
        for member in range(role.ensemble_size):
            state = {k: v.double() for k, v in network.initialise(role, gene, generator).items()}
            views = layout.views(flat[row, member])
            for name, value in state.items():
                if name.endswith((".scale", ".shift")):
                    value += 0.1 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
                views[name][tuple(slice(0, n) for n in value.shape)] = value
            modules[-1].append(network.module(role, gene, state))
    return flat, network.kernel(role, genes, layout), modules, layout, genes


GENES = [MLPGenes(hidden, (kind,) * len(hidden)) for hidden, kind in SHAPES] + [
    MLPGenes((16, 16), ("elu", "identity")),
    MLPGenes((10,), ("leaky_relu",)),
]


@pytest.mark.parametrize("layer_norm", [False, True], ids=["bare", "layer_norm"])
@pytest.mark.parametrize(("members", "selected"), [(1, None), (2, None), (2, 0), (2, 1)])
def test_forward_and_backward_equal_plain_modules(members, selected, layer_norm):
    role = Role(OBSERVATIONS, 3, extra=2, ensemble_size=members)
    flat, kernel, modules, layout, genes = packed(GENES, role, layer_norm)
    generator = torch.Generator().manual_seed(1)
    observation = torch.randn(len(genes), 7, FEATURES, generator=generator, dtype=torch.float64)
    extra = torch.randn(len(genes), 7, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    leaf = flat.clone().requires_grad_()
    out = kernel(leaf, observation, extra, selected)
    rows = [selected] if selected is not None else range(members)
    stacked = out.unsqueeze(1) if members == 1 or selected is not None else out
    weight = torch.randn(stacked.shape, generator=generator, dtype=torch.float64)
    gradient, to_extra = torch.autograd.grad((stacked * weight).sum(), (leaf, extra))

    expected = torch.zeros_like(flat)
    plain_extra = extra.detach().clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for row in range(len(genes)):
        for place, member in enumerate(rows):
            answer = modules[row][member](torch.cat([observation[row], plain_extra[row]], -1))
            assert torch.allclose(stacked[row, place], answer, atol=1e-12)
            total = total + (answer * weight[row, place]).sum()
    total.backward()
    for row, gene in enumerate(genes):
        names = MLP([8], layer_norm=layer_norm).axes(role, gene)
        for member in rows:
            views = layout.views(expected[row, member])
            for name, parameter in zip(names, modules[row][member].parameters(), strict=True):
                views[name][tuple(slice(0, n) for n in parameter.shape)] = parameter.grad
    assert torch.allclose(gradient, expected, atol=1e-11)
    assert torch.allclose(to_extra, plain_extra.grad, atol=1e-11)


def test_gradients_written_into_a_reused_store_are_the_same_again():
    role = Role(OBSERVATIONS, 1, ensemble_size=2)
    flat, kernel, _, _, _genes = packed(GENES[:3], role)
    observation = torch.randn(3, 4, FEATURES, dtype=torch.float64)
    found = []
    for _ in range(3):
        leaf = flat.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(kernel(leaf, observation).square().sum(), leaf)
        found.append(gradient.clone())
        gradient.fill_(float("nan"))
        kernel.give_back(gradient)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_loss_may_use_its_network_twice():
    population = mixed(DQN(), SHAPES[:3])
    group = population.groups[0]
    modules = [modules_of(population, row) for row in range(len(group))]
    observation = torch.randn(2, len(group), 6, FEATURES, dtype=torch.float64)
    for _ in range(2):
        leaf = group.flat("q").detach().clone().requires_grad_()
        kernel = group.bound["q"].kernel
        loss = kernel(leaf, observation[0]).square().sum() + kernel(leaf, observation[1]).sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        for row, module in enumerate(modules):
            q = module["q"]
            q.zero_grad()
            (q(observation[0, row]).square().sum() + q(observation[1, row]).sum()).backward()
            views = group.layout("q", row).views(gradient[row, 0])
            first = next(iter(q.parameters()))
            got = views["hidden.0.weight"][: first.shape[0], : first.shape[1]]
            assert torch.allclose(got, first.grad, atol=1e-11)
        kernel.give_back(gradient)


@pytest.mark.parametrize("algorithm", [DQN(), TD3()], ids=lambda a: a.name)
def test_a_solo_group_computes_as_its_row(algorithm):
    population = mixed(algorithm)
    observation = torch.randn(8, 4, FEATURES, dtype=torch.float64)
    name = "q" if algorithm.name == "DQN" else "actor"
    together = torch.cat([c.network(name)(observation[c.rows]) for c in population.groups])
    for row in range(8):
        alone = population.table.solo(row).network(name)(observation[row : row + 1])
        assert torch.allclose(alone[0], together[row], atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": []}, r"MLP: hidden is \[\]; widths of at least 1 are expected, such as \[64, 64\]."),
        ({"hidden": [64, 0]}, "widths of at least 1 are expected"),
        ({"hidden": [64, 1.5]}, "widths of at least 1 are expected"),
        ({"activation": "rleu"}, "MLP: activation is 'rleu'; known are relu, elu, gelu"),
    ],
)
def test_a_wrong_perceptron_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MLP(**options)


def test_initialisation_is_that_of_torch():
    role = Role(OBSERVATIONS, 3)
    state = MLP([400]).initialise(role, MLPGenes((400,), ("relu",)), torch.Generator().manual_seed(0))
    like = torch.nn.Linear(400, 3)
    bound = 1 / 400**0.5
    assert state["output.weight"].shape == like.weight.shape
    assert state["output.weight"].abs().max() <= bound
    assert state["output.weight"].std() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert state["hidden.0.weight"].abs().max() <= 1 / FEATURES**0.5
