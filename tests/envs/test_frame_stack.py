"""Stacks of observations: what they hold by hand and by Gymnasium's own wrapper, and that a frame is stored once."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation

import evolab as ev
from tests.any_env import Env

BYTES = partial(spaces.Box, 0, 255, dtype=np.uint8)


class Counting(gymnasium.Env):
    """Shows how many steps were taken, in every entry of one array that it writes to again and again."""

    action_space = spaces.Discrete(2)

    def __init__(self, space, length=6):
        self.observation_space, self.length = space, length
        self.shown = np.zeros(space.shape, space.dtype)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown[...] = 10 * self.np_random.integers(1, 20)
        return self.shown, {}

    def step(self, action):
        self.shown += 1
        over = int(self.shown.flat[0]) % 10 == self.length
        return self.shown, 1.0, over, False, {}


SHAPES = {
    "grey": (BYTES(shape=(84, 80)), (4, 84, 80)),
    "one channel": (BYTES(shape=(84, 80, 1)), (4, 84, 80)),
    "colours": (BYTES(shape=(84, 80, 3)), (12, 84, 80)),
    "channels first": (BYTES(shape=(3, 84, 80)), (12, 84, 80)),
    "vector": (spaces.Box(-1, 300, (5,)), (20,)),
    "number": (spaces.Box(0, 300, ()), (4,)),
    "no picture": (spaces.Box(0, 300, (2, 3, 2)), (4, 2, 3, 2)),
}


@pytest.mark.parametrize(("space", "shape"), SHAPES.values(), ids=SHAPES)
def test_the_newest_four_are_one_the_oldest_first(space, shape):
    env = ev.envs.FrameStack(Counting(space), 4)
    assert env.observation_space.shape == shape
    assert env.observation_space.dtype == space.dtype
    first, _ = env.reset(seed=1)
    start = int(first.flat[0])
    assert first.shape == shape
    assert (first == start).all()
    seen = [env.step(0)[0] for _ in range(5)]
    for time, one in enumerate(seen, 1):
        frames = one.reshape(4, -1)
        assert frames.min(1).tolist() == frames.max(1).tolist()
        assert frames[:, 0].tolist() == [start + max(0, time - back) for back in (3, 2, 1, 0)]
        assert env.observation_space.contains(one)
    assert (env.reset(seed=2)[0].reshape(4, -1) == int(env.reset(seed=2)[0].flat[0])).all(), (
        "nothing is left over"
    )


@pytest.mark.parametrize("space", [BYTES(shape=(9, 8)), spaces.Box(-1, 300, (5,))], ids=["grey", "vector"])
def test_they_are_those_of_gymnasiums_wrapper(space):
    ours = ev.envs.FrameStack(Env(obs=space), 3)
    theirs = FrameStackObservation(Env(obs=deepcopy(space)), 3, padding_type="reset")  # spaces draw
    pairs = [(ours.reset(seed=4)[0], theirs.reset(seed=4)[0])]
    pairs += [(ours.step(0)[0], theirs.step(0)[0]) for _ in range(6)]
    for one, other in pairs:
        assert one.ravel().tolist() == other.ravel().tolist()


def test_colours_keep_to_their_planes():
    image = np.arange(9 * 8 * 3, dtype=np.uint8).reshape(9, 8, 3)

    class Still(Counting):
        def reset(self, **options):
            return image, {}

    stack, _ = ev.envs.FrameStack(Still(BYTES(shape=(9, 8, 3))), 2).reset()
    assert (stack.reshape(2, 3, 9, 8) == image.transpose(2, 0, 1)).all()


def test_parts_are_stacked_each_and_choices_are_the_newest():
    space = spaces.Dict(
        {"a": spaces.Box(-1, 1, (2,)), "b": spaces.Discrete(5), "c": spaces.Tuple([BYTES(shape=(9, 8))])}
    )
    env = ev.envs.FrameStack(Env(obs=space), 3)
    seen = [env.reset(seed=0)[0], *(env.step(0)[0] for _ in range(3))]
    assert all(env.observation_space.contains(one) for one in seen)
    assert seen[3]["a"].shape == (6,)
    assert seen[3]["a"][:2].tolist() == seen[1]["a"][4:].tolist()
    assert seen[3]["c"][0].shape == (3, 9, 8)


def picture(length=6):
    return Counting(BYTES(shape=(36, 36)), length)


@pytest.mark.parametrize("algorithm", ["DQN", "PPO"])
def test_a_frame_is_stored_once(algorithm):
    exp = ev.Experiment(
        picture, algorithm, frame_stack=4, population=2, num_envs=2, seed=0, device="cpu", steps_per_generation=48,
        network=ev.CNN([4], hidden=[8], latent=8), hyperparameters={"batch_size": 8}, evolving=False,
        buffer=100 if algorithm == "DQN" else 12, update_ratio=0.1 if algorithm == "DQN" else None,
    )  # fmt: skip
    assert exp.population.observation_space.shape == (4, 36, 36)
    exp.fill(40) if algorithm == "DQN" else None
    exp.step()
    (frames,) = {one for one in exp.buffer.frames.values() if one is not None}
    assert frames.axis == 0
    assert frames.stored.shape[1:] == (36, 36)
    assert len(frames) <= 19 * 7, "as many as there are different pictures: 19 starts and six steps each"
    if algorithm == "DQN":
        batch = exp.buffer.sample(slice(0, 2), 60, torch.Generator().manual_seed(0))
        old, new = (
            leaf[..., 0, 0].int() for leaf in (batch.observation, batch.next_observation)
        )  # [P, B, 4]
        assert (new[..., :3] == old[..., 1:]).all()
        assert (new[..., 3] == old[..., 3] + 1).all()
    exp.close()


class Remembering(gymnasium.Env):
    """Shows a sign, then nothing; the second action earns 1 if it says which sign it was."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.sign, self.time = int(self.np_random.integers(2)), 0
        return np.float32([2 * self.sign - 1]), {}

    def step(self, action):
        self.time += 1
        earned = float(self.time == 2 and action == self.sign)
        return np.zeros(1, np.float32), earned, self.time == 2, False, {}


@pytest.mark.parametrize("frames", [1, 2])
def test_what_a_single_observation_does_not_show_is_learned_from_two(frames):
    exp = ev.Experiment(
        Remembering, "DQN", frame_stack=frames, population=1, num_envs=4, network=[16], seed=1, device="cpu",
        steps_per_generation=1_000, evolving=False, draw=False, search_space={},
        hyperparameters={"lr": 5e-3, "tau": 0.1, "epsilon_steps": 500, "discount": 0.9},
    )  # fmt: skip
    exp.fill(100)
    exp.step()
    earned = exp.best.evaluate(exp._state.envs, 40, seed=0).mean
    assert earned == 1 if frames == 2 else earned < 0.8
    if frames == 2:
        q = exp.population.groups[0].network("q")
        with torch.no_grad():
            values = q(torch.tensor([[[-1.0, 0.0], [1.0, 0.0], [1.0, 1.0]]]))[0]
        assert values[0].tolist() == pytest.approx([1, 0], abs=0.1)
        assert values[1].tolist() == pytest.approx([0, 1], abs=0.1)
        assert values[2].tolist() == pytest.approx([0.9, 0.9], abs=0.1)
    exp.close()


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_run_with_stacks_is_watched_evaluated_saved_and_read(vectorization, tmp_path):
    exp = ev.Experiment(
        Remembering, "DQN", frame_stack=3, population=2, num_envs=2, network=[8], seed=1, device="cpu",
        steps_per_generation=20, hyperparameters={"batch_size": 4}, vectorization=vectorization,
    )  # fmt: skip
    exp.fill(16)
    exp.step()
    assert exp.config["frame_stack"] == 3
    assert exp.rollout(episodes=1).observations[0].shape == (3,)
    assert len(exp.evaluate(episodes=4).returns) == 4
    assert exp.best.evaluate(lambda: ev.envs.FrameStack(Remembering(), 3), 2).returns.shape == (2,)
    exp.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", environment=Remembering)
    for one in (exp, again):
        one.step()
    assert torch.equal(exp.population.table["q"], again.population.table["q"])
    assert ev.Experiment.from_config(exp.config, environment=Remembering).config["frame_stack"] == 3
    exp.close(), again.close()


def test_where_frames_cannot_be_stacked_it_is_said():
    vector = lambda n, seed: gymnasium.make_vec("CartPole-v1", num_envs=n)  # noqa: E731
    with pytest.raises(
        ValueError, match=r"frame_stack=4: vector makes many environments at once.*'stack_num': 4"
    ):
        ev.envs.make(None, vector=vector, frame_stack=4)
    with pytest.raises(ValueError, match=r"frame_stack=4: CartPole-v1 makes many environments at once"):
        ev.envs.make("CartPole-v1", vectorization="envpool", frame_stack=4)
    with pytest.raises(
        TypeError, match=r"frame_stack needs a Box to stack; .* observations are Discrete\(3\)"
    ):
        ev.envs.make(partial(Env, obs=spaces.Discrete(3)), frame_stack=2)
    with pytest.raises(ValueError, match=r"frame_stack is 0"):
        ev.Experiment(Remembering, "DQN", frame_stack=0)
    with pytest.raises(
        ValueError, match=r"frame_stack=2: recorded data and games of tokens are taken as they are"
    ):
        ev.Experiment(ev.collect(Remembering, steps=50), frame_stack=2, population=2)


class Shrinking(gymnasium.Env):
    """Shows 12 x 12 pixels, and 10 x 10 from the fifth step of an episode on, or from its beginning."""

    observation_space, action_space = BYTES(shape=(12, 12, 1)), spaces.Discrete(2)

    def __init__(self, smaller_from=5):
        self.smaller_from = smaller_from

    def _shown(self):
        side = 12 if self.time < self.smaller_from else 10
        return np.zeros((side, side, 1), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._shown(), {}

    def step(self, action):
        self.time += 1
        return self._shown(), 1.0, False, self.time == 20, {}


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, "observation has shape (10, 10, 1); its space says (12, 12, 1)"),
        (4, "an observation has shape (1, 10, 10) where frame_stack expects (1, 12, 12), as before"),
    ],
)
def test_frames_that_change_size_cost_their_episode_and_are_named(count, expected, vectorization):
    """Numpy said of a stack that dimensions must match but for the concatenation axis."""
    with ev.envs.make(
        Shrinking, 1, 2, frame_stack=count, vectorization=vectorization, on_fault="survive"
    ) as envs:
        envs.reset(seed=0)
        with pytest.warns(UserWarning, match="Shrinking.* failed"):
            steps = [envs.step(np.zeros((1, 2), int)) for _ in range(6)]
        assert [bool(step.valid.all()) for step in steps] == [True] * 4 + [False, True]
        told = envs.take_faults()
    assert len(told) == 2
    assert all(expected in fault.message for fault in told), told


class Tiny(Shrinking):
    """Shows the smaller ones from the beginning on."""

    def __init__(self):
        super().__init__(smaller_from=0)


@pytest.mark.parametrize("count", [1, 4])
def test_a_first_frame_of_another_size_is_refused_before_time_is_spent(count):
    with pytest.raises(ValueError, match=r"Tiny: .* has shape .*10, 10.*; its space says .*12, 12"):
        ev.Experiment(Tiny, "DQN", frame_stack=count, population=1, num_envs=1)


def test_an_atari_game_is_preprocessed_as_well():
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    with ev.envs.make("ALE/Pong-v5", 1, 2, frame_stack=4) as envs:
        assert envs.single_observation_space == spaces.Box(0, 255, (4, 84, 84), np.uint8)
        first = envs.reset(seed=1)
        one = envs.step(np.zeros((1, 2), int))
        assert (one.next_observation[..., :3, :, :] == first[..., 1:, :, :]).all()
        env = envs.render_env()
        env.reset(seed=0)
        assert env.render().shape == (210, 160, 3)
        env.close()
