"""A group's shortcuts are the same steps as autograd's."""

from __future__ import annotations

import pytest
import torch
from gymnasium.spaces import Box, Discrete

import evolab as ev
from evolab.networks.batching.bucket import tracked_pass
from evolab.networks.batching.gradients import squared_error
from evolab.networks.batching.group import AgentGroup

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


def same_step(one: ev.Population, other: ev.Population, name: str) -> None:
    """Both populations hold the same parameters and moments."""
    for kind in ("", ".mean", ".square", ".count"):
        assert torch.allclose(one.table[name + kind], other.table[name + kind], atol=1e-12)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_regressing_twin_critics_is_minimising_their_squared_error(layer_norm):
    network = ev.MLP([8, 8], layer_norm=layer_norm)
    one, other = mixed("TD3", network), mixed("TD3", network)
    for ours, plain in zip(one.groups, other.groups, strict=True):
        observation, action, target, weight = drawn(ours)
        loss = ours.regress("critic", target, weight, observation, action)

        def error(net, target=target, weight=weight, observation=observation, action=action):
            return (weight[:, None] * (net(observation, action).squeeze(-1) - target[:, None]) ** 2).sum(
                (1, 2)
            )

        assert torch.allclose(loss, plain.minimise("critic", error), atol=1e-12)
    same_step(one, other, "critic")


def test_regressing_chosen_values_is_minimising_their_squared_error():
    one, other = mixed("DQN"), mixed("DQN")
    for ours, plain in zip(one.groups, other.groups, strict=True):
        observation, _, target, weight = drawn(ours)
        choice = torch.randint(3, target.shape, generator=torch.Generator().manual_seed(3))
        loss = ours.regress("q", target, weight, observation, choice=choice)
        expected = plain.minimise(
            "q",
            lambda net, o=observation, t=target, w=weight, c=choice: squared_error(net(o), t, w, c),
        )
        assert torch.allclose(loss, expected, atol=1e-12)
    same_step(one, other, "q")


def test_what_does_not_fit_a_regression_is_refused():
    group = mixed("DQN").groups[0]
    observation, _, target, weight = drawn(group)
    choice = torch.zeros(target.shape, dtype=torch.int64)
    before = group.flat("q").clone()
    for wrong in (3, -1):
        with pytest.raises((IndexError, RuntimeError)):
            group.regress("q", target, weight, observation, choice=torch.full_like(choice, wrong))
    with pytest.raises((ValueError, RuntimeError)):
        group.regress("q", target[:, :4], weight, observation, choice=choice)
    assert torch.equal(group.flat("q"), before)
    assert torch.isfinite(
        group.regress("q", target.float(), weight.float(), observation, choice=choice)
    ).all()


def test_a_huber_error_is_twice_pytorch_s_own():
    one, other = mixed("DQN"), mixed("DQN")
    for ours, plain in zip(one.groups, other.groups, strict=True):
        observation, _, target, weight = drawn(ours)
        choice = torch.randint(3, target.shape, generator=torch.Generator().manual_seed(3))
        loss = ours.regress("q", 3 * target, weight, observation, choice=choice, huber=0.7)

        def error(net, o=observation, t=3 * target, w=weight, c=choice):
            values = net(o).gather(-1, c[..., None]).squeeze(-1)
            return (2 * w * torch.nn.functional.huber_loss(values, t, reduction="none", delta=0.7)).sum(1)

        written = squared_error(plain.network("q")(observation), 3 * target, weight, choice, huber=0.7)
        assert torch.allclose(loss, written, atol=1e-12)
        assert torch.allclose(loss, plain.minimise("q", error), atol=1e-12)
    same_step(one, other, "q")


@pytest.mark.parametrize("layer_norm", [False, True])
def test_climbing_a_critic_is_minimising_minus_its_value(layer_norm):
    network = ev.MLP([8, 8], layer_norm=layer_norm)
    one, other = mixed("TD3", network), mixed("TD3", network)
    for ours, plain in zip(one.groups, other.groups, strict=True):
        observation, _, _, weight = drawn(ours)
        loss = ours.climb("actor", "critic", weight, observation)

        def minus_value(policy, plain=plain, weight=weight, observation=observation):
            action = torch.tanh(policy(observation))
            value = plain.network("critic")(observation, action, member=0).squeeze(-1)
            return -(weight * value).sum(-1)

        assert torch.allclose(loss, plain.minimise("actor", minus_value), atol=1e-12)
    same_step(one, other, "actor")
    same_step(one, other, "critic")


@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_slope_that_is_written_out_is_that_of_its_losses(layer_norm):
    network = ev.MLP([8, 8], layer_norm=layer_norm)
    one, other = mixed("DQN", network), mixed("DQN", network)
    for ours, plain in zip(one.groups, other.groups, strict=True):
        observation, _, _, weight = drawn(ours)

        def judge(values, weight=weight):
            return (weight * values.square().sum(-1)).sum(-1), 2 * weight[..., None] * values

        clip = torch.tensor([0.3, 5.0, 0.1], dtype=torch.float64)[: len(ours)]
        loss = ours.push("q", judge, observation, clip=clip)
        expected = plain.minimise("q", lambda net, o=observation, j=judge: j(net(o))[0], clip=clip)
        assert torch.allclose(loss, expected, atol=1e-12)
    same_step(one, other, "q")


def test_several_passes_of_one_loss_add_up():
    population = mixed("TD3")
    group = population.groups[0]
    observation, action, target, _ = drawn(group)
    flat, plan = group.flat("critic"), group.bound["critic"].plan
    tape = tracked_pass(plan, flat)
    leaf = flat.detach().requires_grad_()

    def loss(net):
        twice = net(observation, action).sum((1, 2, 3)) * target.sum(-1)
        return (
            twice
            + net(observation, -action).square().sum((1, 2, 3))
            + net(observation, action, member=1).sum((1, 2))
        )

    ours = tape.gradient(torch.autograd.grad(loss(tape).sum(), tape.leaves()))
    expected = torch.autograd.grad(
        loss(lambda o, extra=None, member=None: plan(leaf, o, extra, member)).sum(), leaf
    )[0]
    assert torch.allclose(ours, expected, atol=1e-10)


def test_a_loss_that_ignores_its_network_is_named():
    group = mixed("TD3").groups[0]
    with pytest.raises(ValueError, match="does not use the network"):
        group.minimise("critic", lambda net: torch.zeros(len(group), dtype=torch.float64))
