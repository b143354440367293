"""Nothing grows faster than what it holds: the table with the agents, the buffer with its transitions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from gymnasium.spaces import Box

import evolab as ev


def test_memory_of_an_agent_does_not_depend_on_how_many_there_are():
    sizes = []
    for agents in (1, 16, 64):
        population = ev.Population(
            "TD3", Box(-1, 1, (8,)), Box(-1, 1, (2,)), agents, network=[16, 16], seed=1, device="cpu"
        )
        sizes.append(sum(tensor.nbytes for tensor in population.table.values()) / agents)
    assert sizes[0] == sizes[1] == sizes[2]


def test_pictures_are_stored_as_bytes_and_once_for_all_agents():
    each = []
    for agents in (1, 8):
        buffer = ev.ReplayBuffer(32)
        pictures = np.random.default_rng(0).integers(0, 256, (agents, 1, 84, 84, 4)).astype(np.uint8)
        buffer.add(
            SimpleNamespace(
                observation=pictures,
                action=np.zeros((agents, 1), np.int64),
                reward=np.zeros((agents, 1), "f"),
                next_observation=pictures,
                terminated=np.zeros((agents, 1), bool),
                valid=None,
            )
        )
        assert len(buffer) == agents
        each.append(buffer.nbytes / buffer.capacity)
    assert each[0] == each[1]
    # The successor is the observation: a place for each, and how far on it lies.
    assert each[0] == 84 * 84 * 4 + 3 * 4 + 8 + 4 + 1
