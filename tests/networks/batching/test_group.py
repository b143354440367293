"""A group's shortcuts are the same steps as autograd's."""

from __future__ import annotations

import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import nn

import evolab as ev
from evolab.algorithms.losses import DeterministicPolicyGradient, SquaredError
from evolab.networks.batching.gradients import TrackedPass
from evolab.networks.batching.group import AgentGroup
from evolab.networks.custom import Stack
from evolab.networks.kernels import build
from evolab.networks.loss import Loss

SPACE = Box(-1, 1, (5,))


def mixed(algorithm: str, network: ev.Network | None = None) -> ev.Population:
    """Three agents of different width, depth and activation, in float64."""
    actions = Discrete(3) if algorithm == "DQN" else Box(-1, 1, (2,))
    population = ev.Population(
        algorithm, SPACE, actions, size=3, network=network or ev.MLP([8, 8]), seed=1, dtype=torch.float64
    )
    kinds = ev.Mutations(none=0, architecture=1, parameters=0, activation=1, hyperparameters=0)
    for generation in range(4):
        ev.evolve(population, torch.arange(3.0), ev.Tournament(size=2), kinds, generation=generation)
    return population


def drawn(group: AgentGroup, batch: int = 6) -> tuple[torch.Tensor, ...]:
    """Observations, actions, targets and weights for a group."""
    g = torch.Generator().manual_seed(2)
    shape = (len(group), batch)
    return (
        torch.randn(*shape, 5, generator=g, dtype=torch.float64),
        torch.rand(*shape, 2, generator=g, dtype=torch.float64) * 2 - 1,
        torch.randn(*shape, generator=g, dtype=torch.float64),
        torch.rand(*shape, generator=g, dtype=torch.float64),
    )


class Squares(Loss):
    """Weighted squares of all outputs, whose gradient is autograd's."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight

    def __call__(self, out: torch.Tensor) -> torch.Tensor:
        return (self.weight * out.square().sum(-1)).sum(-1)


def losses(kind: str, group: AgentGroup) -> tuple[str, Loss, torch.Tensor | None]:
    """A network's name, a loss of its outputs, and what it reads beside the observation."""
    observation, action, target, weight = drawn(group)
    choice = torch.randint(3, target.shape, generator=torch.Generator().manual_seed(3))
    return {
        "twin critics": ("critic", SquaredError(target, weight), action),
        "policy": ("actor", DeterministicPolicyGradient(group, "critic", observation, weight), None),
        "chosen": ("q", SquaredError(target, weight, choice), None),
        "huber": ("q", SquaredError(3 * target, weight, choice, 0.7), None),
        "own": ("q", Squares(weight), None),
    }[kind]


NETWORKS = {
    "kernels": ev.MLP([8, 8]),
    "layer_norm": ev.MLP([8, 8], layer_norm=True),
    "module": Stack(
        lambda inputs, outputs: nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs))
    ),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", ["twin critics", "policy", "chosen", "huber", "own"])
@pytest.mark.parametrize("native", ["1", "0"], ids=["in C", "in torch"])
def test_a_gradient_step_is_minimising_the_loss(monkeypatch, native, kind, network):
    monkeypatch.setenv("EVOLAB_NATIVE", native)
    build.library.cache_clear()
    algorithm = "TD3" if kind in ("twin critics", "policy") else "DQN"
    one, other = mixed(algorithm, NETWORKS[network]), mixed(algorithm, NETWORKS[network])
    for ours, plain in zip(one.groups, other.groups, strict=True):
        observation = drawn(ours)[0]
        limit = torch.tensor([0.3, 5.0, 0.1], dtype=torch.float64)[: len(ours)] if kind == "own" else None
        name, loss, extra = losses(kind, ours)
        found = ours.gradient_step(name, loss, observation, extra, clip=limit)
        _, loss, extra = losses(kind, plain)
        expected = plain.minimise(name, lambda net, s=observation, e=extra, f=loss: f(net(s, e)), clip=limit)
        assert torch.allclose(found, expected, atol=1e-12)
    build.library.cache_clear()
    for name in one.roles:
        for kind in ("", ".mean", ".square", ".count"):
            assert torch.allclose(one.table[name + kind], other.table[name + kind], atol=1e-12)


def test_what_does_not_fit_a_regression_is_refused():
    group = mixed("DQN").groups[0]
    observation, _, target, weight = drawn(group)
    choice = torch.zeros(target.shape, dtype=torch.int64)
    before = group.flat("q").clone()
    for wrong in (3, -1):
        error = SquaredError(target, weight, torch.full_like(choice, wrong))
        with pytest.raises((IndexError, RuntimeError)):
            group.gradient_step("q", error, observation)
    with pytest.raises((ValueError, RuntimeError)):
        group.gradient_step("q", SquaredError(target[:, :4], weight, choice), observation)
    assert torch.equal(group.flat("q"), before)
    error = SquaredError(target.float(), weight.float(), choice)
    assert torch.isfinite(group.gradient_step("q", error, observation)).all()


def test_several_passes_of_one_loss_add_up():
    population = mixed("TD3")
    group = population.groups[0]
    observation, action, target, _ = drawn(group)
    flat, kernel = group.flat("critic"), group.bound["critic"].kernel
    tracked = TrackedPass(kernel, flat)
    leaf = flat.detach().requires_grad_()

    def loss(net):
        twice = net(observation, action).sum((1, 2, 3)) * target.sum(-1)
        return (
            twice
            + net(observation, -action).square().sum((1, 2, 3))
            + net(observation, action, member=1).sum((1, 2))
        )

    ours = tracked.gradient(torch.autograd.grad(loss(tracked).sum(), tracked.leaves()))
    expected = torch.autograd.grad(
        loss(lambda o, extra=None, member=None: kernel(leaf, o, extra, member)).sum(), leaf
    )[0]
    assert torch.allclose(ours, expected, atol=1e-10)


def test_a_loss_that_ignores_its_network_is_named():
    group = mixed("TD3").groups[0]
    with pytest.raises(ValueError, match="does not use the network"):
        group.minimise("critic", lambda net: torch.zeros(len(group), dtype=torch.float64))
