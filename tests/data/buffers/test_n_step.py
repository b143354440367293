"""Returns over several steps, as they are drawn from a buffer, against sums over episodes that are kept apart."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.core.sampling import Lookahead, Sampling
from evolab.data.buffers import offline
from evolab.data.buffers.offline import buffer_from
from evolab.data.buffers.saving import Written, read_buffer, write_buffer
from evolab.data.datasets.columns import DatasetError
from evolab.storage.folders import Saved, drafting

AHEAD = Lookahead(torch.tensor([1.0, 3.0]), torch.tensor([0.9, 0.5], dtype=torch.float64), 3)
"""Two agents, of which one looks a single step ahead."""


def step(observation, reward, following, terminated=False, truncated=False, valid=None):
    """One step of one environment of one agent, or of as many as the arrays have."""
    shape = np.atleast_2d(observation).shape
    fields = observation, reward, following, terminated, truncated
    see, earn, then, over, cut = (np.broadcast_to(np.asarray(x), shape).copy() for x in fields)
    return SimpleNamespace(
        observation=see.astype("f")[..., None], action=see.astype("f")[..., None], reward=earn.astype("f"),
        next_observation=then.astype("f")[..., None], terminated=over, truncated=cut,
        valid=valid if valid is None else np.asarray(valid).reshape(see.shape),
    )  # fmt: skip


def drawn(buffer, ahead=AHEAD, count=300):
    """(observation, reward, discount, successor, terminated) of each different sample, by agents."""
    agents = len(ahead.steps)
    found = buffer.samples(slice(0, agents), count, 2, torch.Generator().manual_seed(0), Sampling(ahead))
    assert found.reward.shape == found.discount.shape == (2, agents, count)
    parts = (
        found.observation[..., 0],
        found.reward,
        found.discount,
        found.next_observation[..., 0],
        found.terminated,
    )
    rows = torch.stack([part.double() for part in parts], -1).transpose(0, 1).flatten(1, 2).tolist()
    return [{row[0]: tuple(row[1:]) for row in own} for own in rows]


def three_steps(buffer, **end):
    """An episode of three steps, which earn 1, 2 and 4."""
    for at, earned in enumerate((1, 2, 4)):
        buffer.add(step(at, earned, at + 1, **(end if at == 2 else {})))


@pytest.mark.parametrize(
    "end", [{"terminated": True}, {"truncated": True}, {}], ids=["terminated", "truncated", "goes on"]
)
def test_returns_by_hand_to_the_end_of_an_episode(end):
    buffer = ev.ReplayBuffer(10)
    three_steps(buffer, **end)
    over = float(end.get("terminated", False))
    one, three = drawn(buffer)
    assert one == {0: (1, 0.9, 1, 0), 1: (2, 0.9, 2, 0), 2: (4, 0.9, 3, over)}
    assert three == {
        0: (1 + 0.5 * 2 + 0.25 * 4, 0.125, 3, over),
        1: (2 + 0.5 * 4, 0.25, 3, over),
        2: (4, 0.5, 3, over),
    }
    buffer.add(step(3, 8, 4))
    assert drawn(buffer)[1][2] == ((4, 0.5, 3, over) if end else (4 + 0.5 * 8, 0.25, 4, 0))


def test_environments_that_were_started_anew_follow_nothing():
    buffer = ev.ReplayBuffer(10)
    three_steps(buffer)
    buffer.add(step(7, 8, 8))  # another start: its observation is nobody's successor
    assert drawn(buffer)[1][2] == (4, 0.5, 3, 0)
    buffer.begin_generation()
    buffer.add(step(8, 16, 9))  # looks as if it went on
    assert drawn(buffer)[1][7] == (8, 0.5, 8, 0)


def test_a_row_that_is_no_transition_ends_what_can_be_summed():
    buffer = ev.ReplayBuffer(10)
    buffer.add(step([0, 10], [1, 1], [1, 11]))
    buffer.add(step([1, 11], [2, 2], [2, 12], valid=[False, True]))
    buffer.add(step([2, 12], [4, 4], [3, 13]))
    _, three = drawn(buffer)
    assert three[0] == (1, 0.5, 1, 0)
    assert three[2] == (4, 0.5, 3, 0)
    assert three[10] == (1 + 0.5 * 2 + 0.25 * 4, 0.125, 13, 0)


def naive(episodes, steps, discount):
    """What should be drawn, by observation, from lists of (observation, reward, successor, terminated)."""
    found = {}
    for episode in episodes:
        for at in range(len(episode)):
            part = episode[at : at + steps]
            total = sum(discount**k * reward for k, (_, reward, _, _) in enumerate(part))
            found[episode[at][0]] = (total, discount ** len(part), part[-1][2], part[-1][3])
    return found


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("capacity", [7, 50, 1000])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_sample_is_the_sum_over_its_own_episode(seed, capacity, shared):
    """Two agents, three environments: ends of both kinds, rows that are invalid, starts anew, old rows overwritten."""
    stream = np.random.default_rng(seed)
    buffer, agents, envs = ev.ReplayBuffer(capacity, shared=shared), 2, 3
    shape, number = (agents, envs), 0
    stored = [
        [] for _ in range(1 if shared else agents)
    ]  # of each pool, rows in order: (agent, env, episode, row)
    episode = np.zeros(shape, int)
    observation = None
    for _ in range(60):
        if observation is None or stream.random() < 0.05:
            observation, number, episode = number + np.arange(6).reshape(shape), number + 6, episode + 1
        following, number = number + np.arange(6).reshape(shape), number + 6
        reward = stream.integers(-4, 5, shape)
        over, cut = stream.random(shape) < 0.1, stream.random(shape) < 0.1
        valid = stream.random(shape) < 0.9
        buffer.add(step(observation, reward, following, over, cut, valid))
        for a, e in np.ndindex(shape):
            row = int(observation[a, e]), float(reward[a, e]), int(following[a, e]), float(over[a, e])
            if valid[a, e]:
                stored[0 if shared else a].append((a, e, episode[a, e], row))
        episode = episode + (over | cut | ~valid)
        fresh = number + np.arange(6).reshape(shape)
        observation, number = np.where(over | cut, fresh, following), number + 6
    for agent, found in enumerate(drawn(buffer, count=4000)):
        held = {}
        for a, e, number, row in stored[0 if shared else agent][-capacity:]:
            held.setdefault((a, e, number), []).append(row)
        expected = naive(held.values(), int(AHEAD.steps[agent]), float(AHEAD.discount[agent]))
        assert found == expected


def test_links_are_saved_and_a_folder_without_them_has_none(tmp_path):
    buffer = ev.ReplayBuffer(10)
    three_steps(buffer, terminated=True)
    for name in ("with", "without"):
        if name == "without":
            del buffer.fields["onward"], buffer.frames["onward"]
        with drafting(tmp_path / name, "generation") as draft:
            about, _ = write_buffer(draft, tmp_path / name, buffer, Written())
        again = ev.ReplayBuffer(10)
        read_buffer(Saved(tmp_path / name, "generation"), about, again)
        total = 1 + 0.5 * 2 + 0.25 * 4
        assert drawn(again)[1][0] == ((total, 0.125, 3, 1) if name == "with" else (1, 0.5, 1, 0))
        again.add(step(7, 8, 8))
        again.add(step(8, 16, 9, truncated=True))
        assert drawn(again)[1][7] == (8 + 0.5 * 16, 0.25, 9, 0)


def test_recorded_episodes_are_summed_over_too(monkeypatch):
    monkeypatch.setattr(offline, "BLOCK", 4)  # episodes run on from block to block
    rows = 12
    data = {
        "observations": np.arange(rows, dtype="f")[:, None], "actions": np.arange(rows) % 2,
        "rewards": 2.0 ** np.arange(rows), "terminals": np.arange(rows) % 6 == 5,
        "timeouts": np.zeros(rows, bool), "next_observations": np.arange(rows, dtype="f")[:, None] + 1,
    }  # fmt: skip
    buffer, _ = buffer_from(data)
    _, three = drawn(buffer)
    assert three[1] == (2 + 0.5 * 4 + 0.25 * 8, 0.125, 4, 0)
    assert three[4] == (16 + 0.5 * 32, 0.25, 6, 1)
    assert three[6] == (64 + 0.5 * 128 + 0.25 * 256, 0.125, 9, 0)


def test_data_on_disk_cannot_be_summed_over(tmp_path):
    data = {
        "observations": np.zeros((20, 1), "f"), "actions": np.zeros(20, int), "rewards": np.zeros(20),
        "terminals": np.arange(20) % 5 == 4, "next_observations": np.zeros((20, 1), "f"),
    }  # fmt: skip
    path = tmp_path / "data.h5"
    ev.Dataset(data).save(path)
    buffer, _ = buffer_from(ev.Dataset(path, max_memory=1))
    with pytest.raises(DatasetError, match="n_step above 1 needs data in memory"):
        next(buffer.batches(slice(0, 2), 4, 1, torch.Generator(), Sampling(AHEAD)))


def test_transitions_that_were_taken_in_go_on_with_nothing():
    """Neither with each other, nor with what was there, nor as what they have overwritten did."""
    giver, taker = ev.ReplayBuffer(9), ev.ReplayBuffer(4)
    for at in (10, 11, 12):
        giver.add(step(at, 8, at + 1))
    three_steps(taker)
    taker.take_in(giver.newest(3))
    assert taker.onward[: len(taker)].tolist() == [0, 0, 0, 0]
    taker.add(step(3, 16, 4))  # the episode that was cut goes on, and is not known to
    found = drawn(taker)[1]
    assert {*found} == {10.0, 11.0, 12.0, 3.0}
    for observation, (earned, discount, following, _) in found.items():
        assert earned == (16 if observation == 3 else 8)
        assert discount == 0.5
        assert following == observation + 1
