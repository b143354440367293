"""Narrowing: who is dropped, when, and what holds while nothing tells agents apart."""

from __future__ import annotations

import numpy as np
import pytest

from evolab.evolution.selection.narrowing import Narrowing


def chosen(fitness, generation=2, **options):
    return Narrowing(**options).select(np.array(fitness, dtype=float), np.random.default_rng(0), generation)


def test_the_worse_half_is_dropped_and_nobody_else_changes():
    found = chosen([1, 8, 2, 7, 3, 6, 4, 5])
    assert found.parents == (1, 3, 5, 7)
    assert found.survivors == {0, 1, 2, 3}
    assert (found.elite, found.mutated) == (0, frozenset())


def test_no_fewer_are_left_than_wanted():
    assert chosen([1, 5, 2, 4, 3], size=4).parents == (1, 2, 3, 4)
    assert chosen([1, 5, 2, 4, 3], size=2).parents == (1, 3)
    assert chosen(range(16)).parents == tuple(range(8, 16)), "half, although fewer are wanted"


def test_as_many_as_are_wanted_evolve_in_every_generation():
    assert len(chosen([4, 1, 2, 3], generation=3).survivors) < 4


def test_between_two_halvings_all_stay_as_they_are():
    for generation in (1, 3):
        found = chosen(range(8), generation)
        assert (found.parents, len(found.survivors), found.elite) == (tuple(range(8)), 8, 7)


@pytest.mark.parametrize("option", ["size", "every", "tournament"])
def test_sizes_that_are_none_are_refused(option):
    with pytest.raises(ValueError, match=f"{option} is 0; expected a whole number >= 1"):
        Narrowing(**{option: 0})


def test_agents_that_diverged_go_first():
    assert chosen([np.nan, 1, np.nan, 2, np.nan, 3, 4, np.nan]).parents == (1, 3, 5, 6)


@pytest.mark.parametrize("agents", [8, 4])
def test_where_all_have_the_same_fitness_nobody_is_dropped_replaced_or_mutated(agents):
    """Chance alone made one agent the ancestor of all before any had met a reward (MountainCar-v0)."""
    found = chosen([-200.0] * agents)
    assert found.parents == tuple(range(agents))
    assert (len(found.survivors), found.mutated) == (agents, frozenset())


def test_few_agents_evolve_by_a_tournament():
    found = chosen([-200.0, -200.0, -199.0, -200.0])
    assert found.elite == found.parents.index(2)
    assert len(found.survivors) < 4
