"""What environments come from: ids, modules, specifications, vectors and EnvPool; and what is refused at once."""

from __future__ import annotations

import copy
import sys
import types
import warnings
from functools import partial
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import ClipAction, RescaleAction, TimeAwareObservation, TransformAction

import evolab as ev
from evolab.envs import ids
from evolab.envs.examine import examine_step
from tests.any_env import Env, first

MODULE = """
import gymnasium
from gymnasium import spaces
class Warehouse(gymnasium.Env):
    def __init__(self, size=3):
        self.observation_space, self.action_space = spaces.Box(-1, 1, (size,)), spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed); self.t = 0
        return self.np_random.uniform(-1, 1, self.observation_space.shape).astype("float32"), {}
    def step(self, action):
        self.t += 1
        return self.np_random.uniform(-1, 1, self.observation_space.shape).astype("float32"), 1.0, self.t >= 5, False, {}
gymnasium.register("Warehouse-v0", entry_point=Warehouse)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    name = "my_envs_of_a_test"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)
    gymnasium.registry.pop("Warehouse-v0", None)


def small(environment, algorithm="DQN", **options):
    options = {
        "population": 2,
        "num_envs": 2,
        "steps_per_generation": 20,
        "network": [16],
        "seed": 0,
    } | options
    options = {"hyperparameters": {"batch_size": 8}, "search_space": {}, "device": "cpu"} | options
    return ev.Experiment(environment, algorithm, **options)


# Ids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "installed"),
    [("Hopper-v2", "Hopper-v5"), ("CartPole-v9", "CartPole-v1"), ("LunarLander-v9", "LunarLander-v3")],
)
def test_another_version_is_another_task(name, installed):
    with pytest.raises(
        ValueError, match=rf"Unknown environment '{name}'. {installed} is installed; .*returns may"
    ):
        ids.current_id(name)


def test_an_id_is_never_mapped_downwards(monkeypatch):
    """With ale_py imported `Pong-v5` became `Pong-v4`."""
    gymnasium.register("Pong-v4", entry_point=Env)
    try:
        with pytest.raises(ValueError, match="Pong-v4 is installed; it is another version"):
            ev.envs.make("Pong-v5")
    finally:
        gymnasium.registry.pop("Pong-v4")


def test_an_id_without_a_version_is_the_newest():
    with pytest.warns(UserWarning, match="CartPole names no version; CartPole-v1 is used"):
        assert ids.current_id("CartPole") == "CartPole-v1"


def test_an_id_may_name_the_module_that_registers_it(module):
    assert module not in sys.modules
    name = f"{module}:Warehouse-v0"
    with ev.envs.make(name, 2, 2) as environments:
        assert environments.single_observation_space.shape == (3,)
        environments.reset(0)
    with ev.envs.make(name) as again:  # imported by now
        assert again.reset(0).shape == (1, 1, 3)
    with pytest.raises(ValueError, match="did you mean 'Warehouse-v0'"):
        ev.envs.make(f"{module}:Warehous-v0")
    for other in ("no_such_module", ""):
        with pytest.raises(ImportError, match=rf"names the module '{other}', which can't be imported"):
            ev.envs.make(f"{other}:Warehouse-v0")


def test_a_saved_run_keeps_the_module_and_imports_nothing(module, tmp_path):
    name = f"{module}:Warehouse-v0"
    exp = small(name, env_kwargs={"size": 4})
    exp.fill(50)
    exp.step()
    exp.save(tmp_path / "run")
    assert exp.config["environment"] == name
    assert exp.config["env_kwargs"] == {"size": 4}
    del sys.modules[module]
    gymnasium.registry.pop("Warehouse-v0")
    with pytest.raises(ValueError, match=rf"is of '{name}'.*Import {module} first, or pass it"):
        ev.Experiment.load(tmp_path / "run")
    assert module not in sys.modules
    __import__(module)
    loaded = ev.Experiment.load(tmp_path / "run")
    loaded.step()
    exp_again = ev.Experiment.load(tmp_path / "run", environment=name)
    exp_again.step()
    assert loaded.history.fitness.equals(exp_again.history.fitness)
    assert loaded.best.act(np.zeros(4, np.float32)) in (0, 1)


def test_a_configuration_that_is_run_may_name_a_module(module):
    options = small(f"{module}:Warehouse-v0").config
    sys.modules.pop(module)
    gymnasium.registry.pop("Warehouse-v0")
    assert ev.Experiment.from_config(options).name == f"{module}:Warehouse-v0"


def test_arguments_reach_the_environment():
    exp = small(Env, env_kwargs={"length": 3})
    exp.fill(50)
    exp.step()
    assert set(exp.history.fitness["fitness"]) == {3.0}


def test_a_specification_is_an_environment(tmp_path):
    spec = copy.deepcopy(gymnasium.spec("CartPole-v1"))
    spec.max_episode_steps = 6
    with ev.envs.make(spec, 2, 2) as environments, environments.evaluator(3) as evaluator:
        assert (environments.name, environments.max_episode_steps) == ("CartPole-v1", 6)
        assert evaluator.max_episode_steps == 6
    exp = small(spec)
    exp.fill(50)
    exp.step()
    assert (exp.history.fitness["fitness"] <= 6).all()
    exp.save(tmp_path / "run")
    with pytest.raises(ValueError, match=r"has its own environment \(CartPole-v1\)"):
        ev.Experiment.load(tmp_path / "run")
    ev.Experiment.load(tmp_path / "run", environment=spec).step()


def test_a_callable_that_needs_other_arguments_is_named():
    """Python's own "missing 1 required positional argument" came from somewhere within."""
    with pytest.raises(
        TypeError, match=r"environment is <lambda>, which is called with no arguments: missing .*'x'"
    ):
        small(lambda x: Env())
    with pytest.raises(
        TypeError, match=r"environment is Wrapper.*missing .*'env'\. Arguments .* env_kwargs="
    ):
        small(gymnasium.Wrapper)
    with pytest.raises(
        TypeError, match=r"is called with lenght: got an unexpected keyword argument 'lenght'"
    ):
        small(Env, env_kwargs={"lenght": 3})


def test_a_package_that_an_environment_imports_is_named():
    gymnasium.register("Elsewhere-v0", entry_point="no_such_package.of_mine:Env")
    try:
        with pytest.raises(
            ImportError, match="Elsewhere-v0 needs the package no_such_package, which is not installed"
        ):
            ev.envs.make("Elsewhere-v0")
    finally:
        gymnasium.registry.pop("Elsewhere-v0")


# Vectors ------------------------------------------------------------------------------------------


def test_a_made_vector_environment_is_refused_before_the_first_step():
    vector = gymnasium.make_vec("CartPole-v1", num_envs=4)
    with pytest.raises(ValueError, match=r"a vector environment that is made already.*vector=lambda n, seed"):
        small(vector)
    vector.close()


@pytest.mark.parametrize("way", ["kernel", "sync", "same_step"])
def test_vectors_are_made_as_they_are_needed(way, tmp_path):
    asked = []

    def maker(n, seed):
        asked.append(n)
        if way == "kernel":
            return gymnasium.make_vec("CartPole-v1", num_envs=n, vectorization_mode="vector_entry_point")
        mode = AutoresetMode.NEXT_STEP if way == "sync" else AutoresetMode.SAME_STEP
        return SyncVectorEnv([partial(gymnasium.make, "CartPole-v1")] * n, autoreset_mode=mode)

    def run():
        exp = small(None, vector=maker, fitness="return", eval_episodes=3)
        exp.fill(50)
        exp.step()
        return exp

    one, other = run(), run()
    assert asked[:2] == [4, 6]  # 2 agents with 2 environments, and with 3 episodes each
    assert one.history.fitness.equals(other.history.fitness)
    assert one.rollout(episodes=2, max_steps=3).returns == [3.0, 3.0]
    one.save(tmp_path / "run")
    ev.Experiment.load(tmp_path / "run", vector=maker).step()
    with pytest.raises(ValueError, match="environment and vector are given"):
        small("CartPole-v1", vector=maker)
    with pytest.raises(ValueError, match=r"its own environment \(vector\).*, vector=\.\.\.\)"):
        ev.Experiment.load(tmp_path / "run")
    with pytest.raises(TypeError, match="vector gave int"):
        small(None, vector=lambda n, seed: 3)
    with pytest.raises(
        TypeError, match=r"vector is <lambda>, which is called with num_envs and seed: too many"
    ):
        small(None, vector=lambda: 3)


# EnvPool ------------------------------------------------------------------------------------------


class FakePool:
    """What EnvPool's objects are, as far as evolab looks: single spaces, no options at reset, seeds when made."""

    def __init__(
        self, num_envs: int, seed: Any, task: str, players: int = 1, render_mode: Any = None
    ) -> None:
        self._vector = SyncVectorEnv([partial(Env, length=5, act=spaces.Discrete(3))] * num_envs)
        seeds = seed if isinstance(seed, list) else [seed + i for i in range(num_envs)]
        self._seeds, self._task = seeds, task
        self.config = {"num_envs": num_envs, "max_num_players": players}
        self.render_mode = render_mode
        self.observation_space, self.action_space = spaces.Box(-1, 1, (3,)), spaces.Discrete(3)
        self.spec = SimpleNamespace(config=SimpleNamespace(max_episode_steps=5))

    def reset(self) -> Any:
        seeds, self._seeds = self._seeds, None
        return self._vector.reset(seed=seeds)

    def step(self, action: np.ndarray) -> Any:
        assert action.dtype == np.int32
        return self._vector.step(action)

    def render(self) -> Any:
        return None if self.render_mode is None else np.full((1, 6, 5, 3), self._vector.envs[0].t, np.uint8)

    def close(self) -> None:
        self._vector.close()


FakePool.__module__ = "envpool.atari.atari_envpool"


@pytest.fixture
def envpool(monkeypatch):
    fake: Any = types.ModuleType("envpool")
    fake.list_all_envs = lambda: ["Pong-v5", "Breakout-v5"]
    fake.make = lambda name, env_type, num_envs, seed, **own: FakePool(num_envs, seed, name, **own)
    monkeypatch.setitem(sys.modules, "envpool", fake)
    return fake


def test_an_id_of_envpools_own_is_made_by_envpool(envpool):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as: Pong-v4 is used
        environments = ev.envs.make("Pong-v5", 1, 4, vectorization="envpool")
    with environments, environments.evaluator(2) as evaluator:
        assert (environments.name, environments.max_episode_steps) == ("Pong-v5", 5)
        assert environments.single_action_space == spaces.Discrete(3)
        assert evaluator.num_envs == 2
        first_one = environments.reset(7)
        again = environments.reset(7)
        assert (first_one == again).all()
        assert (environments.reset(8) != again).any()
        returns = np.zeros((1, 4))
        for _ in range(5):
            returns += environments.step(np.zeros((1, 4), int)).reward
        assert (returns == 5).all()
        assert not environments.step(np.zeros((1, 4), int)).valid.any()  # the step that resets
    with pytest.raises(ValueError, match=r"Unknown EnvPool environment 'Pong-v4'.*did you mean 'Pong-v5'"):
        ev.envs.make("Pong-v4", vectorization="envpool")


def test_an_experiment_learns_in_envpools_own_environment(envpool):
    exp = small("Pong-v5", vectorization="envpool")
    exp.fill(50)
    exp.step()
    assert set(exp.history.fitness["fitness"]) == {5.0}
    rollout = exp.rollout(episodes=2)  # said that the id was "given as a made vector environment"
    assert rollout.returns == [5.0, 5.0]
    assert [frame[0, 0, 0] for frame in rollout.frames] == [0, 1, 2, 3, 4, 5] * 2


def test_what_envpool_makes_of_an_id_does_not_hang_on_gymnasiums(envpool):
    """Reacher-v2 is EnvPool's, and retired in Gymnasium: "moved to the gymnasium-robotics project"."""
    envpool.list_all_envs = lambda: ["Reacher-v2"]
    assert ev.envs.make("Reacher-v2", 1, 2, vectorization="envpool").reset().shape == (1, 2, 3)


def test_pools_that_cannot_be_used_are_refused_by_a_sentence(envpool):
    with pytest.raises(
        ValueError, match=r"Pong-v5 has 2 agents in each environment, and agents here act alone"
    ):
        ev.envs.make("Pong-v5", vectorization="envpool", players=2)
    with pytest.raises(TypeError, match=r"^TD3 needs Box actions; these are Discrete\(3\)"):
        small("Pong-v5", "TD3", vectorization="envpool")
    plain = FakePool(2, 0, "Pong-v5")
    del plain.observation_space
    with pytest.raises(TypeError, match=r'FakePool has no spaces: .*env_type="gymnasium"'):
        ev.envs.make(plain, 1, 2)
    unbounded = FakePool(2, 0, "Pong-v5")
    unbounded.action_space = spaces.Box(
        2.3e-308, 1.79e308, (3,), np.float64
    )  # as EnvPool's DefendTheCenter-v1
    with pytest.raises(ValueError, match="has no finite bounds"):
        ev.envs.make(unbounded, 1, 2)


def test_a_made_object_of_envpools_is_refused_or_made_as_it_is_needed(envpool):
    with pytest.raises(ValueError, match="FakePool, a vector environment that is made already"):
        small(FakePool(4, 0, "Pong-v5"))
    with ev.envs.make(FakePool(4, 0, "Pong-v5"), 2, 2) as environments:
        assert environments.reset().shape == (2, 2, 3)
        assert environments.step(np.zeros((2, 2), int)).valid.all()
    exp = small(None, vector=lambda n, seed: FakePool(n, seed, "Pong-v5"))
    exp.fill(50)
    exp.step()
    assert set(exp.history.fitness["fitness"]) == {5.0}
    assert exp.rollout().returns == [5.0]


def test_a_rollout_in_a_vector_shows_what_the_vector_draws():
    exp = small(
        None, vector=lambda n, seed: gymnasium.make_vec("CartPole-v1", num_envs=n, render_mode="rgb_array")
    )
    frames = exp.rollout(max_steps=2).frames
    assert [frame.shape for frame in frames] == [(400, 600, 3)] * 3


# Actions ------------------------------------------------------------------------------------------


def pendulum(*wrappers):
    env = gymnasium.make("Pendulum-v1")
    for wrapper in wrappers:
        env = wrapper(env)
    return env


def test_clip_action_keeps_the_bounds_that_it_clips_to():
    """ClipAction makes the bounds infinite itself, so that cleanrl's usual wrappers were refused."""
    with ev.envs.make(lambda: pendulum(ClipAction, TimeAwareObservation)) as environments:
        assert environments.single_action_space == spaces.Box(-2, 2, (1,))
    rescaled = partial(RescaleAction, min_action=-1, max_action=1)
    with ev.envs.make(lambda: pendulum(rescaled, ClipAction)) as environments:
        assert environments.single_action_space == spaces.Box(-1, 1, (1,))


def test_a_vector_s_clip_action_keeps_them_too():
    """gymnasium.wrappers.vector.ClipAction was refused: "has no finite bounds"."""
    wrappers = gymnasium.wrappers.vector

    def around(n, seed):
        return wrappers.ClipAction(gymnasium.make_vec("Pendulum-v1", num_envs=n))

    def within(n, seed):
        return SyncVectorEnv([lambda: pendulum(ClipAction)] * n)

    def changed(n, seed):
        made = gymnasium.make_vec("Pendulum-v1", num_envs=n)
        unbounded = spaces.Box(-np.inf, np.inf, (1,))
        return wrappers.ClipAction(wrappers.TransformAction(made, np.tanh, single_action_space=unbounded))

    for maker in (around, within):
        with ev.envs.make(None, 1, 2, vector=maker) as environments:
            assert environments.single_action_space == spaces.Box(-2, 2, (1,))
            environments.reset(0)
            assert environments.step(np.ones((1, 2, 1), np.float32)).valid.all()
    with pytest.raises(ValueError, match="has no finite bounds"):
        ev.envs.make(None, 1, 2, vector=changed)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-np.inf, np.inf, 0.0), (3.0, np.inf, 3.0), (-np.inf, -2.0, -2.0), (-2.0, 3.0, 0.5)],
)
def test_the_first_action_in_an_environment_is_a_finite_one(low, high, expected):
    """ClipAction's own bounds are infinite: their middle was NaN, which the environment was stepped with."""
    seen = []

    class Watched(Env):
        def step(self, action):
            seen.append(float(action[0]))
            return super().step(action)

    watched = Watched(act=spaces.Box(np.float32(low), np.float32(high), (1,)))
    assert examine_step("Watched", watched)
    assert seen == [expected]


def test_the_cure_for_infinite_bounds_works():
    def unbounded(env):
        return TransformAction(env, np.tanh, spaces.Box(-np.inf, np.inf, (1,)))

    with pytest.raises(
        ValueError, match=r"no finite bounds.*TransformAction\(env, lambda a: a, gymnasium.spaces.Box"
    ):
        ev.envs.make(lambda: pendulum(unbounded))
    bounded = partial(TransformAction, func=lambda a: a, action_space=spaces.Box(-1.0, 1.0, (1,)))
    with ev.envs.make(lambda: pendulum(unbounded, bounded)) as environments:
        assert environments.single_action_space == spaces.Box(-1, 1, (1,))


@pytest.mark.parametrize("algorithm", ["DQN", "PPO"])
def test_multi_binary_actions_are_choices_of_two(algorithm, tmp_path):
    seen = []

    def reward(action, time):
        seen.append(np.asarray(action))
        return float(np.sum(action))

    options = {"hyperparameters": {}} if algorithm == "PPO" else {}
    exp = small(partial(Env, act=spaces.MultiBinary(3), reward=reward), algorithm, **options)
    if algorithm == "DQN":
        exp.fill(400)
        tried = {tuple(action.tolist()) for action in seen}
        assert len(tried) == 8
    exp.step()
    space = spaces.MultiBinary(3)
    assert all(space.contains(action) for action in seen)
    batch = np.random.default_rng(0).uniform(-1, 1, (9, 3)).astype(np.float32)
    acted = exp.best.act(batch)
    assert acted.shape == (9, 3)
    assert acted.dtype == np.int8
    exp.best.save(tmp_path / "agent")
    assert (ev.Agent.load(tmp_path / "agent").act(batch) == acted).all()
    import torch

    program = torch.export.load(exp.best.export(tmp_path / "agent.pt2")).module()
    assert (program(torch.from_numpy(batch)).numpy() == acted).all()


def test_multi_binary_actions_are_recorded_and_learned_from():
    make = partial(Env, act=spaces.MultiBinary(2))
    data = ev.collect(make, steps=64)
    exp = small(make, "CQN")
    exp.fill(data)
    exp.step()
    assert exp.best.act(np.zeros(3, np.float32)).shape == (2,)


# What cannot be --------------------------------------------------------------------------------------


def test_an_old_reset_is_named():
    class Old(Env):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed)[0]

    with pytest.raises(
        ev.envs.EnvironmentFault, match=r"reset gave ndarray in place of \(observation, info\)"
    ):
        ev.envs.make(Old)


def test_an_old_reset_that_takes_no_seed_is_told_what_to_take():
    class Old(Env):
        def reset(self):
            return super().reset()[0]

    with pytest.raises(
        ev.envs.EnvironmentFault, match=r"argument 'seed'\. Environments take one: def reset\(self"
    ):
        ev.envs.make(Old)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (1, "1.0", "step gave the reward '1.0', a text; expected a number"),
        (2, "no", "step gave terminated = 'no'; expected True or False"),
        (3, None, "step gave truncated = None; expected True or False"),
    ],
)
def test_answers_of_a_step_that_python_would_take_for_something_else_are_refused(place, value, message):
    """ "no" ended every episode."""

    class Odd(Env):
        def step(self, action):
            answer = [*super().step(action)]
            answer[place] = value
            return tuple(answer)

    with pytest.raises(ValueError, match=message):
        ev.envs.make(Odd)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"obs": spaces.Box(-1, 1, (0,))}, r"observation is Box.*no entries"),
        ({"obs": spaces.Dict({"a": spaces.Box(-1, 1, (2, 0))})}, r"observation\['a'\] is Box.*no entries"),
        (
            {"obs": spaces.Dict({"a": spaces.Dict({}), "b": spaces.Discrete(2)})},
            r"observation\['a'\] is Dict\(\), which has no parts",
        ),
        (
            {"obs": spaces.Tuple([spaces.Discrete(2), spaces.Tuple([])])},
            r"\[1\] is Tuple\(\), which has no parts",
        ),
        ({"act": spaces.Box(-1, 1, (0,))}, r"action space is Box.*no entries"),
    ],
)
def test_spaces_without_entries_are_refused(own, message):
    with pytest.raises(ValueError, match=message):
        ev.envs.make(partial(Env, **own))


def test_rewards_of_whole_number_actions_reach_both_bounds():
    with ev.envs.make(partial(Env, act=spaces.Box(-2, 2, (1,), np.int32), reward=first)) as environments:
        environments.reset(0)
        found = [environments.step(np.array([[[value]]])).reward.item() for value in (-2, 2, 1.7, -9.0)]
    assert found == [-2, 2, 2, -2]
