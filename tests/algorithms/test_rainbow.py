"""Dueling heads and noisy layers as options of DQN and QR-DQN, against plain torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.algorithms.dueling import DuelingError, action_values
from evolab.algorithms.losses import QuantileError, SquaredError
from evolab.testing import check_algorithm
from tests.mixed import DISCRETE, OBSERVATIONS, experience, mixed, padding
from tests.networks.test_noisy import answers

BOTH = {"dueling": True, "noisy": True}
RULES = [ev.DQN(dueling=True), ev.DQN(noisy=True), ev.QRDQN(quantiles=3, **BOTH)]


@pytest.mark.parametrize("algorithm", RULES, ids=repr)
def test_they_hold_the_contract(algorithm):
    check_algorithm(algorithm)


def test_values_are_that_of_the_state_and_advantages_less_their_mean():
    """Two quantiles: 10 and 20 of the state, and of three actions 1, 2, 6 and 4, 4, 4."""
    out = torch.tensor([10.0, 20, 1, 4, 2, 4, 6, 4])
    assert action_values(out, 2).tolist() == [8, 20, 9, 20, 13, 20]


@pytest.mark.parametrize("quantiles", [1, 4])
def test_the_gradient_of_a_dueling_loss_is_autograds_own(quantiles):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    out, weight = normal(2, 5, 4 * quantiles), torch.full((2, 5), 0.2, dtype=torch.float64)
    action = torch.randint(3, (2, 5), generator=generator)
    inner = SquaredError(normal(2, 5), weight, action, 0.5)
    if quantiles > 1:
        inner = QuantileError(normal(2, 5, 4), weight, 0.5, action, quantiles)
    loss = DuelingError(inner, quantiles)
    leaf = out.clone().requires_grad_()
    wanted = loss(leaf)
    losses, slope = loss.gradient(out)
    torch.testing.assert_close(losses, wanted.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(slope, torch.autograd.grad(wanted.sum(), leaf)[0], rtol=0, atol=1e-12)
    assert torch.equal(loss.distance(out), inner.distance(action_values(out, quantiles)))


class Plain:
    """One agent of double DQN with noisy layers and a dueling head, from the papers, by autograd and torch's Adam."""

    def __init__(self, population, row):
        individual = population.individual(row)
        self.genes, self.settings = individual.genes, individual.hyperparameters
        self.state = {
            name: value[0].clone().requires_grad_() for name, value in individual.tensors["q"].items()
        }
        self.target = {name: value[0].clone() for name, value in individual.tensors["q.target"].items()}
        self.adam = torch.optim.Adam(list(self.state.values()), lr=self.settings["lr"])

    def values(self, state, seen, numbers):
        out = answers(state, self.genes, seen, numbers, self.settings["weight_noise"])
        value, advantage = out[:, :1], out[:, 1:]
        return value + advantage - advantage.mean(1, keepdim=True)

    def learn(self, batch, row, noise):
        own = slice(0, self.settings["batch_size"])
        with torch.no_grad():
            after = batch.next_observation[row, own]
            best = self.values(self.state, after, noise[2]).argmax(1, keepdim=True)
            following = self.values(self.target, after, noise[1]).gather(1, best)[:, 0]
            going_on = 1 - batch.terminated[row, own].double()
            target = batch.reward[row, own] + self.settings["discount"] * going_on * following
        values = self.values(self.state, batch.observation[row, own], noise[0])
        error = values.gather(1, batch.action[row, own, None])[:, 0] - target
        self.adam.zero_grad()
        error.square().mean().backward()
        self.adam.step()
        with torch.no_grad():
            for name, value in self.target.items():
                value.lerp_(self.state[name], self.settings["tau"])


@pytest.mark.parametrize("compiled", [True, False])
def test_one_of_eight_learns_as_if_alone(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(ev.MLP, "computes_unpadded", lambda self, like: False)
    population = mixed(ev.DQN(**BOTH))
    sizes = torch.linspace(0.0, 1.5, 8, dtype=torch.float64)
    population.table.hyper["weight_noise"].copy_(sizes)
    for row, individual in enumerate(population.individuals):
        individual.hyperparameters["weight_noise"] = float(sizes[row])
    agents, asleep = [Plain(population, row) for row in range(8)], padding(population)
    generator = torch.Generator().manual_seed(5)
    for update in range(4):
        batch = experience(8, 16, update, discrete=True)
        noise = torch.randn(8, 3, 400, generator=generator, dtype=torch.float64)
        population.learn(batch, noise=noise)
        for row, agent in enumerate(agents):
            agent.learn(batch, row, noise[row])
    for row, agent in enumerate(agents):
        tensors = population.individual(row).tensors
        for name, value in agent.state.items():
            torch.testing.assert_close(tensors["q"][name][0], value.detach(), rtol=0, atol=1e-10)
            torch.testing.assert_close(tensors["q.target"][name][0], agent.target[name], rtol=0, atol=1e-10)
        assert sizes[row] == 0 or (tensors["q.mean"]["noise.output.weight"] != 0).all()
    for name, mask in asleep.items():
        assert not population.table[name][mask].any(), f"{name}: sleeping units moved"


def population_of(algorithm, size=2, **values):
    return ev.Population(
        algorithm, OBSERVATIONS, DISCRETE, size, network=[16], seed=0, device="cpu", search_space={},
        hyperparameters=values,
    )  # fmt: skip


def test_agents_explore_by_noise_and_are_greedy_by_the_means():
    population = population_of(ev.DQN(noisy=True))
    seen = np.random.default_rng(0).normal(size=(2, 400, 5))
    greedy = population.act(seen, explore=False)
    for row in range(2):
        answer = population[row].module()(torch.as_tensor(seen[row])).argmax(-1)
        assert np.array_equal(greedy[row], answer)
    assert np.array_equal(greedy, population.act(seen, explore=False))
    steps = np.stack([population.act(seen) for _ in range(30)])
    assert (steps != greedy).any(axis=(0, 2)).all()  # each agent explores
    assert 0.02 < (steps != greedy).mean() < 0.6  # and by far not as epsilon's 1 would have it
    where = np.zeros((2, 400), dtype=bool)
    where[1] = True
    mixed_steps = population.act(seen, explore=where)
    assert np.array_equal(mixed_steps[0], greedy[0])
    assert not np.array_equal(mixed_steps[1], greedy[1])
    population.table.hyper["weight_noise"][1] = 0.0
    assert all(np.array_equal(population.act(seen)[1], greedy[1]) for _ in range(5))


def test_what_is_forbidden_is_not_played_by_noise_either():
    population = population_of(ev.QRDQN(quantiles=3, **BOTH))
    mask = np.zeros((2, 50, 3), dtype=bool)
    mask[..., 1:] = True
    seen = np.random.default_rng(0).normal(size=(2, 50, 5))
    for explore in (True, False):
        assert (population.act(seen, explore=explore, action_mask=mask) >= 1).all()


@pytest.mark.parametrize("algorithm", RULES, ids=repr)
def test_agents_evolve_go_on_and_are_exported(algorithm, tmp_path):
    exp = ev.Experiment(
        "CartPole-v1", algorithm, population=3, num_envs=2, network=[8], steps_per_generation=60, seed=4, device="cpu",
        hyperparameters={"batch_size": 16, "n_step": 2, "priority": 0.5}, eval_steps=20, update_ratio=1 / 3,
        search_space={"weight_noise": ev.Float(0.1, 2.0)}, mutations=ev.Mutations(none=0.0, new_layer=0.5),
        normalise="observations", progress=False,
    )  # fmt: skip
    exp.fill(60)
    exp.run(generations=2)
    assert exp.history.hyperparameters["weight_noise"].nunique() > 1
    exp.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", progress=False)
    exp.step()
    again.step()
    for name, value in exp.population.table.items():
        assert torch.equal(value, again.population.table[name]), name
    exp.best.save(tmp_path / "agent")
    agent = ev.Agent.load(tmp_path / "agent")
    assert agent.algorithm == algorithm
    seen = np.stack([exp.population.observation_space.sample() for _ in range(5)])
    assert np.array_equal(agent.act(seen), exp.best.act(seen))
    agent.export(tmp_path / "policy.pt2")
    out = agent.module()(torch.as_tensor(seen))
    assert out.shape == (5, 2)
    assert np.array_equal(out.argmax(-1), agent.act(seen))


def test_conservative_values_can_be_dueling():
    population = population_of(ev.CQN(dueling=True))
    before = population.table["q"].clone()
    losses = population.learn(experience(2, 16, 0, discrete=True))
    assert set(losses) == {"q", "gap"}
    assert not torch.equal(before, population.table["q"])
    assert population.individual(0).tensors["q"]["output.bias"].shape == (1, 4)


@pytest.mark.parametrize("algorithm", [ev.DQN(**BOTH), ev.QRDQN(**BOTH)], ids=repr)
def test_an_update_never_asks_the_device(algorithm):
    population = mixed(algorithm, device="meta")
    batch = experience(8, 16, 0, discrete=True)
    moved = type(batch)(**{name: value.to("meta") for name, value in vars(batch).items()})
    noise = torch.empty(8, 3, 4000, dtype=torch.float64, device="meta")
    losses = population.learn(moved, noise=noise)
    assert all(loss.device.type == "meta" for loss in losses.values())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ev.DQN(dueling=1), "DQN: dueling is 1"),
        (lambda: ev.QRDQN(noisy="yes"), "QRDQN: noisy is 'yes'"),
        (lambda: ev.CQN(noisy=True), "CQN: noisy is True, .* ev.DQN"),
        (lambda: population_of("DQN", weight_noise=-1.0), "weight_noise is -1"),
        (lambda: population_of("DQN", noisy_std=0.1), "evolab calls it weight_noise"),
        (lambda: population_of("CQN", weight_noise=1.0), "Unknown hyperparameter of CQN"),
    ],
)
def test_what_cannot_be_is_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_agents_with_noise_begin_with_the_layers_of_agents_without():
    from evolab.population.warm_start import start_from

    parent, child = population_of("DQN", 1), population_of(ev.DQN(noisy=True), 1)
    start_from(child, parent[0])
    taken, given = (one.individual(0).tensors["q"] for one in (child, parent))
    for name, value in given.items():
        assert torch.equal(taken[name], value)
    assert torch.all(taken["noise.output.weight"] > 0)


def test_discrete_choices_at_once_are_dueling_over_their_combinations():
    population = ev.Population(
        ev.DQN(**BOTH), OBSERVATIONS, spaces.MultiDiscrete([2, 3]), 1, network=[8], seed=0, device="cpu"
    )
    assert population.roles["q"].outputs == 7
    assert population.act(np.zeros((1, 4, 5))).shape == (1, 4, 2)
