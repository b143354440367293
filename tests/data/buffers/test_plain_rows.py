"""The short way of plain arrays into storage, against the way of everything else."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.data.buffers.plain_rows import SharedArrays, write_plain
from evolab.envs import make


def steps(count, kind=np.float32, seed=0):
    """Steps of two agents with three environments each; the successor of one is what the next one acts on."""
    stream = np.random.default_rng(seed)
    seen = [stream.normal(size=(2, 3, 4)).astype(kind) for _ in range(count + 1)]
    for now, following in zip(seen, seen[1:], strict=False):
        yield SimpleNamespace(
            observation=now, action=stream.integers(5, size=(2, 3)), reward=stream.normal(size=(2, 3)).astype("f"),
            next_observation=following, terminated=stream.random((2, 3)) < 0.3, truncated=np.zeros((2, 3), bool),
            reset_observation=following,
        )  # fmt: skip


def stored(buffer):
    """Every field that was written, as lists."""
    return {name: store[: len(buffer)].tolist() for name, store in buffer.fields.items()}


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint16, np.int8])
@pytest.mark.parametrize("capacity", [100, 60, 25, 7])
def test_what_is_stored_is_the_same_either_way(monkeypatch, kind, capacity):
    short, long = ev.ReplayBuffer(capacity), ev.ReplayBuffer(capacity)
    for step in steps(15, kind):
        short.add(step)
    monkeypatch.setattr("evolab.data.buffers.ring_storage.write_plain", lambda *arguments: False)
    monkeypatch.setattr(SharedArrays, "of", lambda *arguments: None)
    for step in steps(15, kind):
        long.add(step)
    assert stored(short) == stored(long)
    assert (short.length, short.cursor, short.added) == (long.length, long.cursor, long.added)
    assert any(stored(short)["onward"])


@pytest.mark.parametrize("again", [copy.deepcopy, lambda buffer: pickle.loads(pickle.dumps(buffer))])
def test_a_copy_of_a_buffer_stores_for_itself(again):
    first = ev.ReplayBuffer(50)
    taken = list(steps(3))
    first.add(taken[0])
    second = again(first)
    for step in taken[1:]:
        second.add(step)
    assert (len(first), len(second)) == (6, 18)
    assert torch.equal(second.fields["reward"][6:12], torch.from_numpy(taken[1].reward).flatten())
    assert not first.fields["reward"][6:].any()


def test_what_is_no_plain_array_of_that_shape_is_not_written():
    fields = {"a": torch.zeros(10, 2), "b": torch.zeros(10)}
    frames = dict.fromkeys(fields)
    good = {"a": np.ones((2, 3, 2), "f"), "b": np.ones((2, 3))}
    bad = [
        {**good, "b": np.ones((2, 2))},
        {**good, "a": np.ones((2, 3, 1), "f")},
        {**good, "b": torch.ones(2, 3)},
        {**good, "b": np.full((2, 3), "1")},
    ]
    for rows in bad:
        assert not write_plain(SharedArrays(), fields, frames, rows, (2, 3), slice(0, 6))
    assert not write_plain(SharedArrays(), fields, {**frames, "b": object()}, good, (2, 3), slice(0, 6))
    assert not write_plain(SharedArrays(), fields, frames, good, (2, 3), slice(5, 11))  # beyond what there is
    fields["b"] = fields["b"].bfloat16()
    assert not write_plain(SharedArrays(), fields, frames, good, (2, 3), slice(0, 6))
    assert not fields["a"].any()


def test_an_array_follows_the_tensor_that_has_the_name_now():
    arrays, first, second = SharedArrays(), torch.zeros(3), torch.zeros(3)
    arrays.of("x", first)[0] = 1
    arrays.of("x", second)[1] = 2
    assert (first.tolist(), second.tolist()) == ([1, 0, 0], [0, 2, 0])


def test_what_is_acted_on_next_is_the_very_array_of_the_step_before():
    with make("CartPole-v1", population=2, num_envs=2, seed=0) as envs:
        begun = envs.reset()
        first = envs.step(np.zeros((2, 2), int))
        second = envs.step(np.zeros((2, 2), int))
    assert first.observation is begun
    assert second.observation is first.reset_observation is first.next_observation
