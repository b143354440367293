"""Returns over several steps, as the algorithms learn from them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

import evolab as ev
from evolab.envs.probes import ProbeEnv
from evolab.population import batched_updates
from tests.algorithms.recorded import episodes
from tests.mixed import experience, mixed

LEARN_SO = [ev.DQN(), ev.DQN(double=False, huber=0.5), ev.DDPG(), ev.TD3(), ev.SAC()]


def given(population, **values):
    """Give the agents of a population values of their own."""
    individuals = [population.individual(row) for row in range(len(population))]
    for name, each in values.items():
        for individual, value in zip(individuals, each, strict=True):
            individual.hyperparameters[name] = value
    population.rebuild(individuals)


@pytest.mark.parametrize("algorithm", LEARN_SO, ids=repr)
def test_a_batch_may_say_how_its_successors_are_discounted(algorithm):
    """With a discount of 0.5 to each successor agents learn what others learn whose own discount is that."""
    found = []
    for own in (True, False):
        population = mixed(algorithm)
        for update in range(3):
            batch = experience(8, 16, seed=update, discrete=algorithm.name == "DQN")
            told = SimpleNamespace(**vars(batch))
            if own:
                population.table.hyper["discount"].fill_(0.5)
            else:
                told.discount = torch.full((8, 16), 0.5, dtype=torch.float64)
            noise = population.table.generator.manual_seed(update)
            population.learn(told)
        assert noise is not None
        found.append({name: value.clone() for name, value in population.table.items() if name != "discount"})
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-12, atol=1e-12, msg=name)


@pytest.mark.kernels
@pytest.mark.parametrize("algorithm", LEARN_SO, ids=repr)
def test_whole_updates_know_how_far_each_sample_looks(monkeypatch, algorithm):
    found = []
    for composed in (False, True):
        with monkeypatch.context() as patch:
            if composed:
                patch.setattr(batched_updates.Waiting, "take", lambda *about: False)
            agents = ev.Population(
                algorithm, Box(-1, 1, (5,)), Discrete(3) if algorithm.name == "DQN" else Box(-2, 2, (2,)), size=5,
                network=ev.MLP([21, 12], activation="elu"), dtype=torch.float64, seed=3,
            )  # fmt: skip
            given(agents, n_step=(3, 1, 2, 5, 1), batch_size=(20, 31, 60, 44, 25))
            agents.learn(episodes(algorithm.name == "DQN"), updates=9)
            found.append({name: value.clone() for name, value in agents.table.items()})
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-7, atol=1e-9, msg=name)


class Chain(ProbeEnv):
    """Three steps that earn 1, 2 and 4, whatever is done: Q is 1 + 2 d + 4 d^2, 2 + 4 d and 4."""

    length = 3

    def first(self):
        return -1.0

    def following(self):
        return self.state + 1

    def reward(self, action):
        return 2.0 ** (self.state + 1)


@pytest.mark.parametrize("name", ["DQN", "DDPG", "TD3", "SAC"])
def test_three_steps_reach_the_end_of_a_chain_though_targets_stand_still(name):
    """With a tau of 0 what lies beyond a return is never learned: three steps are right, one step is not."""
    discrete = name == "DQN"
    rule = ev.SAC(start_temperature=1e-4) if name == "SAC" else name
    rates = {"lr": 5e-3} if discrete else {"lr_critic": 5e-3, "lr_actor": 1e-3}
    with ev.envs.make(lambda: Chain("discrete" if discrete else "continuous"), 2, 8, seed=0) as envs:
        population = ev.Population(
            rule, envs.single_observation_space, envs.single_action_space, 2, network=ev.MLP([32, 32]), seed=0,
            hyperparameters={"batch_size": 64, "tau": 0.0, "discount": 0.5, **rates}, search_space={}, device="cpu",
        )  # fmt: skip
        given(population, n_step=(3, 1))
        buffer, stream = ev.ReplayBuffer(4096), np.random.default_rng(0)
        envs.reset()
        for _ in range(30):
            buffer.add(envs.step(population.random_actions(8, stream)))
    population.learn(buffer, updates=500)
    (group,) = population.groups
    states = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1).expand(2, 3, 1)
    extra = None if discrete else torch.zeros(2, 3, 1)
    values = group.network("q" if discrete else "critic")(states, extra, None if discrete else 0).mean(-1)
    exact = torch.tensor([1 + 2 * 0.5 + 4 * 0.25, 2 + 4 * 0.5, 4.0])
    assert torch.allclose(values[0], exact, atol=0.2), values[0]
    assert not torch.allclose(values[1, :2], exact[:2], atol=0.5), values[1]


def test_it_evolves_and_is_saved_with_the_agent(tmp_path):
    exp = ev.Experiment(
        "CartPole-v1", "DQN", population=3, num_envs=2, network=[8], steps_per_generation=40, seed=1, device="cpu",
        search_space={"n_step": ev.Integer(1, 5)}, draw=True, hyperparameters={"batch_size": 8}, progress=False,
        mutations=ev.Mutations(none=0, architecture=0, parameters=0, activation=0, hyperparameters=1),
    )  # fmt: skip
    exp.run(generations=3)
    steps = exp.history.hyperparameters["n_step"]
    assert steps.between(1, 5).all()
    assert steps.nunique() > 1
    assert (steps == steps.round()).all()
    exp.best.save(tmp_path / "agent")
    assert ev.Agent.load(tmp_path / "agent").hyperparameters["n_step"] == exp.best.hyperparameters["n_step"]
    exp.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", progress=False)
    for one in (exp, again):
        one.run(generations=1)
    assert exp.history.fitness.equals(again.history.fitness)


def test_the_other_name_is_understood():
    with pytest.raises(ValueError, match="evolab calls it n_step"):
        ev.Experiment("CartPole-v1", "DQN", hyperparameters={"n_steps": 3})
