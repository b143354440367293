"""Modules of the user's own as a population, and what is said of those that cannot be one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

import evolab as ev
from evolab.algorithms.dqn import DQN
from evolab.algorithms.td3 import TD3
from evolab.core.experience import to_batch
from evolab.networks.custom import Stack
from tests.mixed import settings_of
from tests.networks import images

SPACE = spaces.Box(-1, 1, (5,), np.float64)


class Gated(nn.Module):
    """Something that no network of the package is: gates, a scalar, a frozen part and a constant buffer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.gate, self.way = nn.Linear(inputs, 8), nn.Linear(inputs, 8)
        self.norm, self.out = nn.LayerNorm(8), nn.Linear(8, outputs)
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.register_buffer("shift", torch.linspace(-1, 1, 8))
        self.prior = nn.Linear(inputs, outputs)
        self.prior.requires_grad_(False)

    def forward(self, x):
        h = self.norm(torch.sigmoid(self.gate(x)) * self.way(x) + self.shift)
        return self.out(h) * self.scale + self.prior(x)


@pytest.mark.parametrize("algorithm", [DQN(), TD3()], ids=repr)
def test_one_of_many_learns_as_if_alone(algorithm):
    network = Stack(Gated)
    population = images.grown(algorithm, [network] * 3, SPACE, settings_of(algorithm.name)[:3])
    agents = images.plain(population)
    for agent in agents:
        for name, module in agent.modules.items():
            trained = [value for value in module.parameters() if value.requires_grad]
            rate = agent.optimizers[name].param_groups[0]["lr"]
            agent.optimizers[name] = torch.optim.Adam(trained, lr=rate)
    images.learn_beside(population, agents, SPACE, 6)
    for row, agent in enumerate(agents):
        member = population.individual(row)
        for name, role in population.roles.items():
            for index in range(role.ensemble_size):
                key = name if name in ("q", "actor") else f"{name}{index}"
                theirs = dict(agent.modules[key].named_parameters())
                for parameter, value in member.tensors[name].items():
                    gap = (
                        (value[index].view(theirs[parameter].shape) - theirs[parameter].detach()).abs().max()
                    )
                    assert float(gap) < 1e-9, f"row {row}, {key}, {parameter}"


def test_parameters_and_hyperparameters_evolve_and_the_shape_stays():
    population = ev.Population("DQN", SPACE, spaces.Discrete(3), 6, network=Stack(Gated), seed=1)
    fitness = np.random.default_rng(0)
    mutations = ev.Mutations(none=0, extra={"reset": (0.2, ev.reset_dormant)})
    kinds = set()
    for generation in range(30):
        births = ev.evolve(
            population, fitness.normal(size=6), ev.Tournament(), mutations, generation=generation
        )
        kinds |= {birth.kind for birth in births}
    assert kinds == {"elite", "none", "parameters", "hyperparameters"}
    observation = images.observations(SPACE, (6, 4), torch.Generator().manual_seed(0)).float()
    together = population.act(observation, explore=False)
    for row in range(6):
        assert torch.equal(population[row].module()(observation[row]).argmax(-1), together[row])


def test_a_factory_may_see_the_space():
    seen = []

    def factory(observation_space, extra, outputs):
        seen.append((observation_space.shape, extra, outputs))
        return nn.Sequential(nn.Unflatten(1, (8, 8, 3)), nn.Flatten(), nn.Linear(8 * 8 * 3, outputs))

    space = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    population = ev.Population("DQN", space, spaces.Discrete(3), 2, network=Stack(factory), seed=1)
    assert set(seen) == {((8, 8, 3), 0, 3)}
    assert population.act(images.observations(space, (2, 3), torch.Generator())).shape == (2, 3)


def test_agents_start_apart_reproducibly_and_torch_s_generator_stays_untouched():
    state = torch.random.get_rng_state()
    one, two = (
        ev.Population("DQN", SPACE, spaces.Discrete(3), 2, network=Stack(Gated), seed=7) for _ in "ab"
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(one.table["q"], two.table["q"])
    assert not torch.equal(one.table["q"][0], one.table["q"][1])


def test_an_update_runs_on_the_meta_device():
    population = ev.Population(
        "TD3", SPACE, spaces.Box(-1, 1, (2,)), 2, network=Stack(Gated), seed=1, device="meta"
    )
    batch = images.experience(SPACE, 2, 8, 0, discrete=False)
    group = population.groups[0]
    population.algorithm.update(
        group,
        population.learner.batch_of(group, to_batch(batch, population.device)),
        torch.empty(2, 8, 2, device="meta"),
    )


@pytest.mark.parametrize(
    ("factory", "error", "message"),
    [
        (
            lambda inputs, outputs: nn.Linear(inputs, outputs + 1),
            ValueError,
            r"gives \(4, 4\); \(4, 3\) is expected",
        ),
        (
            lambda inputs, outputs: nn.Linear(inputs + 1, outputs),
            ValueError,
            r"fails on features of shape \(4, 5\)",
        ),
        (lambda inputs, outputs: nn.LSTM(inputs, outputs), ValueError, "the module gives tuple"),
        (lambda inputs, outputs: "net", TypeError, "it gave str; a torch.nn.Module is expected"),
        (lambda inputs, outputs: nn.Flatten(), ValueError, "has no parameter to train"),
        (
            lambda inputs, outputs: nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs)),
            ValueError,
            "remembers its batches",
        ),
        (
            lambda inputs, outputs: nn.Sequential(nn.Dropout(), nn.Linear(inputs, outputs)),
            ValueError,
            "draws at random",
        ),
    ],
    ids=["shape", "inputs", "tuple", "type", "empty", "batch_norm", "dropout"],
)
def test_a_module_that_cannot_be_stacked_is_named_before_training(factory, error, message):
    with pytest.raises(error, match=message):
        ev.Population("DQN", SPACE, spaces.Discrete(3), 2, network=Stack(factory))


@pytest.mark.parametrize(
    "factory", [nn.Linear(2, 2), 5, lambda x: x], ids=["module", "number", "one_argument"]
)
def test_a_factory_that_is_none_is_named(factory):
    with pytest.raises(TypeError, match=r"factory\(inputs, outputs\)"):
        Stack(factory)
