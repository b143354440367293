from __future__ import annotations

import numpy as np
import pytest

from evolab.evolution.selection import Truncation


def test_the_worst_quarter_copies_the_best_quarter_and_the_rest_stay_where_they_are():
    fitness = np.array([5.0, 1.0, 8.0, 3.0, 7.0, 2.0, 6.0, 4.0])
    chosen = Truncation(fraction=0.25).select(fitness, np.random.default_rng(0))
    assert chosen.survivors == {0, 2, 3, 4, 6, 7}
    assert all(chosen.parents[slot] == slot for slot in chosen.survivors)
    assert {chosen.parents[1], chosen.parents[5]} <= {2, 4}
    assert chosen.mutated == {1, 5}
    assert chosen.elite == 2


def test_every_agent_of_the_top_can_become_a_parent():
    fitness = np.arange(8.0)
    parents = {Truncation().select(fitness, np.random.default_rng(seed)).parents[0] for seed in range(30)}
    assert parents == {6, 7}


def test_every_diverged_agent_is_replaced():
    fitness = np.array([np.nan, 2.0, np.nan, np.nan])
    chosen = Truncation().select(fitness, np.random.default_rng(0))
    assert chosen.parents == (1, 1, 1, 1)
    assert chosen.survivors == {1}


def test_a_small_population_replaces_one_agent():
    chosen = Truncation(fraction=0.1).select(np.array([1.0, 2.0]), np.random.default_rng(0))
    assert chosen.parents == (1, 1)
    assert Truncation().select(np.array([1.0]), np.random.default_rng(0)).parents == (0,)


@pytest.mark.parametrize("fraction", [0.0, 0.6, -0.1])
def test_fraction_must_leave_a_top_and_a_bottom(fraction):
    with pytest.raises(ValueError, match="fraction is"):
        Truncation(fraction=fraction)


def test_a_child_can_go_on_with_the_hyperparameters_of_the_agent_whose_place_it_takes():
    fitness, rng = np.array([5.0, 1.0, 8.0, 3.0, 7.0, 2.0, 6.0, 4.0]), np.random.default_rng(0)
    kept = [Truncation(inherit=0.5).select(fitness, rng).hyperparameters for _ in range(200)]
    assert all(one[slot] == slot for one in kept for slot in (0, 2, 3, 4, 6, 7))
    own = np.mean([one[slot] == slot for one in kept for slot in (1, 5)])
    assert 0.4 < own < 0.6
    assert Truncation(inherit=0.0).select(fitness, rng).hyperparameters == tuple(range(8))


def test_hyperparameters_that_diverged_are_not_kept():
    fitness = np.array([np.nan, 2.0, 1.0, 3.0])
    chosen = Truncation(inherit=0.0).select(fitness, np.random.default_rng(0))
    assert chosen.hyperparameters[0] == chosen.parents[0] == 3


def test_inherit_is_a_chance():
    with pytest.raises(ValueError, match=r"inherit is 1\.5"):
        Truncation(inherit=1.5)
