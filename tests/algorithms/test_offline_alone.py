"""One of many learns as if alone: offline algorithms, with every hyperparameter different."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from evolab.population.population import Population
from tests.mixed import BOX, DISCRETE, OBSERVATIONS, experience

FIELDS = ("observation", "action", "reward", "next_observation", "terminated")


@pytest.mark.parametrize(
    ("algorithm", "alpha", "values"),
    [
        ("CQN", "cql_alpha", [0.0, 0.7, 4.0]),
        ("BCQ", "threshold", [0.0, 0.5, 1.0]),
        ("TD3BC", "bc_alpha", [0.0, 0.7, 4.0]),
        ("IQL", "advantage_weight", [0.0, 0.7, 4.0]),
    ],
)
def test_one_of_many_learns_as_if_alone(algorithm, alpha, values):
    discrete = algorithm in ("CQN", "BCQ")
    space = DISCRETE if discrete else BOX
    population = Population(algorithm, OBSERVATIONS, space, 3, seed=0, network=[12], dtype=torch.float64)
    for row, member in enumerate(population.individuals):
        member.hyperparameters |= {alpha: values[row], "batch_size": [6, 16, 11][row]}
    population.rebuild([population.individual(row) for row in range(3)])
    alone = [population.copy([row]) for row in range(3)]
    for update in range(10):
        batch = experience(3, 16, seed=update, discrete=discrete)
        generator = torch.Generator().manual_seed(update)
        noise = torch.randn(3, 16, 2, generator=generator, dtype=torch.float64)
        noise = noise if algorithm == "TD3BC" else None
        losses = population.learn(batch, noise=noise)
        for row, single in enumerate(alone):
            own = SimpleNamespace(**{name: getattr(batch, name)[row : row + 1] for name in FIELDS})
            loss = single.learn(own, noise=None if noise is None else noise[row : row + 1])
            for name, value in loss.items():
                assert float(losses[name][row]) == pytest.approx(float(value[0]), abs=1e-10)
    for row, single in enumerate(alone):
        for name, state in population.individual(row).tensors.items():
            for key, value in single.individual(0).tensors[name].items():
                torch.testing.assert_close(state[key], value, atol=1e-10, rtol=0)
