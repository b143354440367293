"""Networks of a size that the machine just holds are made in the time that their weights take."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.core.machine_memory import LARGE, zeros

BOX = spaces.Box(-1, 1, (4,))
CPU = torch.device("cpu")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_what_has_not_been_learnt_takes_no_memory():
    """`MLP([10_000_000])` took 20 s and 6.5 GB before it was accepted, most of it for moments of 0 and for copies."""

    def taken():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = taken()
    population = ev.Population("DQN", BOX, spaces.Discrete(2), 2, network=ev.MLP([1_000_000]), seed=0)
    tensors = dict(population.table.items())
    own = tensors["q"].nbytes
    assert own == 2 * (1_000_000 * (4 + 1 + 2) + 2) * 4
    # The weights, their targets and what they were drawn into; the two moments, a copy and zeros were as much again.
    assert taken() - before < 4 * own
    assert not tensors["q.mean"].any()
    assert not tensors["q.square"].any()
    assert torch.equal(tensors["q"], tensors["q.target"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize("size", [3, LARGE])
def test_zeros_are_zeros_to_write_to(dtype, size):
    tensor = zeros((2, size // 2 + 1), dtype, CPU)
    assert tensor.dtype == dtype
    assert tensor.shape == (2, size // 2 + 1)
    assert not tensor.any()
    tensor[1] = 1
    assert int(tensor.sum()) == size // 2 + 1


def test_zeros_that_are_not_there_are_one_sentence():
    with pytest.raises(MemoryError, match=r"GiB for a tensor of shape \(1000000, 1000000000\) are not there"):
        zeros((10**6, 10**9), torch.float64, CPU)
    assert np.prod(zeros((0, 3), torch.float32, CPU).shape) == 0
