"""Large observations are stored once; what is drawn is what was added."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.core import machine_memory
from evolab.core.trees import leaves
from evolab.data.buffers import frames as module
from evolab.data.buffers import ring_storage
from evolab.data.buffers.frames import Frames, stacked_along
from evolab.data.buffers.offline import buffer_from
from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.buffers.saving import Written, read_buffer, write_buffer
from evolab.storage.folders import Saved, drafting
from evolab.training.snapshot import Boundary
from tests.small import told

FIELDS = ("observation", "action", "reward", "next_observation", "terminated")


def pictures(size=(36, 30), dtype=np.uint8):
    """Pictures that nobody has seen before."""
    stream = np.random.default_rng(0)
    while True:
        yield stream.integers(0, 256, size).astype(dtype)


def played(shape, join, leading=(2, 3), steps=60, ends=0.1, dtype=np.uint8, count=4):
    """Transitions of stacks of `count` pictures, in environments whose episodes end now and then."""
    stream, new = np.random.default_rng(1), pictures(shape, dtype)
    number = int(np.prod(leading))
    stacks = [[next(new)] * count for _ in range(number)]
    for step in range(steps):
        seen = [join(stack) for stack in stacks]
        after = [[*stack[1:], next(new)] for stack in stacks]
        over = stream.random(number) < ends
        stacks = [[next(new)] * count if end else stack for stack, end in zip(after, over, strict=True)]

        def batch(parts):
            return np.stack(parts).reshape(*leading, *np.shape(parts[0]))

        yield SimpleNamespace(
            observation=batch(seen), action=np.full((*leading, 1), step, np.float32),
            reward=np.arange(number, dtype=np.float32).reshape(leading) + 100 * step,
            next_observation=batch([join(stack) for stack in after]),
            terminated=(over & (stream.random(number) < 0.5)).reshape(leading),
            truncated=over.reshape(leading), valid=stream.random(leading) < 0.9,
        )  # fmt: skip


FORMS = {
    "frames first": ((36, 30), lambda stack: np.stack(stack)),
    "frames last": ((36, 30), lambda stack: np.stack(stack, -1)),
    "coloured frames": ((12, 10, 3), lambda stack: np.stack(stack)),
    "colours and frames on one axis": ((3, 12, 10), lambda stack: np.concatenate(stack)),
    "no stack": ((36, 30, 3), lambda stack: stack[-1]),
    "vectors": ((9000,), lambda stack: stack[-1]),
}


def plainly(monkeypatch):
    monkeypatch.setattr(module, "stored_once", lambda shape, dtype: False)


def both(monkeypatch, *transitions, **options):
    """The same transitions in a buffer that stores once, and in one that does not."""
    once, plain = ReplayBuffer(**options), ReplayBuffer(**options)
    for transition in transitions:
        once.add(transition)
    with monkeypatch.context() as patch:
        plainly(patch)
        for transition in transitions:
            plain.add(transition)
    return once, plain


def assert_alike(one, other, agents=2):
    for size in (7, 32):
        drawn = [b.sample(slice(0, agents), size, torch.Generator().manual_seed(3)) for b in (one, other)]
        for name in FIELDS:
            pairs = zip(*(leaves(getattr(batch, name)) for batch in drawn), strict=True)
            for a, b in pairs:
                assert a.dtype == b.dtype
                assert a.stride() == b.stride()
                assert torch.equal(a, b), name


def parts(buffer):
    """The frames of a buffer whose observation is one array, which nothing but its transitions refers to."""
    kept = buffer.frames["observation"]
    rows = [
        buffer.fields[name].unflatten(0, (buffer.pools, -1))[pool, :length].flatten()
        for name in ("observation", "next_observation")
        for pool, length in enumerate(buffer.length.tolist())
    ]
    slots, counts = torch.cat(rows).unique(return_counts=True)
    assert len(kept) == len(slots)
    assert kept.uses[slots.numpy()].tolist() == counts.tolist()
    return kept


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shared", [True, False])
def test_what_is_drawn_is_what_was_added(monkeypatch, form, shared):
    """With interleaved environments, ends of episodes, faults, and more than fits."""
    transitions = list(played(*FORMS[form]))
    once, plain = both(monkeypatch, *transitions, capacity=100, shared=shared)
    assert once.frames["observation"] is once.frames["next_observation"]
    assert plain.frames["observation"] is None
    assert_alike(once, plain)
    index = torch.arange(0, 100, 7)
    assert torch.equal(once.rows(index)["next_observation"], plain.rows(index)["next_observation"])
    found = [b.observations(9, torch.Generator().manual_seed(0)) for b in (once, plain)]
    assert torch.equal(*found)
    parts(once)


def test_a_transition_of_a_stack_of_four_costs_one_frame():
    """By hand: an episode of n transitions shows n + 1 frames, its successors and its stacks among them."""
    buffer = ReplayBuffer(100_000)
    for transition in played((84, 84), lambda stack: np.stack(stack, -1), (1, 1), steps=50, ends=0):
        transition.valid = None
        buffer.add(transition)
    assert len(parts(buffer)) == 51
    # The places of four parts, twice, 4 bytes each; action 4, reward 4, terminated 1, the way to what follows 4.
    assert buffer.nbytes == 100_000 * (32 + 13) + 84 * 84 * 51 * 2_000
    assert buffer.row_bytes == 2 * 84 * 84 * 4 + 13


def test_an_episode_that_is_cut_keeps_its_own_end():
    """The successor of a truncated step is its final observation, not the first of the next episode."""
    first, then = [], []
    for transition in played((36, 30), np.stack, (1, 2), steps=40, ends=0.5):
        transition.valid = None
        first.append(transition)
        then.append(transition.next_observation[0])
    buffer = ReplayBuffer(1000)
    for transition in first:
        buffer.add(transition)
    assert any(transition.truncated.any() for transition in first)
    assert np.array_equal(buffer.rows(torch.arange(80))["next_observation"].numpy(), np.concatenate(then))


def test_what_is_overwritten_makes_room():
    buffer = ReplayBuffer(30)
    for transition in played((36, 30), np.stack, (1, 3), steps=400, ends=0.2):
        buffer.add(transition)
    assert len(parts(buffer)) < 30 * 5
    assert (
        buffer.frames["observation"]._next < 30 * 5 + 3 * 8
    )  # the places of those that went were used again


@pytest.mark.parametrize("join", [np.stack, lambda stack: np.stack(stack, -1)])
def test_the_axis_of_a_stack_is_seen(join):
    new = pictures((12, 10))
    stack = [next(new) for _ in range(5)]
    old, following = (torch.from_numpy(join(part))[None] for part in (stack[:4], stack[1:]))
    assert stacked_along(old, following) == (0 if old.shape[1] == 4 else 2)
    assert stacked_along(old, torch.zeros_like(old)) is None
    assert stacked_along(torch.zeros(0, 4, 9, 9), torch.zeros(0, 4, 9, 9)) is None


def test_a_coloured_picture_that_stands_still_is_no_stack():
    dark = torch.zeros(2, 40, 40, 3)
    assert stacked_along(dark, dark) is None
    assert stacked_along(torch.zeros(2, 40, 40, 4), torch.zeros(2, 40, 40, 4)) == 2


def test_parts_of_an_observation_are_stored_once_where_they_are_large(monkeypatch):
    transitions = list(played((36, 30), np.stack))
    for transition in transitions:
        for name in ("observation", "next_observation"):
            image = getattr(transition, name)
            small = image[..., 0, 0].astype(np.float64)
            setattr(transition, name, {"camera": image, "more": (small, image[..., 0, 0, 0].astype(int))})
    turned = [SimpleNamespace(**vars(one)) for one in transitions]
    for one in turned:  # environments hand out their own order of keys
        one.next_observation = dict(reversed(one.next_observation.items()))
    once, plain = both(monkeypatch, *turned, capacity=100)
    assert isinstance(once.frames["observation"]["camera"], Frames)
    assert once.frames["observation"]["more"] == (None, None)
    assert once.fields["observation"]["more"][0].dtype == torch.float32
    assert_alike(once, plain)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, np.uint16, np.int64, bool])
def test_every_dtype_is_stored_once(monkeypatch, dtype):
    once, plain = both(monkeypatch, *played((36, 36), np.stack, dtype=dtype), capacity=50)
    assert len(parts(once)) < 50 * 3
    assert_alike(once, plain)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
@pytest.mark.parametrize("kind", ["small", "picture"])
def test_what_torch_cannot_index_is_kept_wider(tmp_path, dtype, kind):
    """Unsigned numbers of more than a byte ended in torch's "not implemented" or, when they were saved, in a KeyError."""
    shape = (3,) if kind == "small" else (36, 36, 1)
    high = min(np.iinfo(dtype).max, 2**24)
    values = np.random.default_rng(0).integers(0, high, (9, 2, *shape)).astype(dtype)
    buffer = ReplayBuffer(12)
    for now, then in itertools.pairwise(values):
        buffer.add(SimpleNamespace(observation=now, action=now[..., 0], reward=np.ones(2, "f"), next_observation=then,
                                   terminated=np.zeros(2, bool), valid=np.array([True, False])))  # fmt: skip
    with drafting(tmp_path / "kept", "generation") as draft:
        about, _ = write_buffer(draft, tmp_path / "kept", buffer, Written())
    again = ReplayBuffer()
    read_buffer(Saved(tmp_path / "kept", "generation"), about, again)
    for one in (buffer, again):
        rows = one.rows(torch.arange(8))
        assert rows["observation"].numpy().astype(dtype).tolist() == values[:8, 0].tolist()
        assert rows["next_observation"].numpy().astype(dtype).tolist() == values[1:, 0].tolist()


def test_agents_that_come_and_go_take_their_experience_along(monkeypatch):
    transitions = list(played(*FORMS["frames first"]))
    once, plain = both(monkeypatch, *transitions[:30], capacity=40, shared=False)
    for parents in ([1, 1], [1, 0]):
        for buffer in (once, plain):
            buffer.follow(parents)
        assert_alike(once, plain)
        parts(once)
    for buffer in (once, plain):
        for transition in transitions[30:]:
            buffer.add(transition)
    assert_alike(once, plain)
    parts(once)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("form", ["frames first", "frames last", "no stack"])
def test_it_is_written_and_read(tmp_path, monkeypatch, form, shared):
    """What is on the disk is what was added, as earlier versions read and wrote it."""
    monkeypatch.setattr("evolab.data.buffers.saving.SMALL", 0)
    monkeypatch.setattr("evolab.data.buffers.saving.PIECE", 3 * 4320)
    transitions = list(played(*FORMS[form], steps=90))
    once, written = ReplayBuffer(80, shared=shared), Written()
    for number, some in enumerate((transitions[:12], transitions[12:17], transitions[17:])):
        for transition in some:
            once.add(transition)
        path = tmp_path / f"kept-{number}"
        with drafting(path, "generation") as draft:
            about, written = write_buffer(draft, path, once, written)
        again = ReplayBuffer()
        read_buffer(Saved(path, "generation"), about, again)
        assert_alike(again, once)
        assert len(parts(again)) == len(parts(once))
        with monkeypatch.context() as patch:
            plainly(patch)
            plain = ReplayBuffer()
            read_buffer(Saved(path, "generation"), about, plain)
            assert_alike(plain, once)
        assert len(written.segments) == (2 if shared and number == 1 else 1)  # only what is new is written


def test_a_boundary_that_is_kept_stays_as_it_was():
    transitions = list(played(*FORMS["frames first"], steps=30))
    for transition in transitions:
        transition.valid = None
    buffer = ReplayBuffer(100)
    for transition in transitions[:15]:
        buffer.add(transition)
    boundary = Boundary("DQN", 1, {}, {}, None, ev.history.history.History(), None, 0.0, buffer).kept()
    before = buffer.rows(torch.arange(20, 90))["observation"]
    for transition in transitions[15:20]:  # 30 more, of which 20 take the place of the oldest
        buffer.add(transition)
    left = boundary.since(buffer)
    assert (left.missing, len(left.buffer)) == (20, 70)
    assert torch.equal(left.buffer.rows(torch.arange(20, 90))["observation"], before)
    buffer.clear()
    buffer.add(transitions[20])
    assert torch.equal(boundary.since(buffer).buffer.rows(torch.arange(20, 90))["observation"], before)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("form", ["frames first", "vectors"])
def test_where_memory_is_given_at_once_it_is_asked_for_bit_by_bit(tmp_path, monkeypatch, form, shared):
    """As on a CUDA device, where 100 000 rows were taken for the first transition."""
    transitions = list(played(*FORMS[form], steps=90))
    monkeypatch.setattr(module, "FIRST", 20_000)
    whole = ReplayBuffer(150, shared=shared)
    for transition in transitions:
        whole.add(transition)
    monkeypatch.setattr(machine_memory, "taken_as_filled", lambda device: False)
    monkeypatch.setattr(ring_storage, "taken_as_filled", lambda device: False)
    monkeypatch.setattr(ring_storage, "AT_FIRST", 700)
    buffer, rooms = ReplayBuffer(150, shared=shared), []
    kept = buffer.fields
    for transition in transitions:
        buffer.add(transition)
        kept = kept or buffer.fields
        rooms.append(buffer.allotted)
        assert int(buffer.length.max()) <= rooms[-1] <= 150
    assert kept is buffer.fields  # what a kept boundary has, too
    assert rooms[0] < 50
    assert rooms[-1] == 150
    assert all(later in (before, 2 * before, 150) for before, later in itertools.pairwise(rooms))
    assert_alike(buffer, whole)
    parts(buffer)
    with drafting(tmp_path / "kept", "generation") as draft:
        about, _ = write_buffer(draft, tmp_path / "kept", buffer, Written())
    again = ReplayBuffer()
    read_buffer(Saved(tmp_path / "kept", "generation"), about, again)
    assert_alike(again, whole)


def test_on_another_device_the_first_transition_takes_what_it_needs():
    """The meta device has shapes and no memory."""
    number = np.arange(8, dtype=np.float32)
    one = SimpleNamespace(observation=number[:, None], action=number[:, None], reward=number,
                          next_observation=number[:, None], terminated=number)  # fmt: skip
    for capacity, room in ((10**7, 64 * 2**20 // (5 * 4)), (1000, 1000)):
        buffer = ReplayBuffer(capacity, device="meta")
        buffer.add(one)
        assert (buffer.allotted, len(buffer)) == (room, 8)


def test_frames_that_do_not_fit_are_one_sentence_and_leave_the_buffer_as_it_was(monkeypatch):
    monkeypatch.setattr(module, "FIRST", 12 * 36 * 30)
    transitions = list(played(*FORMS["frames first"], leading=(1, 2), steps=6, ends=0))
    buffer = ReplayBuffer(100)
    for transition in transitions[:5]:
        transition.valid = None
        buffer.add(transition)
    before = buffer.rows(torch.arange(10))["observation"]
    monkeypatch.setattr(
        module, "room", lambda *_: machine_memory.room((10**15,), torch.uint8, torch.device("cpu"))
    )
    with pytest.raises(
        MemoryError, match=r"^[\d,.]+ GiB for .* are more than cpu has; pass a smaller buffer="
    ):
        buffer.add(transitions[5])
    assert len(buffer) == 10
    assert torch.equal(buffer.rows(torch.arange(10))["observation"], before)


def test_recorded_pictures_are_stored_once():
    """A data set's rows follow one another: n pictures of an episode are n transitions and one more."""
    count = 40
    image = np.random.default_rng(0).integers(0, 256, (count, 36, 30, 1)).astype(np.uint8)
    ends = np.arange(count) % 20 == 19
    data = {"observations": image, "actions": np.arange(count) % 2, "rewards": np.ones(count, np.float32),
            "terminals": np.zeros(count, bool), "timeouts": ends}  # fmt: skip
    buffer, _ = buffer_from(data)
    assert len(buffer) == 38
    assert len(parts(buffer)) == 40
    assert torch.equal(buffer.rows(torch.arange(38))["next_observation"][20], torch.from_numpy(image[22]))


class Corridor(gym.Env):
    """A light that moves through a picture; the episode is cut after seven steps."""

    observation_space = spaces.Box(0, 255, (36, 36), np.uint8)
    action_space = spaces.Discrete(2)

    def _seen(self):
        picture = np.zeros((36, 36), np.uint8)
        picture[self.t, self.column] = 255
        return picture

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.column = 0, int(self.np_random.integers(36))
        return self._seen(), {}

    def step(self, action):
        self.t += 1
        return self._seen(), float(action), False, self.t == 7, {}


def test_a_run_on_stacked_pictures_is_saved_loaded_and_goes_on_alike(tmp_path):
    def make():
        return gym.wrappers.FrameStackObservation(Corridor(), 4)

    exp = ev.Experiment(make, "DQN", population=2, num_envs=2, steps_per_generation=20, buffer=200, seed=1,
                        network=ev.CNN([4], [4], [2]), hyperparameters={"batch_size": 8}, eval_episodes=1)  # fmt: skip
    exp.fill(60)
    exp.step()
    kept = exp.buffer.frames["observation"]
    assert kept.axis == 0
    assert len(kept) <= 36 * 8  # there are no more pictures than that
    exp.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", environment=make)
    assert_alike(again.buffer, exp.buffer)
    for run in (exp, again):
        run.step()
    assert told(exp) == told(again)
    assert_alike(again.buffer, exp.buffer)
    for name, tensor in exp.population.table.items():
        assert torch.equal(tensor, again.population.table[name]), name
    for run in (exp, again):
        run.close()


# Rollouts -------------------------------------------------------------------------------------------


def rollouts(monkeypatch, transitions, horizon):
    """The same steps in a rollout that stores once, and in one that does not."""
    once, plain = ev.RolloutBuffer(horizon), ev.RolloutBuffer(horizon)
    with monkeypatch.context() as patch:
        plainly(patch)
        for transition in transitions:
            plain.add(transition)
    for transition in transitions:
        once.add(transition)
    return once, plain


@pytest.mark.parametrize("form", FORMS)
def test_a_rollout_is_the_same_when_it_is_stored_once(monkeypatch, form):
    shape, join = FORMS[form]
    for number in range(3):  # the second and third overwrite the first
        steps = list(played(shape, join, steps=9 + number))[number:]
        once, plain = rollouts(monkeypatch, steps, 9)
        for buffer in (once, plain):
            for row in (slice(0, 2), slice(1, 2)):
                mine, theirs = buffer.rollout(row), plain.rollout(row)
                assert torch.equal(mine.observation, theirs.observation)
                assert torch.equal(mine.next_observation, theirs.next_observation)
                assert torch.equal(mine.ended, theirs.ended)
        seen = [buffer.observations(7, torch.Generator().manual_seed(1)) for buffer in (once, plain)]
        assert torch.equal(*seen)
        assert once.frames["observation"] is once.frames["next_observation"] is not None


def test_a_rollout_forgets_the_pictures_that_it_overwrites():
    steps = list(played((84, 84), np.stack, steps=12, ends=0))
    buffer = ev.RolloutBuffer(4)
    for start in (0, 4, 8):
        for step in steps[start : start + 4]:
            buffer.add(step)
        taken = buffer.rollout(slice(0, 2))
        assert torch.equal(taken.observation[1, -1], torch.from_numpy(steps[start + 3].observation[1, 2]))
        buffer.consumed()
        # In each of 6 environments one picture four times at first, later four; one more in every successor.
        assert len(buffer.frames["observation"]) == 6 * ((4 if start else 1) + 4)
    buffer.clear()
    assert len(buffer.frames["observation"]) == 0


def test_a_transition_of_a_rollout_costs_one_frame():
    """Observations and successors of stacks of four took eight pictures a transition."""
    buffer = ev.RolloutBuffer(50)
    for step in played((84, 84), np.stack, steps=50, ends=0):
        buffer.add(step)
    # 6 environments: 1 picture to begin with (four times the same), and one for each of 50 steps.
    assert len(buffer.frames["observation"]) == 6 * 51
    rest = 2 * 4 * 4 + 4 + 4 + 3  # places of 4 and 4 parts, an action, a reward, three flags
    assert buffer.nbytes == 50 * 6 * rest + 6 * 51 * 84 * 84


def test_a_rollout_says_what_it_takes_before_it_is_filled(monkeypatch):
    monkeypatch.setattr(machine_memory, "free_memory", lambda device: 2**30)
    step = next(played((84, 84), np.stack))
    with pytest.warns(
        UserWarning, match=r"RolloutBuffer\(40000\) takes 1.6 GiB when it is full, and 1.0 GiB are free"
    ):
        ev.RolloutBuffer(40_000).add(step)


def test_a_rollout_beyond_the_machine_is_refused_by_its_sum():
    space = spaces.Box(0, 255, (84, 84, 3), np.uint8)

    def make():
        env = gym.make("CartPole-v1")
        return gym.wrappers.TransformObservation(env, lambda o: space.sample(), space)

    with pytest.raises(
        ValueError, match=r"experience .* \(horizon=1,000,000,000\).*Lower the horizon of buffer="
    ):
        ev.Experiment(make, "PPO", population=2, num_envs=2, buffer=ev.RolloutBuffer(10**9))
