"""Every part on the shelves keeps its contract, and the contract tests find those that do not."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from gymnasium import spaces

from evolab.algorithms.ddpg import DDPG
from evolab.algorithms.dqn import DQN
from evolab.algorithms.ppo import PPO
from evolab.algorithms.search_space import algorithm_named
from evolab.algorithms.td3 import TD3
from evolab.core import registry
from evolab.evolution.mutation.activation import change_activation
from evolab.evolution.mutation.depth import change_layers
from evolab.evolution.mutation.hyperparameters import change_hyperparameter
from evolab.evolution.mutation.parameters import change_parameters
from evolab.evolution.mutation.reset import reset_dormant
from evolab.evolution.mutation.width import change_units
from evolab.networks.cnn.cnn import CNN
from evolab.networks.custom import Stack
from evolab.networks.mlp.kernel import MLPKernel
from evolab.networks.mlp.mlp import MLP
from evolab.networks.multi_input import MultiInput
from evolab.testing import check_algorithm, check_mutation, check_network


@pytest.mark.parametrize("name", sorted(registry.names("algorithm")))
def test_every_algorithm_keeps_the_contract(name):
    check_algorithm(algorithm_named(name))


@pytest.mark.parametrize(
    "actions",
    [spaces.Box(-2.0, 3.0, (2,)), spaces.MultiDiscrete([2, 3]), spaces.Discrete(3, start=-1)],
    ids=str,
)
def test_an_algorithm_keeps_it_in_every_kind_of_action_space(actions):
    check_algorithm(PPO(), action_space=actions)


@pytest.mark.parametrize(
    ("network", "space"),
    [
        (CNN([6, 4], latent=8, hidden=[8]), spaces.Box(0, 255, (10, 9, 3), np.uint8)),
        (MultiInput([4], latent=8, hidden=[8]), spaces.Dict({"see": spaces.Box(0, 255, (8, 8, 1), np.uint8),
                                                             "gear": spaces.Discrete(3)})),
        (Stack(lambda inputs, outputs: torch.nn.Linear(inputs, outputs)), None),
    ],
    ids=["CNN", "MultiInput", "Stack"],
)  # fmt: skip
def test_networks_that_see_and_those_of_ones_own_keep_it(network, space):
    check_network(network, space)


@pytest.mark.parametrize("algorithm", [DQN(double=False), TD3(ou_noise=True)], ids=repr)
def test_every_option_of_an_algorithm_does(algorithm):
    check_algorithm(algorithm)


@pytest.mark.parametrize(
    "mutation",
    [
        change_activation,
        change_hyperparameter,
        change_layers,
        change_parameters,
        change_units,
        reset_dormant,
    ],
)
def test_every_mutation_keeps_the_contract(mutation):
    check_mutation(mutation, tries=6)


@pytest.mark.parametrize(
    "network", [MLP([24, 16]), MLP([20], "gelu"), MLP([24, 16], layer_norm=True)], ids=repr
)
def test_every_network_keeps_the_contract(network):
    check_network(network)


@dataclass(frozen=True)
class Mixing(DDPG):
    """Takes the mean over the agents as well."""

    name = "Mixing"

    def update(self, agents, batch, noise):
        batch.reward = batch.reward.mean(0, keepdim=True).expand_as(batch.reward)
        return super().update(agents, batch, noise)


@dataclass(frozen=True)
class Waiting(DQN):
    """Asks the device for a number."""

    name = "Waiting"

    def update(self, agents, batch, noise):
        if float(batch.reward.sum()) > 1e9:
            return {}
        return super().update(agents, batch, noise)


def test_an_algorithm_that_mixes_agents_is_found_out():
    with pytest.raises(AssertionError, match="an agent learned otherwise beside others"):
        check_algorithm(Mixing())


def test_an_algorithm_that_waits_for_the_device_is_found_out():
    with pytest.raises(RuntimeError, match=r"[Mm]eta"):
        check_algorithm(Waiting())


def in_place(individual, context, generator):
    individual.tensors[next(iter(context.roles))]["output.bias"].add_(1)
    return "wrote"


def globally(individual, context, generator):
    np.random.random()  # noqa: NPY002
    return "drew"


def by_module(individual, context, generator):
    return f"drew {random.random() < 2}"


def nameless(individual, context, generator):
    return 3


def too_wide(individual, context, generator):
    individual.genes = context.network.resized(individual.genes, "hidden.0", 99)
    return "wider"


@pytest.mark.parametrize(
    ("mutation", "message"),
    [
        (in_place, "it wrote into its parent's"),
        (globally, "it drew from a global generator"),
        (by_module, "it drew from a global generator"),
        (nameless, "it gave 3; words, or None"),
        (too_wide, "its genes say"),
    ],
)
def test_a_mutation_that_breaks_the_contract_is_found_out(mutation, message):
    np.random.seed(0)  # noqa: NPY002  # a draw now moves a place in the state alone
    np.random.random()  # noqa: NPY002
    with pytest.raises(AssertionError, match=message):
        check_mutation(mutation, tries=1)


@dataclass(frozen=True, init=False)
class Doubling(MLP):
    """Answers twice what its module answers."""

    def kernel(self, role, genes, layout):
        inner = MLPKernel(False, role, genes, layout)
        return lambda *arguments: 2 * inner(*arguments)


@dataclass(frozen=True, init=False)
class Dreaming(MLP):
    """Its sleeping units are awake."""

    def kernel(self, role, genes, layout):
        inner = MLPKernel(False, role, genes, layout)
        return lambda flat, *rest: (
            inner(flat, *rest) + (flat - flat.detach()).sum((1, 2))[:, None, None, None]
        )


def test_a_network_that_breaks_the_contract_is_found_out():
    with pytest.raises(AssertionError, match="a row and its module differ"):
        check_network(Doubling([8]))
    with pytest.raises(AssertionError, match="sleeping entries get a gradient"):
        check_network(Dreaming([8]))
    assert torch.is_grad_enabled()
