from __future__ import annotations

import importlib.util
import subprocess
import sys
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from scripted import Counting, Failing

import evolab as ev
import evolab.envs as envs


class Wrong(gymnasium.Env[Any, Any]):
    """Gives what it is told to give, whatever its space says."""

    def __init__(
        self,
        gives: Any,
        space: spaces.Space[Any] | None = None,
        action_space: spaces.Space[Any] | None = None,
        later: Any = None,
    ) -> None:
        self.gives, self.later = gives, gives if later is None else later
        self.observation_space = space or spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = action_space or spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.gives, {}

    def step(self, action: Any) -> Any:
        return self.later, 0.0, False, False, {}


def wrong(*arguments: Any, **named: Any) -> envs.VectorEnvironments:
    return envs.make(lambda: Wrong(*arguments, **named))


@pytest.mark.parametrize(
    ("old", "new"),
    [("LunarLander-v2", "LunarLander-v3"), ("LunarLanderContinuous-v2", "LunarLanderContinuous-v3")],
)
def test_old_ids_are_mapped_to_todays_with_a_warning(old: str, new: str) -> None:
    with pytest.warns(UserWarning, match=rf"{old} is not in Gymnasium any more; {new} is used"):
        environments = envs.make(old)
    assert environments.name == new
    assert environments.max_episode_steps == 1000
    with environments, environments.evaluator(2) as evaluator:  # no second warning
        assert evaluator.name == new


def test_unknown_ids_are_answered_with_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"Unknown environment 'LunarLandr-v3'. Known: .*did you mean 'LunarLander-v3'"
    ):
        envs.make("LunarLandr-v3")
    with pytest.raises(ValueError, match=r"did you mean 'CartPole-v1'"):
        envs.make("cartpole-v1")


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, **_: Any) -> None:
        raise gymnasium.error.DependencyNotInstalled("Box2D is not installed")

    monkeypatch.setattr(gymnasium, "make", refuse)
    with pytest.raises(ImportError, match=r'LunarLander-v3 needs Box2D: pip install "gymnasium\[box2d\]"'):
        envs.make("LunarLander-v3")


def test_atari_names_its_package() -> None:
    if importlib.util.find_spec("ale_py"):
        pytest.skip("ale-py is installed")
    with pytest.raises(ImportError, match=r'pip install "gymnasium\[atari\]"'):
        envs.make("ALE/Pong-v5")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"population": 0}, ValueError, "population is 0; expected a whole number >= 1"),
        ({"num_envs": 2.0}, TypeError, "num_envs is 2.0"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"vectorization": "asink"}, ValueError, "Unknown vectorization 'asink'.*did you mean 'async'"),
        ({"autoreset": "same"}, ValueError, "Unknown autoreset 'same'.*did you mean 'same_step'"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        envs.make(Counting, **arguments)


def test_what_is_no_environment_is_named() -> None:
    with pytest.raises(TypeError, match="expected an id, a callable"):
        envs.make(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected an id, a callable.*lambda: MyEnv\(\)"):
        envs.make(Counting())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"environment made int; expected a gymnasium.Env"):
        envs.make(lambda: 3)  # type: ignore[arg-type, return-value]


def test_an_observation_outside_its_space_is_told_before_time_is_spent() -> None:
    with pytest.raises(ValueError, match=r"observation of reset has shape \(4,\); its space says \(3,\)"):
        wrong(np.zeros(4, dtype=np.float32))
    with pytest.raises(ValueError, match=r"observation of step has shape \(1,\)"):
        wrong(np.zeros(3, dtype=np.float32), later=np.zeros(1, dtype=np.float32))
    with pytest.raises(ValueError, match=r"1 values outside its space .*such as 5\. Widen"):
        wrong(np.array([0, 5, 0], dtype=np.float32))
    wrong(np.full(3, -128, np.int8), spaces.Box(-128, -127, (3,), np.int8)).close()  # its absolute is no int8
    with pytest.raises(ValueError, match="has dtype float64; its space says uint8"):
        wrong(np.zeros((2, 2)), spaces.Box(0, 255, (2, 2), np.uint8))
    with pytest.raises(ValueError, match=r"is 7, which is not in its space Discrete\(3\)"):
        wrong(7, spaces.Discrete(3))
    with pytest.raises(ValueError, match=r"is \['b'\]; its space has the keys \['a'\]"):
        wrong({"b": 1}, spaces.Dict({"a": spaces.Discrete(2)}))


def test_float64_and_lists_of_numbers_are_accepted_for_float32() -> None:
    with wrong(np.zeros(3)) as environments:
        assert environments.reset().dtype == np.float32
    with wrong([0.0, 0.5, 1.0]) as environments:
        assert environments.reset().tolist() == [[[0.0, 0.5, 1.0]]]


def test_unsupported_spaces_are_named() -> None:
    with pytest.raises(ValueError, match=r"action space .*has no finite bounds"):
        wrong(np.zeros(3), action_space=spaces.Box(-np.inf, np.inf, (1,)))
    with pytest.raises(
        ValueError, match="supported are Box with finite bounds, Discrete, MultiDiscrete and MultiBinary"
    ):
        wrong(np.zeros(3), action_space=spaces.Text(3))
    with pytest.raises(ValueError, match=r"observation\['a'\] is Text.*supported are Box, Discrete"):
        wrong({"a": "hello"}, spaces.Dict({"a": spaces.Text(5)}))


def test_a_reward_in_an_array_of_one_is_a_number() -> None:
    class Boxed(Wrong):
        def step(self, action: Any) -> Any:
            return self.gives, np.array([2.5]), False, False, {}

    with envs.make(lambda: Boxed(np.zeros(3)), 1, 2) as environments:
        environments.reset()
        assert environments.step(np.zeros((1, 2), dtype=int)).reward.tolist() == [[2.5, 2.5]]


def test_old_style_answers_are_named() -> None:
    class Old(Wrong):
        def step(self, action: Any) -> Any:
            return self.gives, 0.0, False, {}

    with pytest.raises(ValueError, match="step gave 4 values; expected"):
        envs.make(lambda: Old(np.zeros(3)))


def test_multi_discrete_actions_and_discrete_observations_work() -> None:
    with wrong(2, spaces.Discrete(3), spaces.MultiDiscrete([2, 3])) as environments:
        assert environments.reset().tolist() == [[2]]
        assert environments.step(np.array([[[1, 2]]])).valid.all()
        with pytest.raises(ValueError, match="has no such action"):
            environments.step(np.array([[[2, 0]]]))


def test_arguments_reach_the_environment() -> None:
    with envs.make("CartPole-v1", max_episode_steps=7) as environments:
        assert environments.max_episode_steps == 7
    with envs.make(Counting, kind="tuple") as environments:
        assert isinstance(environments.reset(), tuple)


def test_the_time_limit_is_known() -> None:
    limited = partial(gymnasium.wrappers.TimeLimit, max_episode_steps=9)
    assert envs.make(lambda: limited(Counting())).max_episode_steps == 9
    assert envs.make(lambda: gymnasium.make("CartPole-v1")).max_episode_steps == 500
    assert envs.make(Counting).max_episode_steps is None


def test_rendering_makes_an_environment_of_its_own() -> None:
    for environment in ("CartPole-v1", lambda: gymnasium.make("CartPole-v1")):
        with envs.make(environment) as environments:
            env = environments.render_env()
            env.reset(seed=0)
            picture = env.render()
            assert picture.ndim == 3
            assert picture.dtype == np.uint8
            env.close()
    with envs.make(Counting) as environments:
        assert environments.render_env().render_mode == "rgb_array"
    with (
        envs.make(partial(Failing, "")) as environments,
        pytest.raises(ValueError, match="has no render mode"),
    ):
        environments.render_env()


def test_a_callable_is_named_by_what_it_makes() -> None:
    assert envs.make(lambda: gymnasium.make("CartPole-v1")).name == "CartPole-v1"
    assert envs.make(lambda: Counting()).name == "Counting"


def test_envpool_names_its_extra() -> None:
    try:
        import envpool  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match=r'needs EnvPool: pip install "evolab\[envpool\]"'):
            envs.make("CartPole-v1", vectorization="envpool")
    else:
        with envs.make("CartPole-v1", 2, 2, vectorization="envpool") as environments:
            environments.reset(1)
            ended = False
            for _ in range(30):
                one = environments.step(np.ones((2, 2), dtype=int))
                assert (one.valid == ~np.asarray(ended)).all()
                ended = one.terminated | one.truncated


def test_envpools_transitions_are_those_of_gymnasium() -> None:
    pytest.importorskip("envpool")
    reference, rng = gymnasium.make("CartPole-v1").unwrapped, np.random.default_rng(0)
    reference.reset()
    with envs.make("CartPole-v1", 2, 4, vectorization="envpool") as environments:
        environments.reset(3)
        for _ in range(100):
            one = environments.step(rng.integers(0, 2, (2, 4)))
            for place in np.argwhere(np.asarray(one.valid)):
                i, j = place
                reference.state, reference.steps_beyond_terminated = tuple(one.observation[i, j]), None
                expected, _, terminated, _, _ = reference.step(int(one.action[i, j]))
                assert np.allclose(one.next_observation[i, j], expected, atol=1e-5)
                assert bool(one.terminated[i, j]) == terminated


def test_importing_evolab_does_not_import_gymnasium() -> None:
    code = "import sys, evolab.core.experience; sys.exit('gymnasium' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_environment_without_spaces_is_refused_with_what_to_set():
    class Half(gymnasium.Env):
        observation_space = gymnasium.spaces.Discrete(2)
        action_space = 4

    for made, told in (
        (gymnasium.Env, "Env.observation_space is no space"),
        (Half, "Half.action_space is 4"),
    ):
        with pytest.raises(TypeError, match=rf"{told}\. An environment sets self.observation_space and"):
            ev.Experiment(made, "DQN")


def test_envpools_own_id_is_played_and_drawn() -> None:
    """Checked with EnvPool 1.2.5: Pong-v5 is no id of Gymnasium's without ale_py."""
    pytest.importorskip("envpool")
    with envs.make("Pong-v5", 1, 4, vectorization="envpool") as environments:
        assert environments.single_observation_space == gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)
        assert environments.single_action_space == gymnasium.spaces.Discrete(6)
        first, again = environments.reset(7), environments.reset(7)
        assert (first == again).all()
        assert environments.step(np.zeros((1, 4), dtype=int)).valid.all()
        single = environments.render_env()
        observation, _ = single.reset(seed=3)
        assert observation.shape == (4, 84, 84)
        assert single.render().shape == (210, 160, 3)
        single.close()
