"""Grouping: which agents share a bucket and a group, by hand-computed costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.population.grouping import Demand, arrange, divide, gather


def demand(batch: int, work: float = 1.0, key: int = 0) -> Demand:
    return Demand(key=("", (key,)), order=0, work=work, batch=batch, units=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["unpadded", "padded"])
def test_agents_that_update_at_different_times_share_no_bucket(dtype):
    observed = spaces.Box(-1, 1, (3,), np.float32)
    population = ev.Population("DQN", observed, spaces.Discrete(2), 2, seed=0, device="cpu")
    individuals = [population.individual(row) for row in range(2)]
    individuals[1].hyperparameters["learn_step"] = 2
    like = torch.empty(0, dtype=dtype)  # the kernels know no half precision: its agents are padded
    _, groups = arrange(individuals, population.network, population.roles, ("learn_step",), like)
    assert groups == [[(0, 1)], [(1, 2)]]


def test_agents_are_cut_where_padding_costs_more_than_a_bucket():
    """Together the six cost 6 x 9; cut in two 3 x 1 + 3 x 9 and one more bucket."""
    costs = [1.0, 1.0, 1.0, 9.0, 9.0, 9.0]
    assert divide(costs, "aaaaaa", 20.0, 9) == [(0, 3), (3, 6)]
    assert divide(costs, "aaaaaa", 30.0, 9) == [(0, 6)]
    assert divide(costs, "aabbbb", 30.0, 9) == [(0, 2), (2, 6)]
    assert divide([1.0] * 4, "aaaa", 30.0, 2) == [(0, 2), (2, 4)], "no more agents than fit"


def test_the_bucket_of_the_largest_batch_leads_a_group():
    assert gather([(0, 1), (1, 2)], [demand(64), demand(512)], 1e9, 9) == [[(1, 2), (0, 1)]]


@pytest.mark.parametrize(("overhead", "together"), [(2 * 3.0 * (512 - 64), True), (2 * 3.0 * 448 - 1, False)])
def test_a_bucket_joins_where_the_wasted_samples_cost_no_more_than_a_group(overhead, together):
    demands = [demand(512, 5.0), demand(64, 3.0), demand(64, 2.0)]  # the costliest of the two counts for both
    packs = gather([(0, 1), (1, 3)], demands, overhead, 9)
    assert packs == ([[(0, 1), (1, 3)]] if together else [[(0, 1)], [(1, 3)]])


@pytest.mark.parametrize(("largest", "together"), [(5, True), (4, False)])
def test_a_group_holds_no_more_agents_than_fit(largest, together):
    packs = gather([(0, 3), (3, 5)], [demand(64)] * 3 + [demand(512)] * 2, 1e9, largest)
    assert (len(packs) == 1) is together


def test_agents_of_other_keys_share_no_group():
    demands = [demand(64, key=0), demand(64, key=1)]
    assert gather([(0, 1), (1, 2)], demands, 1e9, 9) == [[(0, 1)], [(1, 2)]]
