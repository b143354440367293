"""Goals that were reached later, as they are drawn from a buffer, against episodes that are kept apart."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.core.sampling import Lookahead, Sampling
from evolab.data.buffers.saving import Written, read_buffer, write_buffer
from evolab.storage.folders import Saved, drafting


class Numbers:
    """Goals are numbers: a step earns 1 where it is at the goal, and -distance / 8 elsewhere; `over` ends it there."""

    def __init__(self, over=False):
        self.over = over

    def check(self):
        pass

    def judge(self, achieved, desired):
        assert achieved.shape == desired.shape
        far = np.abs(achieved - desired)[:, 0]
        return np.where(far == 0, 1.0, -far / 8).astype("f"), (far == 0) if self.over else None


def step(at, to, goal=-1, reward=0, terminated=False, truncated=False, valid=None, over=False):
    """One step of one environment of one agent, or of as many as the arrays have; numbers are observed."""
    shape = np.atleast_2d(at).shape
    see, then, aim, earn, ended, cut = (
        np.broadcast_to(np.asarray(x), shape).copy() for x in (at, to, goal, reward, terminated, truncated)
    )

    def shown(where):
        one, wanted = where.astype("f")[..., None], aim.astype("f")[..., None]
        return {"observation": one, "achieved_goal": one.copy(), "desired_goal": wanted}

    return SimpleNamespace(
        observation=shown(see), action=see.astype("f")[..., None], reward=earn.astype("f"), next_observation=shown(then),
        terminated=ended, truncated=cut, valid=valid if valid is None else np.asarray(valid).reshape(shape),
        goals=Numbers(over),
    )  # fmt: skip


def drawn(buffer, share=(1.0, 0.0), count=2000, ahead=None):
    """[P, N, 6] of (observation, goal, reward, successor, terminated, discount), whose goals are one everywhere."""
    share = torch.tensor(share)
    how = Sampling(ahead, share)
    batch = buffer.samples(slice(0, len(share)), count, 2, torch.Generator().manual_seed(0), how)
    assert torch.equal(batch.observation["desired_goal"], batch.next_observation["desired_goal"])
    discount = torch.ones_like(batch.reward) if batch.discount is None else batch.discount
    parts = (
        batch.observation["observation"][..., 0], batch.observation["desired_goal"][..., 0], batch.reward,
        batch.next_observation["observation"][..., 0], batch.terminated, discount,
    )  # fmt: skip
    return torch.stack([part.double() for part in parts], -1).transpose(0, 1).flatten(1, 2)


def sets(found):
    """The different samples of each agent."""
    return [{tuple(row) for row in own.unique(dim=0).tolist()} for own in found]


def three_steps(buffer, over=False, **end):
    """An episode from 0 to 3, whose goal is -1."""
    for at in range(3):
        buffer.add(step(at, at + 1, over=over, **(end if at == 2 else {})))


@pytest.mark.parametrize("end", [{"terminated": True}, {"truncated": True}], ids=["terminated", "truncated"])
def test_goals_and_rewards_by_hand(end):
    """Of each transition the goals are what it and those after it led to; what ended it, and how, stays."""
    buffer = ev.ReplayBuffer(10)
    three_steps(buffer, **end)
    over = float(end.get("terminated", False))
    changed, given = sets(drawn(buffer))
    assert changed == {
        (0, 1, 1.0, 1, 0, 1), (0, 2, -0.125, 1, 0, 1), (0, 3, -0.25, 1, 0, 1),
        (1, 2, 1.0, 2, 0, 1), (1, 3, -0.125, 2, 0, 1),
        (2, 3, 1.0, 3, over, 1),
    }  # fmt: skip
    assert given == {(0, -1, 0, 1, 0, 1), (1, -1, 0, 2, 0, 1), (2, -1, 0, 3, over, 1)}


def test_a_goal_that_ends_episodes_ends_them_where_it_was_reached():
    buffer = ev.ReplayBuffer(10)
    three_steps(buffer, over=True, truncated=True)
    changed, given = sets(drawn(buffer))
    assert {(row[0], row[1]) for row in changed if row[4]} == {(0, 1), (1, 2), (2, 3)}
    assert not any(row[4] for row in given), "the time limit is no end"


def test_every_later_outcome_is_as_likely_as_the_others():
    buffer = ev.ReplayBuffer(10)
    three_steps(buffer, truncated=True)
    rows = drawn(buffer, share=(1.0,), count=30_000)[0]
    for at, later in ((0, (1, 2, 3)), (1, (2, 3))):
        goals = rows[rows[:, 0] == at, 1]
        for goal in later:
            assert (goals == goal).double().mean().item() == pytest.approx(1 / len(later), abs=0.02)


def test_each_agent_has_its_own_share():
    buffer = ev.ReplayBuffer(10)
    three_steps(buffer, truncated=True)
    found = (drawn(buffer, share=(0.0, 0.25, 0.8, 1.0), count=20_000)[..., 1] >= 0).double().mean(1)
    assert found[0] == 0
    assert found[3] == 1
    assert found.tolist() == pytest.approx([0.0, 0.25, 0.8, 1.0], abs=0.01)


def test_an_episode_that_goes_on_keeps_its_goal_until_it_is_over():
    buffer = ev.ReplayBuffer(10)
    three_steps(buffer)
    assert {row[1] for row in sets(drawn(buffer))[0]} == {-1}
    buffer.begin_generation()
    assert {row[1] for row in sets(drawn(buffer))[0]} == {1, 2, 3}


def test_returns_over_several_steps_are_those_of_the_new_goal():
    """0.5 a step over two steps: by a goal at 2 the first earns -1/8 and then 1."""
    for over in (False, True):
        buffer = ev.ReplayBuffer(10)
        three_steps(buffer, over=over, truncated=True)
        ahead = Lookahead(torch.tensor([2.0, 2.0]), torch.tensor([0.5, 0.5], dtype=torch.float64), 2)
        changed, given = sets(drawn(buffer, ahead=ahead))
        two = {(0, 2, -0.125 + 0.5, 2, float(over), 0.25), (0, 3, -0.25 - 0.0625, 2, 0, 0.25)}
        two |= {(1, 3, -0.125 + 0.5, 3, float(over), 0.25), (2, 3, 1.0, 3, float(over), 0.5)}
        if over:  # reached at once: nothing follows
            two |= {(0, 1, 1.0, 1, 1, 0.5), (1, 2, 1.0, 2, 1, 0.5)}
        else:
            two |= {(0, 1, 1.0 - 0.0625, 2, 0, 0.25), (1, 2, 1.0 - 0.0625, 3, 0, 0.25)}
        assert changed == two
        assert given == {(0, -1, 0, 2, 0, 0.25), (1, -1, 0, 3, 0, 0.25), (2, -1, 0, 3, 0, 0.5)}


def play(buffer, seed, steps=60, agents=2, envs=3):
    """Steps of two agents with ends of both kinds, rows that are invalid, starts anew; gives what can be drawn.

    Returns:
        of each pool the rows in order, (episode, observation, outcome), and the episodes that are over.
    """
    stream = np.random.default_rng(seed)
    shape, number, observation = (agents, envs), 0, None
    stored = [[] for _ in range(1 if buffer.shared else agents)]
    episode, over = np.zeros(shape, int), set()

    def begin_anew():
        for a, e in np.ndindex(shape):
            over.add((a, e, int(episode[a, e])))
            episode[a, e] += 1

    for _ in range(steps):
        if observation is not None and stream.random() < 0.05:
            buffer.begin_generation()
            begin_anew()
            observation = None
        if observation is None:
            observation, number = number + np.arange(6).reshape(shape), number + 6
        following, number = number + np.arange(6).reshape(shape), number + 6
        ended, cut = stream.random(shape) < 0.1, stream.random(shape) < 0.1
        valid = stream.random(shape) < 0.9
        buffer.add(step(observation, following, -1, 0, ended, cut, valid))
        for a, e in np.ndindex(shape):
            key = (a, e, int(episode[a, e]))
            if valid[a, e]:
                stored[0 if buffer.shared else a].append((key, int(observation[a, e]), int(following[a, e])))
            if ended[a, e] or cut[a, e]:
                over.add(key)
                episode[a, e] += 1
            elif not valid[a, e]:  # the next step follows nothing, which shows when it comes
                episode[a, e] += 1
        fresh = number + np.arange(6).reshape(shape)
        observation, number = np.where(ended | cut, fresh, following), number + 6
    buffer.begin_generation()
    begin_anew()
    return stored


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("capacity", [7, 50, 1000])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("anew", [False, True], ids=["as it went", "found out from what is stored"])
def test_a_goal_is_what_the_own_episode_led_to_later(seed, capacity, shared, anew):
    buffer = ev.ReplayBuffer(capacity, shared=shared)
    stored = play(buffer, seed)
    if anew:
        buffer.futures = None
        nothing = step(np.full((2, 3), 10**6), np.full((2, 3), 10**6), valid=np.zeros((2, 3), bool))
        buffer.add(nothing)
    found = sets(drawn(buffer, share=(1.0, 1.0), count=60_000))
    for agent, own in enumerate(found):
        episodes = {}
        for key, at, to in stored[0 if shared else agent][-capacity:]:
            episodes.setdefault(key, []).append((at, to))
        expected = {
            (at, to)
            for episode in episodes.values()
            for place, (at, _) in enumerate(episode)
            for _, to in episode[place:]
        }
        assert {(int(row[0]), int(row[1])) for row in own} == expected


def test_a_resumed_buffer_draws_the_same(tmp_path):
    for shared in (True, False):
        buffer, again = ev.ReplayBuffer(50, shared=shared), ev.ReplayBuffer(50, shared=shared)
        play(buffer, 3)
        where = tmp_path / str(shared)
        with drafting(where, "generation") as draft:
            about, _ = write_buffer(draft, where, buffer, Written())
        read_buffer(Saved(where, "generation"), about, again)
        for at in range(4):
            for one in (buffer, again):
                one.add(step(np.full((2, 3), 9000 + at), np.full((2, 3), 9001 + at), truncated=at == 1))
            assert torch.equal(drawn(buffer, (0.8, 0.5)), drawn(again, (0.8, 0.5)))


def test_experience_follows_the_agents_that_it_belongs_to():
    buffer = ev.ReplayBuffer(50, shared=False)
    play(buffer, 4)
    before = sets(drawn(buffer, (1.0, 1.0), 6000))
    buffer.follow([1, 0])
    buffer.add(step(np.full((2, 1), 9000), np.full((2, 1), 9001)))
    after = [{row for row in own if row[0] < 9000} for own in sets(drawn(buffer, (1.0, 1.0), 6000))]
    assert after[0] <= before[1]
    assert after[1] <= before[0]
    assert len(after[0]) > len(before[1]) / 2


def test_experience_that_moved_with_its_agents_is_drawn_from_before_the_next_step():
    buffer = ev.ReplayBuffer(10, shared=False)
    for at in range(3):
        buffer.add(step([[at], [at + 10]], [[at + 1], [at + 11]], truncated=at == 2))
    before = drawn(buffer, share=(1.0, 1.0))
    buffer.follow([0, 1])
    assert np.array_equal(drawn(buffer, share=(1.0, 1.0)), before)


def test_what_was_taken_in_has_its_own_outcome_for_a_goal():
    giver, taker = ev.ReplayBuffer(9), ev.ReplayBuffer(9)
    for at in (10, 11, 12):
        giver.add(step(at, at + 1))
    three_steps(taker, truncated=True)
    taker.take_in(giver.newest(3))
    taker.add(step(20, 21))
    goals = {row[:2] for row in sets(drawn(taker))[0]}
    assert {(at, goal) for at, goal in goals if at in (10, 11, 12)} == {(10, 11), (11, 12), (12, 13)}
    assert {(at, goal) for at, goal in goals if at < 3} == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}


def test_pictures_may_be_goals():
    """Large ones are stored once, behind an index."""
    buffer, side = ev.ReplayBuffer(10), 40

    class Pictures(Numbers):
        def judge(self, achieved, desired):
            return -(achieved != desired).any((1, 2, 3)).astype("f"), None

    def shown(value):
        picture = np.full((1, 1, side, side, 3), value, np.uint8)
        return {
            "observation": picture,
            "achieved_goal": picture.copy(),
            "desired_goal": np.full_like(picture, 99),
        }

    for at in range(3):
        one = step(at, at + 1, truncated=at == 2)
        one.observation, one.next_observation, one.goals = shown(at), shown(at + 1), Pictures()
        buffer.add(one)
    how = Sampling(None, torch.tensor([1.0]))
    batch = buffer.samples(slice(0, 1), 200, 1, torch.Generator().manual_seed(0), how)
    goal, reached = batch.observation["desired_goal"], batch.next_observation["achieved_goal"]
    assert goal.shape == (1, 1, 200, side, side, 3)
    assert (batch.reward == 0).equal((goal == reached).flatten(3).all(-1))
    assert {*goal.flatten().tolist()} == {1, 2, 3}


def test_without_goals_hindsight_says_what_it_needs():
    buffer = ev.ReplayBuffer(10)
    for at in range(3):
        one = step(at, at + 1)
        del one.goals
        buffer.add(one)
    with pytest.raises(ValueError, match="nothing that is stored says what other goals would have earned"):
        drawn(buffer)
