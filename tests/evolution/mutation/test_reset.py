"""Dormant units are found, replaced without a change of the function, and learn again."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces

import evolab as ev
from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.reset import reset_dormant
from tests.networks import images

SPACE = spaces.Box(-1, 1, (5,), np.float64)
DEAD = 3


def context(population):
    return Context(population.network, population.roles, {}, 0.1, torch.Generator().manual_seed(0))


def dead(network, space, parameter, updates=30):
    """One agent that learnt while its unit `DEAD` never answered; observations are at most 1."""
    population = ev.Population(
        "DQN",
        space,
        spaces.Discrete(3),
        1,
        network=network,
        seed=0,
        dtype=torch.float64,
        hyperparameters={"batch_size": 16},
    )
    individual = population.individual(0)
    for kind in ("q", "q.target"):
        individual.tensors[kind][f"{parameter}.bias"][:, DEAD] = -50.0
    for seed in range(updates):
        population.learn(images.experience(space, 1, 16, seed, discrete=True))
    return population


def values(population, individual, space):
    observation = images.observations(space, (16,), torch.Generator().manual_seed(5))
    state = {key: value[0] for key, value in individual.tensors["q"].items()}
    role = population.roles["q"]
    from evolab.networks.observations import encode

    return population.network.module(role, individual.genes, state)(
        encode(space, observation, 1, torch.float64)
    )


def test_a_dead_unit_of_a_perceptron_is_renewed_and_the_function_stays():
    population = dead(ev.MLP([16, 8]), SPACE, "hidden.0")
    individual = population.individual(0)
    before, old = values(population, individual, SPACE), individual.tensors["q"]["hidden.0.weight"].clone()
    detail = reset_dormant(individual, context(population), np.random.default_rng(0))
    after = values(population, individual, SPACE)
    assert detail == "1 of 24 units reset"
    assert torch.allclose(before, after, atol=1e-12)
    fresh, others = individual.tensors["q"]["hidden.0.weight"], [i for i in range(16) if i != DEAD]
    assert torch.equal(fresh[:, others], old[:, others])
    assert not torch.equal(fresh[:, DEAD], old[:, DEAD])
    assert float(individual.tensors["q"]["hidden.0.bias"][0, DEAD]) > -1
    for kind in ("q", "q.target", "q.mean", "q.square"):
        assert not individual.tensors[kind]["hidden.1.weight"][:, :, DEAD].any()
    assert not individual.tensors["q.square"]["hidden.0.weight"][:, DEAD].any()


def test_a_dead_channel_is_renewed_and_the_function_stays():
    space = spaces.Box(0, 255, (6, 6, 1), np.uint8)
    network = ev.CNN((6,), latent=8, hidden=(8,), activation="elu")
    population = dead(network, space, "conv.0")
    individual = population.individual(0)
    old = individual.tensors["q"]["conv.0.weight"].clone()
    detail = reset_dormant(individual, context(population), np.random.default_rng(0))
    assert detail is not None
    assert not torch.equal(individual.tensors["q"]["conv.0.weight"][:, DEAD], old[:, DEAD])
    read = individual.tensors["q"]["latent.weight"]  # [M, L, h * w, O]
    assert not read[..., DEAD].any()
    assert read[..., 0].any()


def test_a_renewed_unit_learns_again():
    population = dead(ev.MLP([16]), SPACE, "hidden.0")
    individual = population.individual(0)
    reset_dormant(individual, context(population), np.random.default_rng(0))
    population.rebuild([individual])
    for seed in range(10):
        population.learn(images.experience(SPACE, 1, 16, seed, discrete=True))
    assert population.individual(0).tensors["q"]["output.weight"][:, :, DEAD].any()


def test_an_agent_that_never_learned_has_no_dormant_units():
    population = ev.Population("TD3", SPACE, spaces.Box(-1, 1, (2,)), 1, seed=0)
    individual = population.individual(0)
    assert reset_dormant(individual, context(population), np.random.default_rng(0)) is None


def test_it_is_one_more_kind_of_mutation():
    population = dead(ev.MLP([16]), SPACE, "hidden.0")
    mutations = ev.Mutations(
        none=0,
        architecture=0,
        parameters=0,
        activation=0,
        hyperparameters=0,
        extra={"reset": (1, ev.reset_dormant)},
    )
    births = ev.evolve(population, np.zeros(1), ev.Tournament(size=1, elitism=False), mutations)
    assert [(birth.kind, birth.detail) for birth in births] == [("reset", "1 of 16 units reset")]
