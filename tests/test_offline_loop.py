"""The offline custom loop: the same parts as everywhere, without `Experiment`."""

from __future__ import annotations

import numpy as np

import evolab as ev


def test_offline_custom_loop():
    dataset = ev.collect("CartPole-v1", policy="random", steps=2_000, seed=0)
    population = ev.Population(
        "CQN", dataset.observation_space, dataset.action_space, size=4, network=ev.MLP([32]), seed=42
    )
    buffer = ev.ReplayBuffer(len(dataset))
    buffer.add(dataset.transitions(np.arange(len(dataset))))
    with ev.envs.make("CartPole-v1", population=4, num_envs=2, seed=42) as envs:
        for generation in range(2):
            losses = population.learn(buffer, updates=50)  # [P] each, by each agent's own batch size
            fitness = ev.evaluate(population, envs, episodes=2, seed=generation)  # [P]
            births = ev.evolve(population, fitness, ev.Tournament(), ev.Mutations(), generation=generation)
    assert np.isfinite(fitness).all()
    assert losses["gap"].shape == (4,)
    assert [birth.kind for birth in births].count("elite") == 1


def test_offline_custom_loop_without_a_simulator():
    """Where there is nothing to evaluate in, FQE's estimate takes the place of `evaluate`."""
    dataset = ev.collect("CartPole-v1", policy="random", steps=2_000, seed=0)
    population = ev.Population(
        "CQN", dataset.observation_space, dataset.action_space, size=4, network=ev.MLP([32]), seed=42
    )
    buffer = ev.ReplayBuffer(len(dataset))
    buffer.add(dataset.transitions(np.arange(len(dataset))))
    fqe = ev.FQE(first=50)
    for generation in range(2):
        population.learn(buffer, updates=50)
        *_, fitness = fqe.estimate(population, buffer, seed=generation)
        ev.evolve(population, fitness, ev.Tournament(), ev.Mutations(), generation=generation)
    assert fitness.shape == (4,)
    assert np.isfinite(fitness).all()
