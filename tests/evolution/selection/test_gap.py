from __future__ import annotations

import numpy as np
import pytest

from evolab.evolution.selection import Gap


def select(fitness: list[float], seed: int = 0, **options: float):
    return Gap(**options).select(np.array(fitness), np.random.default_rng(seed))


def test_those_below_the_widest_gap_become_children_of_those_above():
    chosen = select([190.0, 9.0, 210.0, 12.0])
    assert chosen.survivors == {0, 2}
    assert {chosen.parents[1], chosen.parents[3]} <= {0, 2}
    assert chosen.mutated == {1, 3}
    assert chosen.elite == 2
    assert {select([190.0, 9.0, 210.0, 12.0], seed).parents[1] for seed in range(20)} == {0, 2}


def test_among_near_equals_no_agent_is_replaced():
    assert select([200.0, 190.0, 180.0, 170.0]).survivors == {0, 1, 2, 3}
    assert select([5.0, 5.0, 5.0]).survivors == {0, 1, 2}


def test_one_that_leads_by_far_replaces_the_worst_half_at_once():
    chosen = select([10.0, 500.0, 30.0, 20.0])
    assert chosen.parents == (1, 1, 2, 1)
    assert select([10.0, 500.0, 30.0, 20.0], most=0.75).parents == (1, 1, 1, 1)


def test_who_diverged_is_replaced_whatever_the_gap():
    assert select([3.0, np.nan, 2.0, 1.0]).parents[1] in {0, 2, 3}
    chosen = select([np.nan, np.nan, 2.0, np.nan])
    assert chosen.parents == (2, 2, 2, 2)
    assert chosen.survivors == {2}


def test_a_population_of_one_stays_and_of_two_the_better_replaces_the_worse():
    assert select([1.0]).parents == (0,)
    assert select([1.0, 2.0]).parents == (1, 1)


@pytest.mark.parametrize(
    "options", [{"width": 0.0}, {"width": 1.5}, {"most": 0.0}, {"most": 1.0}, {"restless": 2.0}]
)
def test_shares_have_a_range(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Gap(**options)


def test_a_gap_smaller_than_what_counts_replaces_nobody():
    assert select([243.0, 242.0, 189.0, 185.0]).survivors == {0, 1}
    assert select([243.0, 242.0, 189.0, 185.0], least=100.0).survivors == {0, 1, 2, 3}
    assert select([296.0, 194.0, 18.0, 9.0], least=100.0).survivors == {0, 1}
    assert select([np.nan, 242.0, 189.0, 185.0], least=100.0).survivors == {1, 2, 3}
    with pytest.raises(ValueError, match="least"):
        Gap(least=-1.0)


def test_hyperparameters_can_outlive_the_weights_they_lost_with():
    kept = select([190.0, 9.0, 210.0, np.nan], inherit=0.0)
    assert kept.hyperparameters[:3] == (0, 1, 2)
    assert kept.hyperparameters[3] == kept.parents[3], "not those of who diverged"
    assert select([190.0, 9.0, 210.0, 12.0]).hyperparameters[1] in {0, 2}


def test_a_restless_selection_replaces_the_worst_of_equals_now_and_then():
    fitness = [252.0, 240.0, 260.0, 246.0]
    chosen = [select(fitness, seed, restless=0.5) for seed in range(200)]
    replaced = [one for one in chosen if len(one.survivors) == 3]
    assert all(one.survivors == {0, 1, 2, 3} for one in chosen if one not in replaced)
    assert 0.4 < len(replaced) / 200 < 0.6
    assert all(one.mutated == {1} and one.parents[1] in {0, 2, 3} for one in replaced)
    assert {one.parents[1] for one in replaced} == {0, 2, 3}
    assert select([1.0], restless=1.0).survivors == {0}
    gapped = select([190.0, 9.0, 210.0, 12.0], restless=1.0)
    assert gapped.survivors == {0, 2}, "where a gap tells, it decides"
