"""Vector environments that give tensors: the same transitions, without a way through numpy and without a copy."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.core.trees import map_leaves
from evolab.envs.base import EnvironmentFault
from evolab.envs.on_device import DeviceEnvironments
from tests.torch_cartpole import TorchCartPole

FIELDS = (
    "observation",
    "action",
    "reward",
    "next_observation",
    "terminated",
    "truncated",
    "reset_observation",
    "valid",
)


def poles(population=2, num_envs=3, seed=0, kind=TorchCartPole, **options):
    made = []

    def maker(n, seed):
        made.append(kind(n, **options))
        return made[-1]

    return ev.envs.make(vector=maker, population=population, num_envs=num_envs, seed=seed), made[0]


def played(envs, steps, tensors=True):
    """Transitions of random actions, looked at when all are there: an environment may write over what it gave."""
    g, found = torch.Generator().manual_seed(3), []
    envs.reset(seed=5)
    for _ in range(steps):
        action = torch.randint(2, (envs.population, envs.num_envs), generator=g)
        found.append(envs.step(action if tensors else action.numpy()))
    return [{name: np.asarray(getattr(one, name)) for name in FIELDS} for one in found]


@pytest.mark.parametrize("way", ["plain", "arrays", "overwrites"])
def test_every_step_is_that_of_gymnasiums_own_environment_in_numpy(way):
    ours, _ = poles(longest=20, **({} if way == "plain" else {way: True}))
    theirs = ev.envs.make(
        vector=lambda n, seed: gymnasium.make_vec(
            "CartPole-v1", num_envs=n, vectorization_mode="vector_entry_point", max_episode_steps=20
        ),
        population=2,
        num_envs=3,
    )
    assert isinstance(ours, DeviceEnvironments)
    assert not isinstance(theirs, DeviceEnvironments)
    one, other = played(ours, 150), played(theirs, 150, tensors=False)
    assert sum(int(step["truncated"].sum()) for step in one) > 5
    assert sum(int(step["terminated"].sum()) for step in one) > 5
    for mine, its in zip(one, other, strict=True):
        for name in FIELDS:
            assert mine[name].dtype == its[name].dtype, name
            np.testing.assert_allclose(mine[name], its[name], rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("arrays", [False, True], ids=["tensors", "dlpack"])
def test_nothing_is_copied_on_the_way_from_the_environment_to_the_population_and_back(arrays):
    envs, vector = poles(arrays=arrays)
    population = ev.Population(
        "DQN", envs.single_observation_space, envs.single_action_space, 2, device="cpu"
    )
    observation, before = envs.reset(), 0
    for step in range(3):
        action = population.act(observation)
        assert isinstance(action, torch.Tensor)
        transition = envs.step(action)
        given = vector.given
        assert transition.next_observation.data_ptr() == given["observation"].data_ptr()
        assert transition.reset_observation is transition.next_observation
        assert transition.reward.data_ptr() == given["reward"].data_ptr()
        assert transition.terminated.data_ptr() == given["terminated"].data_ptr()
        assert transition.truncated.data_ptr() == given["truncated"].data_ptr()
        assert vector.taken.data_ptr() == action.data_ptr() == transition.action.data_ptr()
        assert transition.observation is observation
        if step:  # the first ones are copied: it is not known yet whether they are written over
            assert observation.data_ptr() == before
        observation, before = transition.reset_observation, given["observation"].data_ptr()


@pytest.mark.parametrize("mode", ["next_step", "same_step", "disabled"])
def test_a_truncated_episode_leads_to_its_true_end_and_goes_on_from_a_first_state(mode):
    envs, _ = poles(mode=mode, longest=4)
    assert envs.autoreset == mode
    buffer = ev.ReplayBuffer(100)
    envs.reset(seed=1)
    for step in range(9):
        one = envs.step(torch.full((2, 3), step % 2))
        buffer.add(one)
        ends = step in ((3, 8) if mode == "next_step" else (3, 7))
        assert one.truncated.all() if ends else not one.truncated.any()
        assert not one.terminated.any()
        skipped = mode == "next_step" and step == 4
        assert one.valid.all() if not skipped else not one.valid.any()
        if skipped:
            assert not one.reward.any()
        moved = (one.next_observation - one.observation)[..., 0].abs().max()
        assert (moved < 0.03) or skipped, "a transition crossed an episode"
        if ends and mode != "next_step":
            assert (one.reset_observation.abs() <= 0.05).all()
            assert not torch.equal(one.reset_observation, one.next_observation)
    stored = buffer.rows(torch.arange(len(buffer)))
    assert len(buffer) == (48 if mode == "next_step" else 54)
    assert not stored["terminated"].any()


@pytest.mark.parametrize("mode", ["next_step", "same_step", "disabled"])
def test_an_environment_that_ended_rests_until_the_reset_where_that_is_asked(mode):
    envs, _ = poles(mode=mode, longest=4)
    envs.reset(seed=1)
    steps = [envs.step(torch.zeros(2, 3, dtype=torch.int64), autoreset=False) for _ in range(7)]
    last = steps[3]
    assert last.truncated.all()
    assert envs.resting.all()
    for one in steps[4:]:
        assert not one.valid.any()
        assert not one.reward.any()
        assert torch.equal(one.next_observation, last.next_observation)
        assert torch.equal(one.reset_observation, last.next_observation)
    envs.reset()
    assert not envs.resting.any()


def test_an_evaluation_is_that_of_the_same_environments_in_numpy():
    population = ev.Population(
        "DQN", spaces.Box(-np.inf, np.inf, (4,), np.float32), spaces.Discrete(2), 2, seed=0, device="cpu"
    )
    ours, _ = poles(longest=60)
    theirs = ev.envs.make(
        vector=lambda n, seed: gymnasium.make_vec(
            "CartPole-v1", num_envs=n, vectorization_mode="vector_entry_point", max_episode_steps=60
        ),
        population=2,
        num_envs=3,
    )
    assert (
        ev.evaluate(population, ours, 4, seed=3).tolist()
        == ev.evaluate(population, theirs, 4, seed=3).tolist()
    )


def test_numbers_in_the_last_info_are_metrics_of_the_episode():
    envs, _ = poles(mode="same_step", longest=3)
    envs.reset()
    steps = [envs.step(torch.ones(2, 3, dtype=torch.int64)) for _ in range(3)]
    assert steps[1].metrics == {}
    assert set(steps[2].metrics) == {(p, e) for p in range(2) for e in range(3)}
    angle = float(steps[2].next_observation[1, 2, 2].abs())
    assert steps[2].metrics[1, 2] == pytest.approx({"height": angle})


class Masked(TorchCartPole):
    """Pushing to the left is forbidden while the cart is left of the middle."""

    def reset(self, **options):
        seen, _ = super().reset(**options)
        return seen, {"action_mask": self._mask(seen)}

    def step(self, action):
        *told, info = super().step(action)
        return (*told, info | {"action_mask": self._mask(told[0])})

    def _mask(self, seen):
        return torch.stack([seen[:, 0] > 0, torch.ones(self.num_envs, dtype=torch.bool)], 1)


def test_masks_are_tensors_that_agents_keep_to_and_that_come_with_the_transition():
    envs, _ = poles(kind=Masked, longest=6)
    population = ev.Population(
        "DQN", envs.single_observation_space, envs.single_action_space, 2, device="cpu"
    )
    observation, buffer = envs.reset(), ev.ReplayBuffer(200)
    for _ in range(12):
        mask = envs.action_mask
        assert isinstance(mask, torch.Tensor)
        assert torch.equal(mask[..., 0], observation[..., 0] > 0)
        one = envs.step(population.act(observation, action_mask=mask))
        assert mask.gather(-1, one.action[..., None]).all()
        assert torch.equal(one.action_mask, mask)
        assert torch.equal(one.next_action_mask[..., 0], one.next_observation[..., 0] > 0)
        buffer.add(one)
        observation = one.reset_observation


def experiment(algorithm, folder=None, **options):
    return ev.Experiment(
        algorithm=algorithm,
        vector=lambda n, seed: TorchCartPole(n, **({"longest": 50} | options)),
        population=2,
        num_envs=4,
        steps_per_generation=200,
        network=[16],
        seed=1,
        folder=folder,
        device="cpu",
    )


@pytest.mark.parametrize("algorithm", ["DQN", "PPO"])
@pytest.mark.parametrize("mode", ["next_step", "same_step", "disabled"])
def test_an_experiment_runs_in_them_from_filling_to_a_rollout_and_is_the_same_again(algorithm, mode):
    records = []
    for _ in range(2):
        exp = experiment(algorithm, mode=mode)
        if algorithm == "DQN":
            exp.fill(100)
        exp.run(generations=2)
        records.append(exp.history.fitness)
        rollout = exp.rollout(episodes=1, max_steps=30)
        assert 1 <= rollout.returns[0] <= 30
        assert np.asarray(rollout.observations[0]).shape[-1] == 4
        assert exp.evaluate(episodes=3).returns.shape == (3,)
        exp.close()
    assert records[0].equals(records[1])


def test_a_run_is_saved_and_goes_on(tmp_path):
    exp = experiment("DQN", mode="same_step")
    exp.fill(100)
    exp.step()
    exp.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", vector=lambda n, seed: TorchCartPole(n, "same_step", 50))
    assert again.step().fitness == exp.step().fitness


@pytest.mark.slow
def test_dqn_balances_the_pole_in_them():
    exp = ev.Experiment(vector=lambda n, seed: TorchCartPole(n), algorithm="DQN", seed=1, target=475.0)
    exp.run(max_steps=200_000)
    assert exp.elite_fitness >= 475.0


# What goes wrong ----------------------------------------------------------------------------------


class Broken(TorchCartPole):
    """One entry is something else, from one step on."""

    change = staticmethod(lambda self, told: told)
    at = 0

    def step(self, action):
        self.count = getattr(self, "count", 0) + 1
        told = super().step(action)
        return type(self).change(self, told) if self.count > self.at else told


def broken(change, at=0):
    return type("Broken", (Broken,), {"change": staticmethod(change), "at": at})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda s, t: (t[0][:, :3], *t[1:]),
            ValueError,
            r"observation has shape \(6, 3\); \(6, 4\) is expected",
        ),
        (
            lambda s, t: (t[0].double().long(), *t[1:]),
            TypeError,
            r"observation is torch.int64; float32 is expected",
        ),
        (
            lambda s, t: (t[0], t[1][:, None], *t[2:]),
            ValueError,
            r"reward has shape \(6, 1\); \(6,\) is expected",
        ),
        (
            lambda s, t: (t[0], t[1].to("meta"), *t[2:]),
            ValueError,
            "reward lies on meta and its first observation on cpu",
        ),
        (
            lambda s, t: (*t[:2], t[2].float(), *t[3:]),
            TypeError,
            r"terminated is torch.float32; whole numbers or bool",
        ),
        (
            lambda s, t: (*t[:3], t[3].tolist(), t[4]),
            TypeError,
            "truncated is list; its observations are tensors",
        ),
    ],
    ids=["shape", "dtype", "column", "device", "flags", "list"],
)
def test_what_does_not_fit_is_named(change, error, message):
    envs, _ = poles(kind=broken(change))
    envs.reset()
    with pytest.raises(error, match="Broken: " + message):
        envs.step(torch.zeros(2, 3, dtype=torch.int64))


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (torch.zeros(2, 4, dtype=torch.int64), ValueError, r"action has shape \(2, 4\)"),
        (torch.zeros(2, 3), TypeError, r"action is torch.float32; Discrete\(2\) takes integers"),
        (torch.full((2, 3), 2), ValueError, r"values in 2..2; Discrete\(2\) has no such action"),
    ],
    ids=["shape", "dtype", "range"],
)
def test_actions_that_do_not_fit_are_named(action, error, message):
    envs, _ = poles()
    with pytest.raises(RuntimeError, match="step came before reset"):
        envs.step(action)
    envs.reset()
    with pytest.raises(error, match=message):
        envs.step(action)


def test_same_step_without_the_last_observations_is_named():
    kind = broken(lambda s, t: (*t[:4], {}))
    envs, _ = poles(kind=kind, mode="same_step", longest=2)
    envs.reset()
    envs.step(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"gives no info\['final_obs'\]"):
        envs.step(torch.zeros(2, 3, dtype=torch.int64))


def nan_once(self, told):
    if self.count == 3:
        told[0][4, 1] = torch.nan
    return told


@pytest.mark.parametrize("mode", ["next_step", "same_step", "disabled"])
def test_a_nan_drops_the_episode_of_that_environment_alone(mode):
    envs, _ = poles(kind=broken(nan_once), mode=mode, longest=6)
    envs.reset(seed=0)
    steps = [envs.step(torch.full((2, 3), k % 2)) for k in range(9)]
    (fault,) = envs.take_faults()
    assert (fault.index, fault.kind) == ((1, 1), "nan")
    out = torch.stack([~one.valid for one in steps])[:, 1, 1].tolist()
    # What can't be reset by itself is left alone until its episode is over.
    expected = {"next_step": {2, 3, 4, 5, 6}, "same_step": {2, 3, 4, 5}, "disabled": {2}}[mode]
    assert {step for step, lost in enumerate(out) if lost} == expected
    others = torch.stack([one.valid for one in steps]).flatten(1)[:, [0, 1, 2, 3, 5]]
    assert int((~others).sum()) == (5 if mode == "next_step" else 0)
    for one in steps:
        for name in ("observation", "next_observation", "reset_observation", "reward"):
            assert bool(torch.isfinite(getattr(one, name)).all()), name


def test_an_environment_that_gives_nothing_but_nan_ends_the_run():
    def change(self, told):
        told[0][2, 0] = torch.nan
        return told

    envs, _ = poles(kind=broken(change), mode="disabled")
    envs.reset()
    for _ in range(9):
        envs.step(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(EnvironmentFault, match=r"environment \(0, 2\) failed 10 times in a row"):
        envs.step(torch.zeros(2, 3, dtype=torch.int64))


class BrokenFirst(TorchCartPole):
    def reset(self, **options):
        seen, info = super().reset(**options)
        return seen * torch.nan, info


def test_a_first_observation_that_is_nan_is_named():
    envs, _ = poles(kind=BrokenFirst)
    with pytest.raises(EnvironmentFault, match="first observation of environment 0 is not finite"):
        envs.reset()


def test_an_action_that_is_nan_is_replaced_and_told():
    class Real(TorchCartPole):
        def __init__(self, n, **options):
            super().__init__(n, **options)
            self.single_action_space = spaces.Box(-1, 1, (1,), np.float32)

        def step(self, action):
            self.acted = action
            return super().step((action[:, 0] > 0).long())

    envs, vector = poles(kind=Real)
    envs.reset()
    action = torch.tensor([[0.5, torch.nan, 7.0], [0.0, -9.0, 0.1]])[..., None]
    one = envs.step(action)
    assert vector.acted[:, 0].tolist() == pytest.approx([0.5, 0.0, 1.0, 0.0, -1.0, 0.1])
    assert one.valid.tolist() == [[True, False, True], [True, True, True]]
    assert [fault.kind for fault in envs.take_faults()] == ["action"]


def test_an_object_that_is_no_vector_and_one_that_gives_arrays_are_refused():
    class Numpy(TorchCartPole):
        def reset(self, **options):
            seen, info = super().reset(**options)
            return seen.numpy(), info

    with pytest.raises(TypeError, match="Numpy: its observations are ndarray"):
        poles(kind=Numpy)
    with pytest.raises(TypeError, match="vector gave dict; expected a Gymnasium vector environment"):
        ev.envs.make(vector=lambda n, seed: {})


def test_dict_observations_keep_their_form():
    class Both(TorchCartPole):
        def __init__(self, n, **options):
            super().__init__(n, **options)
            half = spaces.Box(-np.inf, np.inf, (2,), np.float32)
            self.single_observation_space = spaces.Dict({"cart": half, "pole": half})

        def reset(self, **options):
            seen, info = super().reset(**options)
            return {"cart": seen[:, :2], "pole": seen[:, 2:]}, info

        def step(self, action):
            seen, *told = super().step(action)
            return ({"cart": seen[:, :2], "pole": seen[:, 2:]}, *told)

    envs, vector = poles(kind=Both)
    population = ev.Population(
        "DQN", envs.single_observation_space, envs.single_action_space, 2, device="cpu"
    )
    one = envs.step(population.act(envs.reset()))
    assert one.next_observation["cart"].data_ptr() == vector.given["observation"].data_ptr()
    assert map_leaves(lambda leaf: tuple(leaf.shape), one.observation) == {
        "cart": (2, 3, 2),
        "pole": (2, 3, 2),
    }


@pytest.mark.cuda
@pytest.mark.parametrize("algorithm", ["DQN", "PPO"])
@pytest.mark.parametrize("mode", ["next_step", "same_step", "disabled"])
def test_on_cuda_nothing_leaves_the_device(algorithm, mode):
    exp = ev.Experiment(
        algorithm=algorithm, vector=lambda n, seed: TorchCartPole(n, mode, 50, "cuda"), population=2, num_envs=4,
        steps_per_generation=200, network=[16], seed=1, device="cuda",
    )  # fmt: skip
    exp.run(generations=2)
    envs, _ = poles(mode=mode, device="cuda")
    one = envs.step(exp.population.act(envs.reset()))
    assert all(getattr(one, name).is_cuda for name in FIELDS)
    exp.close()
