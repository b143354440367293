"""QR-DQN and TQC: distributions of returns that are known, and what they are used for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.core import registry
from evolab.envs.probes import ProbeEnv
from evolab.population.warm_start import start_from
from tests.mixed import BOX, DISCRETE, OBSERVATIONS, experience, mixed

N = 8
MIDDLES = (2 * torch.arange(N) + 1) / (2 * N)


class Lottery(ProbeEnv):
    """Two steps: nothing, then a number between 0 and 1 that is drawn evenly: its quantiles are the shares themselves."""

    length = 2

    def following(self):
        return 1.0

    def reward(self, action):
        return float(self.np_random.random()) if self.state else 0.0


def taught(algorithm, discounts, updates=600, **values):
    """Two agents, each with its own discount, who have learned from a lottery played at random."""
    discrete = "DQN" in algorithm.name
    rates = {"lr": 5e-3} if discrete else {"lr_critic": 5e-3, "lr_actor": 1e-4, "lr_temperature": 1e-7}
    with ev.envs.make(Lottery, 2, 64, seed=0, actions="discrete" if discrete else "continuous") as envs:
        population = ev.Population(
            algorithm, envs.single_observation_space, envs.single_action_space, 2, network=ev.MLP([24, 24]), seed=0,
            hyperparameters={"batch_size": 128, "tau": 0.1, **rates, **values}, search_space={}, device="cpu",
        )  # fmt: skip
        buffer, stream = ev.ReplayBuffer(8192), np.random.default_rng(0)
        envs.reset()
        for _ in range(64):
            buffer.add(envs.step(population.random_actions(64, stream)))
    population.table.hyper["discount"].copy_(torch.tensor(discounts))
    population.learn(buffer, updates=updates)
    for name in ("lr", "lr_critic"):
        if name in population.table.hyper:
            population.table.hyper[name].fill_(5e-4)
    population.learn(buffer, updates=updates // 3)
    return population


def quantiles(population, state):
    """[P, M, A, N] of a state, sorted."""
    (group,) = population.groups
    seen = torch.full((2, 1, 1), float(state))
    if "q" in group.roles:
        return group.network("q")(seen).view(2, 1, 2, N).sort(-1).values
    return group.network("critic")(seen, torch.zeros(2, 1, 1)).view(2, -1, 1, N).sort(-1).values


def test_quantiles_of_each_action_become_those_of_its_returns():
    population = taught(ev.QRDQN(quantiles=N, huber=0.02), (0.9, 0.5))
    last, first = quantiles(population, 1), quantiles(population, 0)
    for row, discount in enumerate((0.9, 0.5)):
        for action in (0, 1):
            assert torch.allclose(last[row, 0, action], MIDDLES, atol=0.08)
            assert torch.allclose(first[row, 0, action], discount * MIDDLES, atol=0.08)
    values = population.algorithm.value(population.groups[0], torch.ones(2, 1, 1))
    assert torch.allclose(values, torch.full((2, 1), 0.5), atol=0.08)


@pytest.mark.parametrize("critics", [1, 3])
def test_targets_leave_out_the_highest_quantiles_of_all_critics(critics):
    """What follows a lottery whose upper half is left out is one between 0 and 0.5; the lottery itself is not cut."""
    algorithm = ev.TQC(quantiles=N, critics=critics, huber=0.02, start_temperature=1e-6)
    population = taught(algorithm, (0.9, 0.9), dropped=0.5)
    population.table.hyper["dropped"][1] = 0.0
    last, first = quantiles(population, 1), quantiles(population, 0)
    assert torch.allclose(last, MIDDLES.expand_as(last), atol=0.08)
    assert torch.allclose(first, (0.9 * 0.5 * MIDDLES).expand_as(first), atol=0.08)


def test_each_agent_drops_its_own_share():
    """Hand-made critics give 1 to 8, so that targets are known: kept are 8, 6, 1 of 8 and never none."""
    population = ev.Population(
        ev.TQC(quantiles=4, huber=1.0), OBSERVATIONS, BOX, 4, network=[4], seed=0, search_space={}, device="cpu",
        hyperparameters={"batch_size": 2, "discount": 1.0},
    )  # fmt: skip
    population.table.hyper["dropped"].copy_(torch.tensor([0.0, 0.25, 0.875, 0.99]))
    (group,) = population.groups
    out = torch.arange(8.0).add(1).flip(0).view(1, 2, 1, 4).expand(4, 2, 2, 4)
    batch = ev.core.experience.Batch(
        observation=None, action=None, next_observation=None, reward=torch.full((4, 2), 10.0),
        terminated=torch.tensor([0.0, 1.0]).expand(4, 2), weight=torch.full((4, 2), 0.5),
    )  # fmt: skip
    error = population.algorithm.error(group, batch, out, torch.full((4, 2), 0.5))
    assert error.kept.tolist() == [8, 6, 1, 1]
    assert error.target[:, 0].tolist() == [[10.5, 11.5, 12.5, 13.5, 14.5, 15.5, 16.5, 17.5]] * 4
    assert error.target[:, 1].tolist() == [[10.0] * 8] * 4


@pytest.mark.parametrize("algorithm", [ev.QRDQN(quantiles=5), ev.TQC(quantiles=5)], ids=repr)
def test_agents_evolve_go_on_and_are_exported(algorithm, tmp_path):
    environment = "CartPole-v1" if "DQN" in algorithm.name else "Pendulum-v1"
    exp = ev.Experiment(
        environment, algorithm, population=3, num_envs=2, network=[8], steps_per_generation=60, seed=4, device="cpu",
        hyperparameters={"batch_size": 16, "n_step": 2}, eval_steps=20, mutations=ev.Mutations(none=0.0, new_layer=0.5),
        update_ratio=1 / 3, normalise="observations", progress=False,
    )  # fmt: skip
    exp.fill(60)
    exp.run(generations=2)
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
    assert np.allclose(agent.act(seen), exp.best.act(seen))
    agent.export(tmp_path / "policy.pt2")
    if "DQN" in algorithm.name:
        assert agent.module()(torch.as_tensor(seen)).shape == (5, 2)


def test_they_are_found_by_name_and_begin_with_another_algorithm_s_layers():
    assert {"QRDQN", "TQC"} <= set(registry.names("algorithm"))
    assert registry.part("algorithm", "qr-dqn") is ev.QRDQN
    for name, other, space, role in (("QRDQN", "DQN", DISCRETE, "q"), ("TQC", "SAC", BOX, "actor")):
        parent, child = (
            ev.Population(one, OBSERVATIONS, space, 1, network=[8], seed=len(one), device="cpu")
            for one in (other, name)
        )
        start_from(child, parent[0])
        taken, given = (one.individual(0).tensors[role] for one in (child, parent))
        assert torch.equal(taken["hidden.0.weight"], given["hidden.0.weight"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ev.QRDQN(quantiles=0), "QRDQN: quantiles is 0; expected a whole number >= 1"),
        (lambda: ev.QRDQN(huber=0.0), "QRDQN: huber is 0"),
        (lambda: ev.TQC(critics=0), "TQC: critics is 0"),
        (lambda: ev.TQC(quantiles=2.5), "TQC: quantiles is 2.5"),
        (lambda: ev.TQC(huber=-1.0), "TQC: huber is -1"),
        (
            lambda: ev.Population("TQC", OBSERVATIONS, BOX, 1, hyperparameters={"dropped": 1.0}),
            "dropped is 1.0",
        ),
        (
            lambda: ev.Population(
                "TQC", OBSERVATIONS, BOX, 1, hyperparameters={"top_quantiles_to_drop_per_net": 2}
            ),
            "evolab calls it dropped",
        ),
        (
            lambda: ev.Population("QRDQN", OBSERVATIONS, DISCRETE, 1, hyperparameters={"n_quantiles": 50}),
            "evolab calls it quantiles",
        ),
    ],
)
def test_what_cannot_be_is_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.parametrize("algorithm", [ev.QRDQN(), ev.TQC()], ids=repr)
def test_an_update_never_asks_the_device(algorithm):
    population = mixed(algorithm, device="meta")
    batch = experience(8, 16, 0, discrete="DQN" in algorithm.name)
    moved = type(batch)(**{name: value.to("meta") for name, value in vars(batch).items()})
    noise = None if "DQN" in algorithm.name else torch.empty(8, 16, 2, 2, dtype=torch.float64, device="meta")
    for _ in range(3):
        losses = population.learn(moved, noise=noise)
    assert all(loss.device.type == "meta" for loss in losses.values())


def test_what_is_forbidden_is_neither_played_nor_learned_from():
    population = ev.Population(
        ev.QRDQN(quantiles=3), OBSERVATIONS, spaces.Discrete(3), 1, network=[4], seed=0, device="cpu",
        hyperparameters={"batch_size": 1, "discount": 1.0},
    )  # fmt: skip
    (group,) = population.groups
    bias = torch.tensor([1.0, 2, 3, 7, 8, 9, 4, 5, 6])
    for kind in ("q", "q.target"):
        state = population.individual(0).tensors[kind]
        state["output.weight"].zero_()
        state["output.bias"].copy_(bias[None])
    seen, may = torch.zeros(1, 1, 5), torch.tensor([[[True, False, True]]])
    assert population.algorithm.act(group, seen).item() == 1
    assert population.algorithm.act(group, seen, may).item() == 2
    batch = ev.core.experience.Batch(
        observation=seen, action=torch.zeros(1, 1, dtype=torch.int64), next_observation=seen, weight=torch.ones(1, 1),
        reward=torch.ones(1, 1), terminated=torch.zeros(1, 1), next_action_mask=may,
    )  # fmt: skip
    assert population.algorithm.target(group, batch).flatten().tolist() == [5, 6, 7]
