from __future__ import annotations

import numpy as np
import pytest

import evolab as ev
from evolab.algorithms.default_ranges import REASONS
from evolab.algorithms.search_space import algorithm_named, search_space_of
from evolab.core import registry
from evolab.core.ranges import Choice


@pytest.mark.parametrize("name", sorted(registry.names("algorithm")))
def test_every_hyperparameter_says_why_it_evolves_or_does_not(name):
    table = ev.search_space(name)
    known = algorithm_named(name).hyperparameters
    assert set(table["name"]) == set(known)
    assert all(table["reason"].str.len() > 10), f"REASONS lacks {set(known) - set(REASONS)}"
    assert (table["range"] != "").sum() == sum(one.search is not None for one in known.values()) > 0


@pytest.mark.parametrize("name", sorted(registry.names("algorithm")))
def test_random_draws_and_the_default_point_lie_in_the_default_space(name):
    values, ranges = search_space_of(algorithm_named(name), None, None)
    generator = np.random.default_rng(0)
    for key, space in ranges.items():
        space.check(key, values[key])
        for _ in range(50):
            drawn = space.sample(generator)
            space.check(key, drawn)
            for up in (True, False):
                stepped = space.step(drawn, up)
                space.check(key, stepped)
                assert stepped != drawn or isinstance(space, Choice)


def test_a_population_starts_from_one_point_or_from_random_draws():
    options = {"search_space": {"lr": ev.Float(1e-4, 1e-2), "batch_size": ev.Choice(16, 32, 64)}, "seed": 0}
    one = ev.Experiment(
        "CartPole-v1",
        "DQN",
        population=4,
        hyperparameters={"lr": 1e-3, "batch_size": 32},
        draw=False,
        **options,
    )
    assert {agent.hyperparameters["lr"] for agent in one.population} == {1e-3}
    drawn = ev.Experiment("CartPole-v1", "DQN", population=4, draw=True, **options)
    assert len({agent.hyperparameters["lr"] for agent in drawn.population}) == 4
    assert {agent.hyperparameters["batch_size"] for agent in drawn.population} <= {16, 32, 64}


def test_a_range_of_the_user_s_own_steps_as_its_parameter_s_default_range_does():
    """Regression: an own range of the learning rate stepped by 1.2 where the default one steps by 2."""
    _, ranges = search_space_of(algorithm_named("DQN"), None, {"lr": ev.Float(1e-4, 1e-1)})
    assert ranges["lr"].step(1e-3, up=True) == pytest.approx(2e-3)
    _, ranges = search_space_of(algorithm_named("DQN"), None, {"lr": ev.Float(1e-4, 1e-1, grow=1.5)})
    assert ranges["lr"].step(1e-3, up=True) == pytest.approx(1.5e-3)


@pytest.mark.parametrize("name", ["DQN", "TD3", "SAC", "PPO", "CQN", "ILQL"])
def test_a_discount_steps_by_factors_of_its_distance_to_one(name):
    _, ranges = search_space_of(algorithm_named(name), None, {"discount": ev.Float(0.9, 0.999)})
    assert ranges["discount"].step(0.99, up=True) == pytest.approx(1 - 0.01 / 1.2)
    _, ranges = search_space_of(algorithm_named(name), None, {"discount": ev.Float(0.9, 1.0)})
    assert not ranges["discount"].complement, "1 has no distance to itself"
