"""The custom loops of the documentation, as printed there but for the numbers of steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import evolab as ev
from tests.toys import Choosing, Toy


@pytest.mark.parametrize(("environment", "algorithm"), [(Toy, "TD3"), (Toy, "DDPG"), (Choosing, "DQN")])
def test_the_loop_over_a_population(environment, algorithm):
    envs = ev.envs.make(environment, population=4, num_envs=8, seed=42)
    population = ev.Population(
        algorithm,
        envs.single_observation_space,
        envs.single_action_space,
        size=4,
        network=ev.MLP([64, 64]),
        seed=42,
    )
    buffer = ev.ReplayBuffer(100_000)
    observation = envs.reset()
    for _step in range(25):
        action = population.act(observation)
        transition = envs.step(action)
        buffer.add(transition)
        if len(buffer) >= 500:
            losses = population.learn(buffer)
        observation = transition.reset_observation
    fitness = ev.evaluate(population, envs, episodes=1)
    record = ev.evolve(population, fitness, ev.Tournament(), ev.Mutations())
    assert action.shape[:2] == (4, 8)
    assert len(buffer) == 25 * 32
    assert all(value.shape == (4,) and torch.isfinite(value).all() for value in losses.values())
    assert fitness.shape == (4,)
    assert len(record) == 4
    assert record[next(i for i, birth in enumerate(record) if birth.kind == "elite")].agent in population.ids
    # The first call answers one step, not the warm-up's: 10 more vector steps of 8 environments each.
    assert {individual.updates for individual in population.individuals} == {1 + 9 * 8}
    envs.close()


def test_the_loop_over_single_agents():
    envs = ev.envs.make(Choosing, population=2, num_envs=3, seed=1)
    population = ev.Population("DQN", envs.single_observation_space, envs.single_action_space, size=2, seed=1,
                               hyperparameters={"batch_size": 32, "epsilon_steps": 20})  # fmt: skip
    buffer = ev.ReplayBuffer(1000)
    observation = envs.reset()
    for _ in range(20):
        action = np.stack([agent.act(observation[row], explore=True) for row, agent in enumerate(population)])
        transition = envs.step(action)
        buffer.add(transition)
        if len(buffer) >= 32:
            for agent in population:
                losses = agent.learn(buffer)
                assert np.isfinite(losses["q"])
        observation = transition.reset_observation
    assert [individual.steps for individual in population.individuals] == [60, 60]
    assert [individual.updates for individual in population.individuals] == [15, 15]
    assert float(population.table.hyper["steps"][0]) == 60, "epsilon has fallen"
    envs.close()
