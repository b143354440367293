from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from scripted import Counting

import evolab.envs as envs
from evolab.core.experience import Transition
from evolab.core.rng import global_states

P, E = 2, 3
WAYS = (
    "loop",
    "next_step",
    "same_step",
    "disabled",
    "async",
    "foreign_next_step",
    "foreign_same_step",
    "foreign_disabled",
)
FIELDS = ("observation", "action", "reward", "next_observation", "terminated", "truncated")


def build(way: str, kind: str = "box") -> envs.VectorEnvironments:
    factory = partial(Counting, kind)
    if way == "loop":
        return envs.make(factory, P, E, seed=3)
    if way == "async":
        return envs.make(factory, P, E, seed=3, vectorization="async")
    if way.startswith("foreign"):
        mode = AutoresetMode[way.removeprefix("foreign_").upper()]
        # copy=False: the buffers are overwritten by the next step
        return envs.make(SyncVectorEnv([factory] * (P * E), copy=False, autoreset_mode=mode), P, E, seed=3)
    return envs.make(factory, P, E, seed=3, autoreset=way)


def numbers(observation: Any) -> np.ndarray:
    if isinstance(observation, dict):
        return observation["numbers"]
    return observation[0] if isinstance(observation, tuple) else observation


def play(environments: envs.VectorEnvironments, steps: int = 30, seed: Any = 3) -> list[Transition]:
    """Steps with actions that depend on nothing but what is seen."""
    observation = environments.reset(seed)
    transitions = []
    for _ in range(steps):
        seen = numbers(observation)
        transitions.append(environments.step(((seen[..., 0] + 3 * seen[..., 2]) % 10).astype(int)))
        observation = transitions[-1].reset_observation
    return transitions


def rows_of(transitions: list[Transition], p: int, e: int) -> list[tuple[Any, ...]]:
    """One environment's valid transitions, as plain numbers."""
    rows = []
    for one in transitions:
        if one.valid[p, e]:
            row = [numbers(getattr(one, f)) if "observation" in f else getattr(one, f) for f in FIELDS]
            rows.append(tuple(np.asarray(part[p, e]).tolist() for part in row))
    return rows


@pytest.fixture(scope="module")
def reference() -> list[Transition]:
    with build("loop") as environments:
        return play(environments)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_reset_gives_the_same_valid_transitions(way: str, reference: list[Transition]) -> None:
    with build(way) as environments:
        transitions = play(environments)
    for p in range(P):
        for e in range(E):
            rows, expected = rows_of(transitions, p, e), rows_of(reference, p, e)
            assert len(rows) >= 20
            assert rows == expected[: len(rows)]


@pytest.mark.parametrize("way", WAYS)
def test_no_transition_crosses_an_episode(way: str) -> None:
    """Guards the peer's defect of storing (terminal observation, reset observation, reward 0)."""
    with build(way) as environments:
        for one in play(environments):
            before, after = one.observation[one.valid], one.next_observation[one.valid]
            assert (before[:, 1] == after[:, 1]).all()  # the same episode
            assert (before[:, 2] + 1 == after[:, 2]).all()  # the next step of it
            assert (one.reward[one.valid] == 100 * after[:, 1] + after[:, 2]).all()


@pytest.mark.parametrize("way", WAYS)
def test_truncation_is_told_from_termination_with_the_true_last_observation(way: str) -> None:
    with build(way) as environments:
        ended = 0
        for one in play(environments):
            last = one.next_observation
            over = one.valid & (last[..., 2] >= 2 + last[..., 1] % 3)
            assert (one.terminated == (over & (last[..., 1] % 2 == 0))).all()
            assert (one.truncated == (over & (last[..., 1] % 2 == 1))).all()
            assert (one.reset_observation[~over] == last[~over]).all()
            if not way.endswith("next_step"):
                assert (one.reset_observation[over][:, 2] == 0).all()
            ended += over.sum()
        assert ended > P * E * 5


def test_next_step_rows_that_only_reset_are_invalid_and_empty() -> None:
    with build("next_step") as environments:
        transitions = play(environments)
        invalid = np.stack([one.valid for one in transitions]) == 0
        ended = np.stack([one.terminated | one.truncated for one in transitions])
        assert (invalid[1:] == ended[:-1]).all()
        for one in transitions:
            assert (one.reward[~one.valid] == 0).all()
            assert (one.reset_observation[~one.valid][:, 2] == 0).all()


@pytest.mark.parametrize("way", WAYS)
def test_what_to_act_on_next_is_what_the_next_transition_starts_from(way: str) -> None:
    with build(way) as environments:
        transitions = play(environments)
        copies = [one.reset_observation.copy() for one in transitions]
        for copy, one, following in zip(copies, transitions, transitions[1:], strict=False):
            assert (one.reset_observation == copy).all()  # not overwritten by later steps
            assert (following.observation == copy).all()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["dict", "tuple"])
def test_structured_observations_keep_their_structure(
    way: str, kind: str, reference: list[Transition]
) -> None:
    with build(way, kind) as environments:
        transitions = play(environments, steps=12)
    one = transitions[-1]
    for observation in (one.observation, one.next_observation, one.reset_observation):
        if kind == "dict":
            assert list(observation) == ["numbers", "picture", "step"]
            assert observation["step"].shape == (P, E)
            assert observation["step"].dtype == np.int64
            picture = observation["picture"]
        else:
            picture = observation[1]
        assert numbers(observation).shape == (P, E, 4)
        assert picture.shape == (P, E, 2, 2)
        assert picture.dtype == np.uint8
    for p, e in np.ndindex(P, E):
        rows = rows_of(transitions, p, e)
        assert rows == rows_of(reference, p, e)[: len(rows)]


@pytest.mark.parametrize("way", WAYS)
def test_a_finished_member_rests_without_autoreset(way: str) -> None:
    with build(way) as environments:
        environments.reset(3)
        returns, finished, last = np.zeros((P, E)), np.zeros((P, E), dtype=bool), {}
        for _ in range(8):
            one = environments.step(np.full((P, E), 4), autoreset=False)
            assert (one.valid == ~finished).all()
            assert (one.reward[finished] == 0).all()
            assert not (one.terminated | one.truncated)[finished].any()
            returns += one.reward
            ended = one.terminated | one.truncated
            for where in zip(*np.nonzero(ended), strict=True):
                last[where] = one.next_observation[where]
            finished |= ended
            for where, seen in last.items():
                assert (one.reset_observation[where] == seen).all()
            assert (environments.resting == finished).all()
        assert finished.all()
        assert (returns == 1 + 2).all()  # episode 0 has two steps, counted once
        observation = environments.reset()
        assert (observation[..., 2] == 0).all()
        assert environments.step(np.zeros((P, E), dtype=int)).valid.all()


def test_a_resting_member_is_not_stepped() -> None:
    made: list[Counting] = []

    def factory() -> Counting:
        made.append(Counting())
        return made[-1]

    with envs.make(factory, 1, 2) as environments:
        environments.reset()
        for _ in range(6):
            environments.step(np.zeros((1, 2), dtype=int), autoreset=False)
        assert [one.time for one in made] == [2, 2]


@pytest.mark.parametrize("way", ["loop", "next_step", "same_step", "async"])
def test_equal_seeds_give_equal_episodes_to_every_agent(way: str) -> None:
    seeds = np.broadcast_to(np.array([11, 12, 13]), (P, E))
    with build(way) as environments:
        first = play(environments, seed=seeds)
        again = play(environments, seed=seeds)
    for one, other in zip(first, again, strict=True):
        assert (one.observation[0] == one.observation[1]).all()
        assert (one.next_observation == other.next_observation).all()
        assert (one.valid == other.valid).all()
    assert len(set(first[0].observation[0, :, 0])) == 3


def test_one_seed_is_spread_over_the_members() -> None:
    with build("loop") as one, build("loop") as other:
        first = one.reset(5)
        assert (first == other.reset(5)).all()
        assert len(np.unique(first[..., 0])) == P * E
        assert (first != one.reset()).any()  # without a seed their generators go on
        assert (one.reset(6) != first).any()


def test_the_first_reset_takes_the_seed_of_make() -> None:
    with build("loop") as one, build("loop") as other:
        assert (one.reset() == other.reset(3)).all()
        assert (one.reset() == other.reset()).all()


def test_the_global_generators_are_not_touched() -> None:
    before = global_states()
    with build("loop") as environments:
        play(environments, steps=5)
    assert global_states() == before


def test_dtypes_are_what_learners_want() -> None:
    with build("loop") as environments:
        one = play(environments, steps=1)[0]
    assert one.reward.dtype == one.observation.dtype == np.float32
    assert one.terminated.dtype == one.truncated.dtype == one.valid.dtype == bool


def test_float64_observations_arrive_as_float32() -> None:
    class Double(Counting):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = gymnasium.spaces.Box(-1e6, 1e6, (4,), np.float64)

        def show(self, action: int) -> Any:
            return super().show(action).astype(np.float64)

    with envs.make(Double) as environments:
        assert environments.reset().dtype == np.float32


def test_actions_may_be_tensors_and_are_owned() -> None:
    with build("loop") as environments:
        environments.reset()
        action = torch.full((P, E), 4)
        one = environments.step(action)
        action[:] = 9
        assert isinstance(one.action, np.ndarray)
        assert (one.action == 4).all()
        assert (one.next_observation[..., 3] == 4).all()


def test_an_action_of_the_wrong_shape_is_named() -> None:
    with build("loop") as environments:
        environments.reset()
        with pytest.raises(ValueError, match=r"action has shape \(2, 3, 1\); expected \(P, E\) = \(2, 3\)"):
            environments.step(np.zeros((P, E, 1), dtype=int))
        with pytest.raises(
            ValueError, match=r"action has values in 0..10; Discrete\(10\) has no such action"
        ):
            environments.step(np.array([[0, 1, 2], [3, 4, 10]]))
        with pytest.raises(ValueError, match="takes integers"):
            environments.step(np.zeros((P, E)))


def test_box_actions_are_clipped_to_their_range() -> None:
    with envs.make("Pendulum-v1", 1, 2) as environments:
        environments.reset()
        assert environments.step(np.array([[[5.0], [0.5]]])).action.tolist() == [[[2.0], [0.5]]]


def test_step_before_reset_and_after_close_is_refused() -> None:
    environments = build("loop")
    with pytest.raises(RuntimeError, match="step came before reset"):
        environments.step(np.zeros((P, E), dtype=int))
    environments.close()
    environments.close()
    with pytest.raises(RuntimeError, match="is closed"):
        environments.reset()


def test_a_seed_of_the_wrong_shape_is_named() -> None:
    with build("loop") as environments:
        with pytest.raises(ValueError, match=r"seed has shape \(3,\); expected \(2, 3\)"):
            environments.reset(np.arange(3))
        with pytest.raises(TypeError, match="expected an int or an int array"):
            environments.reset(0.5)  # type: ignore[arg-type]


def test_the_evaluator_has_as_many_members_as_episodes() -> None:
    with build("loop") as environments, environments.evaluator(5) as evaluator:
        assert (evaluator.population, evaluator.num_envs) == (P, 5)
        assert evaluator.reset(np.zeros((P, 5), dtype=int)).shape == (P, 5, 4)
        assert evaluator.name == environments.name


def test_a_made_vector_environment_cannot_be_made_again() -> None:
    with build("foreign_next_step") as environments:
        with pytest.raises(ValueError, match="cannot be made again"):
            environments.evaluator(2)
        with pytest.raises(ValueError, match="Give an id or a callable"):
            environments.render_env()


def test_gymnasiums_own_kernel_of_cartpole_works() -> None:
    with envs.make(gymnasium.make_vec("CartPole-v1", num_envs=4), 2, 2) as environments:
        assert environments.autoreset == "next_step"
        environments.reset(1)
        ended = 0
        for _ in range(60):
            one = environments.step(np.ones((2, 2), dtype=int))
            ended += one.terminated.sum()
            assert (np.abs(one.next_observation - one.observation)[one.valid][:, 0] < 0.2).all()
        assert ended >= 16


def test_a_vector_without_metadata_is_taken_as_next_step_with_a_warning() -> None:
    vector = SyncVectorEnv([Counting] * 2)
    del vector.metadata["autoreset_mode"]
    with pytest.warns(UserWarning, match="NEXT_STEP is assumed"):
        environments = envs.make(vector, 1, 2)
    environments.close()


def test_a_vector_of_the_wrong_size_is_named() -> None:
    vector = SyncVectorEnv([Counting] * 3)
    with pytest.raises(ValueError, match=r"has 3 environments; expected population \* num_envs = 2 \* 2 = 4"):
        envs.make(vector, 2, 2)
    vector.close()


def test_repr_says_what_it_is() -> None:
    with build("loop") as environments:
        text = repr(environments)
    assert "population=2, num_envs=3" in text
    assert "Discrete(10)" in text
    assert text.endswith("): .reset(), .step(action)")
