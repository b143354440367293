"""Sequences drawn from a buffer, against episodes that are kept apart."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.core.sampling import Lookahead, Sampling, Sequencing
from evolab.data.buffers.offline import buffer_from
from evolab.data.buffers.saving import Written, read_buffer, write_buffer
from evolab.data.datasets.columns import DatasetError
from evolab.storage.folders import Saved, drafting

EVEN = torch.ones(1)


def form(steps=4, burn_in=2, memory=(1, 3), readers=((7, 5, 3),)):
    return Sequencing(steps, burn_in, memory, torch.tensor(readers))


class Played:
    """Episodes of several environments, whose observations are their numbers, and where each row lies now."""

    def __init__(self, buffer, agents=1, envs=3, seed=0):
        self.buffer, self.shape, self.rng = buffer, (agents, envs), np.random.default_rng(seed)
        self.episode = np.arange(agents * envs).reshape(agents, envs)
        self.age = np.zeros((agents, envs), int)
        self.next = agents * envs
        self.number, self.kept = 0, {}  # by observation: the episode and the step in it
        self.follows = self.rng.random((agents, envs)).astype("f")

    def play(self, steps, valid=1.0, end=0.15, **told):
        for _ in range(steps):
            observation = self.follows
            following = self.rng.random(self.shape).astype("f")
            over, cut = self.rng.random((2, *self.shape)) < end
            taken = self.rng.random(self.shape) < valid
            reset = np.where(over | cut | ~taken, self.rng.random(self.shape).astype("f"), following)
            self.buffer.add(
                SimpleNamespace(
                    observation=observation[..., None], action=observation, reward=observation.copy(),
                    next_observation=following[..., None], terminated=over, truncated=cut & ~over,
                    reset_observation=reset[..., None], valid=taken,
                    **{name: value(observation) for name, value in told.items()},
                )
            )  # fmt: skip
            for at in np.argwhere(taken):
                at = tuple(at)
                self.kept[float(observation[at])] = (int(self.episode[at]), int(self.age[at]))
            self.age += 1
            for at in map(tuple, np.argwhere(over | cut | ~taken)):
                self.episode[at], self.age[at] = self.next, 0
                self.next += 1
            self.follows = reset

    def stored(self):
        """Of each episode that is stored its observations, in the order of time."""
        places = self.buffer.stored_places()
        allotted, found = self.buffer.allotted, {}
        for pool, own in enumerate(places):
            for one in self.buffer.fields["observation"][pool * allotted + own, 0].tolist():
                episode, age = self.kept[one]
                found.setdefault(episode, []).append((age, one))
        return {episode: [one for _, one in sorted(steps)] for episode, steps in found.items()}


def batches(buffer, how, updates=3, size=80, rows=slice(0, 1), seed=0):
    return list(buffer.batches(rows, size, updates, torch.Generator().manual_seed(seed), how))


def sequences(batch):
    """Of every sequence of the first agent the observations that warm up, and those that are learned from."""
    count = batch.memory.shape[1]
    seen = batch.observation[0, :, 0].view(-1, count)
    steps = batch.there.shape[1]
    for at in range(count):
        warm = seen[: int(batch.warm[0, at]), at].tolist()
        learned = seen[batch.burn_in : batch.burn_in + steps, at][batch.there[0, :, at]].tolist()
        yield warm, learned


@pytest.mark.parametrize(("capacity", "valid"), [(1000, 1.0), (40, 1.0), (1000, 0.8), (41, 0.8)], ids=str)
def test_a_sequence_is_a_stretch_of_one_episode(capacity, valid):
    """Across environments side by side, faults, ends, and a ring whose oldest were overwritten."""
    buffer = ev.ReplayBuffer(capacity)
    played = Played(buffer)
    for _ in range(3):
        played.play(17, valid)
        stored, lengths = played.stored(), Counter()
        for batch in batches(buffer, Sampling(sequences=form())):
            assert batch.reward.shape[1] == batch.observation.shape[1]
            for warm, learned in sequences(batch):
                episode = stored[played.kept[learned[0]][0]]
                start = episode.index(learned[0])
                assert warm == episode[max(0, start - 2) : start]
                assert learned == episode[start : start + len(learned)]
                assert len(learned) <= 4
                # Shorter only where the episode ends, or where it begins.
                assert len(learned) == 4 or start == 0 or start + len(learned) == len(episode)
                lengths[len(warm), len(learned)] += 1
        assert {0, 1, 2} <= {warm for warm, _ in lengths}
        assert {1, 2, 3, 4} == {learned for _, learned in lengths}


def test_all_steps_are_learned_from_about_as_often():
    """The first and the last of an episode half as often as others, not once in a sequence's length."""
    buffer = ev.ReplayBuffer(100)
    played = Played(buffer, envs=1)
    played.play(20, end=0.0)
    found = Counter()
    for batch in batches(buffer, Sampling(sequences=form()), updates=200):
        for _, learned in sequences(batch):
            found.update(learned)
    (episode,) = played.stored().values()
    counts = [found[one] for one in episode]
    middle = np.mean(counts[4:-4])
    assert counts[0] == pytest.approx(middle * 10 / 16, rel=0.1)
    assert min(counts) > 0.55 * middle


def test_returns_look_ahead_within_the_episode():
    buffer = ev.ReplayBuffer(200)
    played = Played(buffer)
    played.play(40)
    ahead = Lookahead(torch.tensor([3.0]), torch.tensor([0.5], dtype=torch.float64), 3)
    stored, seen = played.stored(), set()
    for batch in batches(buffer, Sampling(ahead, sequences=form())):
        count, steps = batch.memory.shape[1], batch.there.shape[1]
        rows = range(batch.burn_in * count, (batch.burn_in + steps) * count)
        for place, row in enumerate(rows):
            if not batch.there[0].flatten()[place]:
                continue
            one = float(batch.observation[0, row, 0])
            episode = stored[played.kept[one][0]]
            stretch = episode[episode.index(one) :][:3]
            assert float(batch.reward[0, row]) == pytest.approx(
                sum(0.5**k * x for k, x in enumerate(stretch))
            )
            assert float(batch.discount[0, row]) == 0.5 ** len(stretch)
            assert int(batch.ahead[0, place]) == len(stretch) - 1
            last = float(batch.observation[0, row + int(batch.ahead[0, place]) * count, 0])
            assert last == stretch[-1], "what it looks to is among the steps that are gone through"
            seen.add(len(stretch))
    assert seen == {1, 2, 3}


def told(id, units, width):
    """What an agent remembered: its observation, in all of its units."""

    def memory(observation):
        found = np.zeros((*observation.shape, 1, width), np.float32)
        found[..., :units] = observation[..., None, None]
        return found

    def owner(observation):
        return np.tile([id, units], (*observation.shape, 1))

    return {"remembered": memory, "remembered_by": owner}


def starts(buffer, readers, memory=(1, 5)):
    """What is remembered before sequences of one step, by observation: those of one reader after another."""
    rows, found = slice(0, len(readers)), [{} for _ in readers]
    asked = Sampling(sequences=form(1, 0, memory, readers))
    for batch in batches(buffer, asked, 20, 20, rows):
        for agent, own in enumerate(found):
            own.update(
                zip(batch.observation[agent, :, 0].tolist(), batch.memory[agent, :, 0].tolist(), strict=True)
            )
    return found


def test_agents_go_on_with_what_they_remembered_themselves():
    """With an agent's own memory and its parent's, of its own width; with nothing of others, nor where nobody told."""
    buffer = ev.ReplayBuffer(300)
    played = Played(buffer)
    played.play(2)  # random play, by which nobody remembers
    nobody = set(played.kept)
    played.play(2, **told(5, 3, 3))
    parents = set(played.kept) - nobody
    played.play(2, **told(8, 5, 5))  # wider than what was stored so far
    wide = set(played.kept) - nobody - parents
    played.play(2, **told(7, 3, 4))  # narrower again
    own = set(played.kept) - nobody - parents - wide
    played.play(2, **told(9, 3, 3))
    strangers = set(played.kept) - nobody - parents - wide - own
    assert buffer.fields["remembered"].shape[1:] == (1, 5)
    child, other = starts(buffer, [(7, 5, 3), (8, 8, 5)])
    for one in nobody | wide | strangers:
        assert child[one] == [0.0] * 5
    for one in parents | own:
        assert child[one] == pytest.approx([one] * 3 + [0.0] * 2)
    for one in wide:
        assert other[one] == pytest.approx([one] * 5)
    for one in own | parents | nobody:
        assert other[one] == [0.0] * 5
    (grown,) = starts(buffer, [(7, 5, 4)])
    assert not np.any(list(grown.values())), "of another width nothing is known"
    assert all(len(one) == 2 for one in starts(buffer, [(7, 5, 3)], memory=(1, 2))[0].values())


def test_who_shares_nothing_goes_on_with_its_line():
    buffer = ev.ReplayBuffer(100, shared=False)
    played = Played(buffer, agents=2)
    played.play(4, **told(1, 3, 3))
    found = starts(buffer, [(7, 5, 3), (8, 5, 4)])
    assert all(value == pytest.approx([one] * 3 + [0.0] * 2) for one, value in found[0].items())
    assert not np.any(list(found[1].values()))
    stored = buffer.fields["observation"][..., 0].view(2, -1)[:, :12]
    buffer.follow([1, 1])
    assert set(starts(buffer, [(9, 7, 3), (8, 7, 3)])[0]) == set(stored[1].tolist())


def test_priorities_draw_sequences_and_take_the_errors_of_their_steps():
    """A sequence lies around a transition of high priority; a step that is repeated to fill it changes nothing."""
    buffer = ev.ReplayBuffer(60)
    played = Played(buffer)
    played.play(20)
    how = Sampling(priority=EVEN, importance=EVEN, sequences=form())
    for batch in buffer.batches(slice(0, 1), 16, 40, torch.Generator().manual_seed(0), how):
        assert batch.weight.shape == (1, 4)
        assert batch.error.shape == batch.rows.shape
        learned = batch.there.flatten(1)
        one = buffer.fields["observation"][batch.rows, 0]
        batch.error = torch.where(learned, (one > 0.9).float(), -1.0)
    sizes = buffer.priorities.sizes[0]
    seen = buffer.fields["observation"][:60, 0]
    known = sizes != 1.0
    assert known.float().mean() > 0.9
    assert torch.allclose(sizes[known & (seen <= 0.9)], torch.tensor(1e-6))
    assert (sizes[seen > 0.9] >= 1.0).all()
    drawn = Counter()
    for batch in buffer.batches(slice(0, 1), 16, 40, torch.Generator().manual_seed(1), how):
        for _, learned in sequences(batch):
            drawn["high"] += any(one > 0.9 for one in learned)
            drawn["all"] += 1
        batch.error = torch.where(batch.there.flatten(1), (seen[batch.rows] > 0.9).float(), -1.0)
    assert drawn["high"] > 0.95 * drawn["all"]


def test_a_buffer_that_was_saved_draws_the_same_sequences(tmp_path):
    buffer = ev.ReplayBuffer(50)
    played = Played(buffer)
    played.play(25, 0.9, **told(7, 3, 3))
    how = Sampling(sequences=form(memory=(1, 3)))

    def taken(of):
        return [(one.rows, one.warm, one.there, one.memory) for one in batches(of, how)]

    taken(buffer)  # it has looked back before
    folder = tmp_path / "one"
    with drafting(folder, "generation") as draft:
        about, _ = write_buffer(draft, folder, buffer, Written())
    again = ev.ReplayBuffer(50)
    read_buffer(Saved(folder, "generation"), about, again)
    for own, other in zip(taken(buffer), taken(again), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(own, other, strict=True))
    assert any(memory.any() for *_, memory in taken(again))


def test_a_wider_memory_is_written_anew(tmp_path, monkeypatch):
    """Segments of a checkpoint before have rows of another form."""
    monkeypatch.setattr("evolab.data.buffers.saving.SMALL", 0)
    buffer = ev.ReplayBuffer(50)
    played, before = Played(buffer), Written()
    for generation, units in enumerate((3, 3, 5)):
        played.play(3, **told(7, units, units))
        folder = tmp_path / str(generation)
        with drafting(folder, "generation") as draft:
            about, before = write_buffer(draft, folder, buffer, before)
        assert len(before.segments) == [1, 2, 1][generation]
    again = ev.ReplayBuffer(50)
    read_buffer(Saved(folder, "generation"), about, again)
    assert torch.equal(again.fields["remembered"][:27], buffer.fields["remembered"][:27])


def test_transitions_from_elsewhere_stay_sequences():
    giver, taker = ev.ReplayBuffer(60), ev.ReplayBuffer(60)
    played = Played(giver)
    played.play(10, **told(1, 3, 3))
    Played(taker, seed=1).play(3, **told(1, 3, 3))
    taker.take_in(giver.newest(15))
    stored = {one for episode in played.stored().values() for one in episode}
    lengths = Counter()
    for batch in batches(taker, Sampling(sequences=form(readers=((1, 1, 3),)))):
        first = batch.memory.flatten(1)
        for at, (warm, learned) in enumerate(sequences(batch)):
            if learned[0] in stored:
                assert {played.kept[one][0] for one in warm + learned} == {played.kept[learned[0]][0]}
                assert not batch.memory[0, at].any(), "an agent of the same number lives there"
                lengths[len(learned)] += 1
        assert first.any()
    assert max(lengths) == 4


def test_data_on_disk_have_no_sequences_yet_and_say_so(tmp_path):
    data = {
        "observations": np.zeros((20, 1), "f"), "actions": np.zeros(20, int), "rewards": np.zeros(20),
        "terminals": np.arange(20) % 5 == 4,
    }  # fmt: skip
    ev.Dataset(data).save(tmp_path / "data.h5")
    buffer, _ = buffer_from(ev.Dataset(tmp_path / "data.h5", max_memory=1))
    with pytest.raises(
        DatasetError, match="a network that remembers needs data in memory; these stay on disk"
    ):
        batches(buffer, Sampling(sequences=form()))


def test_hindsight_has_no_place_in_a_sequence():
    buffer = ev.ReplayBuffer(60)
    Played(buffer).play(5)
    with pytest.raises(ValueError, match="hindsight is above 0, and the network remembers"):
        batches(buffer, Sampling(hindsight=EVEN, sequences=form()))


def test_what_a_diverged_agent_remembered_is_not_gone_on_with():
    buffer = ev.ReplayBuffer(60)
    told_of = told(7, 3, 3)
    Played(buffer).play(
        5, remembered_by=told_of["remembered_by"], remembered=lambda x: told_of["remembered"](x) * np.nan
    )
    assert not np.any(list(starts(buffer, [(7, 5, 3)])[0].values()))
