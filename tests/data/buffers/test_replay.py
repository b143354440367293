from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from evolab.core import machine_memory
from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.buffers.rollout import RolloutBuffer
from evolab.data.buffers.saving import Written, read_buffer, write_buffer
from evolab.storage.folders import Saved, drafting


def rows(start, *shape, valid=None, dict_space=False):
    """Transitions whose every field tells which one it is: number, number + 0.5, and so on."""
    number = np.arange(start, start + int(np.prod(shape)), dtype=np.float32).reshape(shape)
    observation = number[..., None]
    following = observation + 1
    if dict_space:
        observation = {"a": observation, "b": (number.astype(np.int64), number[..., None, None] * 2)}
        following = {"a": following, "b": (number.astype(np.int64) + 1, (number[..., None, None] + 1) * 2)}
    return SimpleNamespace(
        observation=observation, action=number[..., None] * 10, reward=number + 0.5,
        next_observation=following,
        terminated=number % 2 == 0, truncated=np.zeros(shape, bool), valid=valid,
    )  # fmt: skip


def contents(buffer, ring=0):
    length = int(buffer.length[ring])
    start = ring * buffer.capacity
    return sorted(int(value) for value in buffer.fields["observation"][start : start + length, 0])


def sampled(buffer, agents=slice(0, 2), size=400):
    return buffer.sample(agents, size, torch.Generator().manual_seed(0))


def consistent(sample):
    number = sample.observation[..., 0]
    assert torch.equal(sample.action[..., 0], number * 10)
    assert torch.equal(sample.reward, number + 0.5)
    assert torch.equal(sample.next_observation[..., 0], number + 1)
    assert torch.equal(sample.terminated, number % 2 == 0)


def test_the_oldest_are_overwritten_first():
    buffer = ReplayBuffer(5)
    for start in range(0, 8, 2):
        assert buffer.add(rows(start, 2)) == 2
    assert len(buffer) == 5
    assert contents(buffer) == [3, 4, 5, 6, 7]
    consistent(sampled(buffer))


@pytest.mark.parametrize("count", [5, 6, 11, 23])
@pytest.mark.parametrize("before", [0, 3])
def test_more_than_fits_leaves_the_newest(count, before):
    buffer = ReplayBuffer(5)
    buffer.add(rows(0, before or 1))
    first = before or 1
    buffer.add(rows(first, count))
    newest = list(range(first + count - 5, first + count))
    assert contents(buffer) == newest
    buffer.add(rows(first + count, 2))
    assert contents(buffer) == [*newest[2:], first + count, first + count + 1]
    consistent(sampled(buffer))


def test_a_vector_step_stores_every_valid_row_and_no_other():
    buffer = ReplayBuffer(100)
    valid = np.array([[True, False, True], [False, True, True]])
    assert buffer.add(rows(0, 2, 3, valid=valid)) == 4
    assert contents(buffer) == [0, 2, 4, 5]
    assert buffer.add(rows(6, 2, 3, valid=np.zeros((2, 3), bool))) == 0
    consistent(sampled(buffer))


def test_one_call_samples_for_everyone_from_all_that_is_there():
    buffer = ReplayBuffer(64)
    buffer.add(rows(0, 4, 4))
    sample = sampled(buffer, slice(1, 4), 500)
    assert sample.observation.shape == (3, 500, 1)
    assert sample.reward.shape == (3, 500)
    assert set(sample.observation.flatten().int().tolist()) == set(range(16))
    assert not torch.equal(sample.observation[0], sample.observation[1])
    consistent(sample)


def test_agents_that_do_not_share_see_their_own_experience_alone():
    buffer = ReplayBuffer(4, shared=False)
    for start in (0, 6, 12):
        buffer.add(rows(start, 3, 2))
    assert contents(buffer, 0) == [6, 7, 12, 13]
    assert contents(buffer, 2) == [10, 11, 16, 17]
    sample = sampled(buffer, slice(1, 3), 100)
    assert set(sample.observation[0].flatten().int().tolist()) == {8, 9, 14, 15}
    assert set(sample.observation[1].flatten().int().tolist()) == {10, 11, 16, 17}
    consistent(sample)
    buffer.follow([2, 2, 0])
    assert [contents(buffer, ring)[0] for ring in range(3)] == [10, 10, 6]
    buffer.add(rows(100, 3, 1))
    assert contents(buffer, 1) == [11, 16, 17, 101]
    assert contents(buffer, 0) == [11, 16, 17, 100]


def test_apart_an_invalid_row_costs_its_own_agent_alone():
    buffer = ReplayBuffer(4, shared=False)
    buffer.add(rows(0, 2, 2, valid=np.array([[True, True], [False, True]])))
    assert buffer.length.tolist() == [2, 1]
    assert len(buffer) == 1


def test_a_shared_pool_has_nothing_to_gather():
    buffer = ReplayBuffer(8)
    buffer.add(rows(0, 2, 2))
    before = buffer.fields["observation"].clone()
    buffer.follow([1, 1])
    assert torch.equal(buffer.fields["observation"], before)


def test_observations_of_many_parts_keep_their_form_and_their_types():
    buffer = ReplayBuffer(5)
    buffer.add(rows(0, 2, 2, dict_space=True))
    buffer.add(rows(4, 2, 2, dict_space=True))
    sample = sampled(buffer)
    number = sample.observation["a"][..., 0]
    assert set(number.flatten().int().tolist()) == {3, 4, 5, 6, 7}
    assert sample.observation["b"][0].dtype == torch.int64
    assert torch.equal(sample.observation["b"][0], number.long())
    assert torch.equal(sample.observation["b"][1][..., 0, 0], number * 2)
    assert torch.equal(sample.next_observation["b"][0], number.long() + 1)
    assert buffer.observations(3, torch.Generator())["a"].shape == (3, 1)


def test_bytes_stay_bytes_and_doubles_become_floats():
    buffer = ReplayBuffer(4)
    transition = rows(0, 2)
    transition.observation = transition.next_observation = np.zeros((2, 4, 4, 3), np.uint8)
    transition.reward = transition.reward.astype(np.float64)
    buffer.add(transition)
    assert buffer.fields["observation"].dtype == torch.uint8
    assert buffer.fields["reward"].dtype == torch.float32


def test_what_was_stored_is_a_copy():
    buffer, transition = ReplayBuffer(4), rows(0, 2)
    buffer.add(transition)
    transition.observation[:] = -1
    assert contents(buffer) == [0, 1]


def test_an_empty_buffer_says_how_to_fill_it():
    with pytest.raises(
        ValueError, match=r"the replay buffer is empty. Call exp.fill\(1_000\), or buffer.add"
    ):
        ReplayBuffer(4).sample(slice(0, 1), 2, torch.Generator())


@pytest.mark.parametrize("capacity", [0, -1, 2.5, True])
def test_a_capacity_below_one_is_refused(capacity):
    with pytest.raises(ValueError, match="a whole number of at least 1 is expected"):
        ReplayBuffer(capacity)


def test_another_environments_rows_are_refused_and_nothing_is_lost():
    buffer = ReplayBuffer(4)
    buffer.add(rows(0, 4))
    other = rows(10, 2)
    other.action = np.zeros((2, 3), np.float32)
    with pytest.raises(
        ValueError, match=r"holds rows of shape \(1,\). Use a fresh ReplayBuffer for another env"
    ):
        buffer.add(other)
    assert contents(buffer) == [0, 1, 2, 3]
    consistent(sampled(buffer))


def test_clearing_forgets_everything():
    buffer = ReplayBuffer(4)
    buffer.add(rows(0, 3))
    buffer.clear()
    assert len(buffer) == 0
    buffer.add(rows(7, 1))
    assert contents(buffer) == [7]


@pytest.mark.parametrize("capacity", ["x", None, float("nan"), float("inf"), [3]])
@pytest.mark.parametrize("kind", [ReplayBuffer, RolloutBuffer])
def test_a_size_that_is_no_number_is_named(kind, capacity):
    with pytest.raises(ValueError, match=rf"{kind.__name__}: .* is .*; a whole number of at least 1 is exp"):
        kind(capacity)
    assert len(kind(3.0)) == 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_is_taken_as_it_fills():
    """Eight steps on 84x84x4 images took 5.3 GiB: 100 000 rows were written at once, twice."""

    def taken():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    buffer, before = ReplayBuffer(100_000), taken()
    image = np.zeros((8, 84, 84, 4), np.uint8)
    number = np.arange(8, dtype=np.float32)
    for _ in range(8):
        buffer.add(
            SimpleNamespace(observation=image, action=number[:, None], reward=number,
                            next_observation=image, terminated=number > 3)
        )  # fmt: skip
    assert buffer.row_bytes == 2 * 84 * 84 * 4 + 4 + 4 + 1 + 4
    assert taken() - before < 64 * 2**20  # 64 rows are 3.6 MB; pages of 2 MB are rounded up


def test_a_buffer_of_more_than_half_the_free_memory_says_so(monkeypatch, capsys):
    # A row is observation 4, action 4, reward 4, successor 4 and terminated 1: 17 bytes, 40 of them 680.
    for free, said in ((2 * 680, False), (2 * 680 - 1, True)):
        monkeypatch.setattr(machine_memory, "free_memory", lambda device, free=free: free)
        ReplayBuffer(40).add(rows(0, 2))
        assert ("ReplayBuffer(40) takes" in capsys.readouterr().err) == said


def test_memory_that_is_not_there_is_one_sentence():
    with pytest.raises(
        MemoryError, match=r"^[\d,.]+ GiB for 10,000,000,000,000,000 rows of shape \(1,\) are more"
    ):
        ReplayBuffer(10**16).add(rows(0, 2))


def test_who_wants_more_than_there_is_room_for_waits_until_it_is_full():
    buffer = ReplayBuffer(4)
    buffer.add(rows(0, 3))
    assert not buffer.ready(8)
    assert buffer.ready(3)
    buffer.add(rows(3, 1))
    assert buffer.ready(8)


def test_what_lost_its_oldest_rows_is_read_back_without_a_gap(tmp_path):
    """The gap was drawn from, and as many of the newest rows were not."""
    buffer = ReplayBuffer(8)
    buffer.add(rows(1, 6))
    buffer.length[0] = 4  # as `Boundary.since` leaves it: 1 and 2 are gone
    with drafting(tmp_path / "kept", "generation") as draft:
        about, _ = write_buffer(draft, tmp_path / "kept", buffer, Written())
    again = ReplayBuffer()
    read_buffer(Saved(tmp_path / "kept", "generation"), about, again)
    assert contents(again) == [3, 4, 5, 6]
    again.add(rows(7, 5))
    assert contents(again) == [4, 5, 6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("dict_space", [False, True])
@pytest.mark.parametrize(("capacity", "stored", "asked"), [(20, 12, 5), (20, 12, 50), (8, 12, 6), (8, 12, 8)])
def test_the_newest_of_one_buffer_are_taken_in_by_another(dict_space, capacity, stored, asked):
    giver, taker = ReplayBuffer(capacity), ReplayBuffer(10)
    giver.add(rows(0, 2, stored // 2, dict_space=dict_space))
    taker.add(rows(100, 1, 3, dict_space=dict_space))
    sent = giver.newest(asked)
    count = min(asked, stored, capacity)
    assert sent["reward"].tolist() == [number + 0.5 for number in range(stored - count, stored)]
    taker.take_in(sent)
    assert taker.added == 3 + count
    kept = (*range(100, 103), *range(stored - count, stored))[-10:]
    observed = taker.fields["observation"]["a"] if dict_space else taker.fields["observation"]
    assert sorted(int(value) for value in observed[: len(taker), 0]) == sorted(kept)
    assert giver.added == stored


def test_transitions_of_another_environment_are_not_taken_in():
    giver, taker = ReplayBuffer(8), ReplayBuffer(8)
    assert giver.newest(3) == {}
    giver.add(rows(0, 1, 3))
    taker.add(rows(0, 1, 3, dict_space=True))
    with pytest.raises(ValueError, match="they lack observation/a, observation/b/0, observation/b/1"):
        taker.take_in(giver.newest(3))
    with pytest.raises(ValueError, match="of another environment"):
        ReplayBuffer(8).take_in(giver.newest(3))


def test_masks_are_sent_along():
    giver, taker = ReplayBuffer(8), ReplayBuffer(8)
    masked, plain = rows(0, 1, 2), rows(10, 1, 2)
    masked.next_action_mask = np.array([[[True, False], [False, True]]])
    giver.add(masked)
    taker.add(plain)
    taker.take_in(giver.newest(2))
    assert taker.fields["next_action_mask"][:4].tolist() == [
        [True, True],
        [True, True],
        [True, False],
        [False, True],
    ]
