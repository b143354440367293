"""Kernels share the cores: how many threads they take, and that nobody is left waiting for one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from evolab.networks.kernels import core_sharing
from evolab.networks.kernels.core_sharing import cores_for_kernels, threads
from tests.small import quiet

LEARNING = """
import os, sys, torch
sys.path.insert(0, "tests/benchmarks")
from updates import case, population_of
learn = case(population_of("TD3", 4, 16, 32))
learn(16)
"""
AFTER_FORK = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own: this process has threads
child = os.fork()
learn(16)
if child == 0:
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


@pytest.fixture
def given(monkeypatch):
    """Torch has three threads on four cores, and nothing is said in the environment."""
    monkeypatch.delenv("EVOLAB_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(core_sharing, "cores", lambda: 4)
    return monkeypatch


def test_kernels_take_as_many_threads_as_torch_where_there_are_cores(given):
    assert threads() == 3
    given.setattr(core_sharing, "cores", lambda: 2)
    assert threads() == 2


def test_the_environment_says_another_number(given):
    given.setenv("EVOLAB_THREADS", "7")
    assert threads() == 7


@pytest.mark.parametrize("said", ["0", "-1", "two", "1.5"])
def test_a_number_that_is_none_is_refused(given, said):
    given.setenv("EVOLAB_THREADS", said)
    with pytest.raises(ValueError, match=f"EVOLAB_THREADS is '{said}' in the environment; a whole number"):
        threads()
    with pytest.raises(ValueError, match="EVOLAB_THREADS"), cores_for_kernels():
        pass  # however little there is to do


def test_torch_s_operations_keep_to_one_thread_while_kernels_take_them_all(monkeypatch):
    monkeypatch.delenv("EVOLAB_THREADS", raising=False)
    monkeypatch.setattr(core_sharing, "cores", lambda: 4)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with cores_for_kernels():
            assert torch.get_num_threads() == 1
            with cores_for_kernels():  # as a run's updates are within the run
                assert threads() == 3
            assert threads() == 3
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.kernels
@pytest.mark.parametrize("then", ["", AFTER_FORK], ids=["to the end", "forked"])
def test_a_process_with_threads_may_fork_and_ends_quietly(then):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LEARNING + then],
        env={**quiet(), "EVOLAB_THREADS": "3"},
        capture_output=True,
        text=True,
        timeout=120,
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__)))),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
