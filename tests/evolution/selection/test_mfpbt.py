from __future__ import annotations

import numpy as np
import pytest

from evolab.evolution.selection import MFPBT

# Slots 0 to 3 evolve after every generation, slots 4 to 7 after every second.
TWO = MFPBT(frequencies=(1, 2))


def choose(fitness, generation):
    return TWO.select(np.array(fitness, dtype=float), np.random.default_rng(0), generation)


def test_the_steady_subpopulation_waits_for_its_turn():
    chosen = choose([4, 3, 2, 1, 40, 30, 20, 10], generation=1)
    assert chosen.parents[4:] == (4, 5, 6, 7)
    assert {4, 5, 6, 7} <= chosen.survivors


def test_the_loser_becomes_a_mutated_child_of_its_own_winner():
    chosen = choose([1, 4, 3, 2, 0, 0, 0, 0], generation=1)
    assert chosen.parents[0] == 1
    assert chosen.mutated == {0}


def test_a_migrant_from_a_slower_subpopulation_comes_whole_and_unmutated():
    chosen = choose([4, 3, 2, 1, 10, 30, 20, 40], generation=1)
    assert chosen.parents[2] == 7
    assert chosen.hyperparameters[2] == 7
    assert 2 not in chosen.mutated
    assert 2 not in chosen.survivors


def test_a_migrant_from_a_faster_subpopulation_takes_the_hyperparameters_of_the_local_best():
    chosen = choose([40, 30, 20, 10, 1, 2, 3, 4], generation=2)
    assert chosen.parents[5] == 0
    assert chosen.hyperparameters[5] == 7


def test_no_agent_migrates_that_is_not_fitter():
    chosen = choose([40, 30, 20, 10, 4, 3, 2, 1], generation=1)
    assert chosen.parents[:4] == (0, 1, 2, 0)


def test_two_open_slots_get_two_different_migrants():
    wide = MFPBT(frequencies=(1, 2))
    fitness = np.array([8, 7, 6, 5, 4, 3, 2, 1, 80, 70, 60, 50, 40, 30, 20, 10], dtype=float)
    chosen = wide.select(fitness, np.random.default_rng(0), generation=1)
    assert chosen.parents[4:6] == (8, 9)
    assert chosen.parents[6:8] == (0, 1)


def test_a_diverged_subpopulation_is_refilled_by_migrants():
    nan = float("nan")
    chosen = choose([nan, nan, nan, nan, 4, 3, 2, 1], generation=1)
    assert sorted(chosen.parents[:4]) == [4, 5, 6, 7]
    assert chosen.hyperparameters[:4] == chosen.parents[:4]


@pytest.mark.parametrize("population", [4, 9, 7])
def test_a_population_that_does_not_divide_is_refused(population):
    with pytest.raises(
        ValueError, match=rf"cannot divide a population of {population}; expected a multiple of 2"
    ):
        TWO.check(population)


@pytest.mark.parametrize("frequencies", [(), (4, 1), (1, 1)])
def test_frequencies_must_ascend(frequencies):
    with pytest.raises(ValueError, match="expected strictly ascending"):
        MFPBT(frequencies=frequencies)


def test_frequencies_may_come_as_a_list_from_a_file():
    assert MFPBT(frequencies=[1, 5]).frequencies == (1, 5)
