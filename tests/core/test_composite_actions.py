"""Actions with parts: values worked out by hand and by Gymnasium's own spaces."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.algorithms.clipped_gaussian import clipped_gaussian
from evolab.core.actions import actions_of
from evolab.core.composite_actions import apart, joined, together
from tests.any_env import Env

CPU = torch.device("cpu")
CHOICES = spaces.Dict(
    OrderedDict(
        turn=spaces.Discrete(3, start=-1),
        arm=spaces.Tuple([spaces.MultiBinary(2), spaces.MultiDiscrete([2, 4], start=[0, 1])]),
        gear=spaces.Box(0, 2, (1,), np.uint8),
    )
)
MOVES = spaces.Tuple(
    [
        spaces.Box(-2.0, 2.0, (2, 1)),
        spaces.Dict({"n": spaces.Box(0, 3, (), np.int16), "on": spaces.Box(0, 1, (1,), np.bool_)}),
    ]
)


def test_choices_are_joined_in_the_order_of_the_space():
    space = joined(CHOICES)
    assert isinstance(space, spaces.MultiDiscrete)
    assert space.nvec.tolist() == [3, 2, 2, 2, 4, 3]
    assert space.start.tolist() == [-1, 0, 0, 0, 1, 0]
    one = apart(space, np.array([-1, 1, 0, 1, 4, 2]))
    assert list(one) == ["turn", "arm", "gear"]
    assert (one["turn"], one["arm"][0].tolist(), one["arm"][1].tolist(), one["gear"].tolist()) == (
        -1, [1, 0], [1, 4], [2],
    )  # fmt: skip
    assert one["gear"].dtype == np.uint8
    assert CHOICES.contains(one)
    disordered = {"gear": [2], "arm": ([1, 0], [1, 4]), "turn": -1}
    assert together(space, disordered).tolist() == [-1, 1, 0, 1, 4, 2]


def test_boxes_are_joined_and_whole_numbers_stay_whole():
    space = joined(MOVES)
    assert space.low.tolist() == [-2, -2, 0, 0]
    assert space.high.tolist() == [2, 2, 3, 1]
    actions = actions_of(space, CPU, torch.float64)
    # Four values of `n` share [-1, 1]: -1 .. -0.5, -0.5 .. 0, 0 .. 0.5, 0.5 .. 1; two of `on`: below and above 0.
    unit = torch.tensor(
        [[-1.0, 0.5, -0.9, -0.1], [0.25, 0.0, 0.1, 0.1], [1.0, 1.0, 0.9, 1.0]], dtype=torch.float64
    )
    found = actions.to_environment(unit)
    assert found.tolist() == [[-2, 1, 0, 0], [0.5, 0, 2, 1], [2, 2, 3, 1]]
    assert actions.to_unit(found, 1)[:, :2].tolist() == unit[:, :2].tolist()
    assert actions.to_unit(found, 1)[:, 2].tolist() == [-0.75, 0.25, 0.75], "the middle of each share"
    assert actions.grain.tolist() == [0, 0, 0.25, 0.5]
    parts = apart(space, actions.to_numpy(found))
    assert [part.shape for part in (parts[0], parts[1]["n"], parts[1]["on"])] == [(3, 2, 1), (3,), (3, 1)]
    assert parts[1]["n"].dtype == np.int16
    assert parts[1]["on"].dtype == np.bool_
    assert MOVES.contains(apart(space, actions.to_numpy(found)[0]))
    drawn = actions.random((4000,), np.random.default_rng(0))
    values, counts = np.unique(drawn[:, 2], return_counts=True)
    assert values.tolist() == [0, 1, 2, 3]
    assert np.all(np.abs(counts - 1000) < 120)  # 4 standard deviations: sqrt(4000 * 0.25 * 0.75) = 27
    assert len(np.unique(drawn[:, 0])) == 4000


def test_ppo_knows_the_likelihood_of_numbers_whole_and_real():
    """By torch's own distributions: a density for a real number, the mass of its share for a whole one."""
    mean = torch.tensor([[[0.2, -0.1, 0.4]]], dtype=torch.float64, requires_grad=True)
    spread = torch.zeros(1, 1, 3, dtype=torch.float64) - 1.0
    action = torch.tensor([[[0.3, -0.25, 1.0]]], dtype=torch.float64)
    grain = torch.tensor([0.0, 0.25, 0.0], dtype=torch.float64)  # four values in the middle
    found, _ = clipped_gaussian(mean, spread, action, grain)
    normal = torch.distributions.Normal(mean.detach()[0, 0], spread[0, 0].exp())
    mass = normal.cdf(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    below = normal.cdf(torch.tensor([0.0, -0.5, 1.0], dtype=torch.float64))
    expected = normal.log_prob(action[0, 0])[0] + (mass[1] - below[1]).log() + (1 - mass[2]).log()
    assert float(found.detach()) == pytest.approx(float(expected), rel=1e-9)
    found.sum().backward()
    assert torch.isfinite(mean.grad).all()


@pytest.mark.parametrize("space", [CHOICES, MOVES], ids=["choices", "moves"])
def test_gymnasiums_own_samples_come_back_as_they_were(space):
    space.seed(1)
    samples = [space.sample() for _ in range(20)]
    flat = joined(space)
    for one in samples:
        row = together(flat, one)
        assert flat.contains(row.astype(flat.dtype))
        again = apart(flat, row)
        assert space.contains(again)
        assert together(flat, again).tolist() == row.tolist()


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(-1, 1, (2,))}), "real numbers beside choices"),
        (spaces.Dict({}), "has no parts: nothing can be chosen"),
        (
            spaces.Tuple([spaces.Discrete(2), spaces.Dict({"t": spaces.Text(4)})]),
            r"action\[1\]\['t'\] is Text",
        ),
        (spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 10**6, (1,), np.int32)]), "too many to choose from"),
    ],
)
def test_what_cannot_be_joined_is_refused_before_anything_is_made(space, message):
    with pytest.raises(TypeError, match=message):
        ev.Experiment(partial(Env, act=space), "PPO")


def test_an_algorithm_that_does_not_take_the_parts_says_so():
    with pytest.raises(TypeError, match="TD3 needs Box actions; these are Dict"):
        ev.Experiment(partial(Env, act=CHOICES), "TD3")
    with pytest.raises(TypeError, match="DQN needs Discrete or MultiDiscrete actions; these are Tuple"):
        ev.Experiment(partial(Env, act=MOVES), "DQN")
    many = spaces.Tuple([spaces.MultiDiscrete([16, 16]), spaces.MultiDiscrete([16, 16])])
    with pytest.raises(ValueError, match="has 65536 combinations; at most 4096"):
        ev.Experiment(partial(Env, act=many), "DQN")


class Asking(Env):
    """Pays for one combination, or for how near the numbers are; refuses what is not in its space."""

    def step(self, action):
        assert self.action_space.contains(action), action
        return super().step(action)


def paid(action, time):
    return float(action["turn"] == 1) + float(action["gear"][0] == 2)


def near(action, time):
    return float(action[0][0, 0]) + float(action[1]["n"]) + float(action[1]["on"][0])


@pytest.mark.parametrize(
    ("algorithm", "space", "reward", "best"), [("DQN", CHOICES, paid, 14.0), ("TD3", MOVES, near, 42.0)]
)
def test_the_best_action_of_parts_is_learned(algorithm, space, reward, best):
    make = partial(Asking, act=space, reward=reward)
    exp = ev.Experiment(make, algorithm, population=2, num_envs=4, steps_per_generation=1200, seed=1, network=[32],
                        search_space={}, hyperparameters={"batch_size": 32, "discount": 0.0}, on_fault="raise",
                        device="cpu", evolving=False)  # fmt: skip
    exp.fill(500)
    exp.step()
    assert exp.best.fitness > 0.9 * best
    exp.close()


def test_agents_rollouts_and_files_answer_in_parts(tmp_path):
    make = partial(Asking, act=MOVES)
    exp = ev.Experiment(make, "TD3", population=2, num_envs=2, steps_per_generation=20, seed=0, network=[8],
                        hyperparameters={"batch_size": 8}, on_fault="raise")  # fmt: skip
    exp.fill(20)
    exp.step()
    seen = np.zeros((4, 3), np.float32)
    action = exp.best.act(seen)
    assert (action[0].shape, action[1]["n"].shape) == ((4, 2, 1), (4,))
    assert MOVES.contains(exp.best.act(seen[0]))
    assert MOVES.contains(exp.best.act(seen[0], explore=True))
    assert exp.rollout().returns == [7.0]
    assert exp.population.act(seen.reshape(2, 2, 3)).shape == (2, 2, 4), "a population's are flat, [P, E, A]"
    exp.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", environment=make)
    assert MOVES.contains(again.best.act(seen[0]))
    exp.best.save(tmp_path / "agent")
    assert ev.Agent.load(tmp_path / "agent").act(seen[0])[1]["n"] == exp.best.act(seen[0])[1]["n"]
    flat = exp.best.module()(torch.from_numpy(seen)).detach().numpy()
    np.testing.assert_allclose(flat, together(joined(MOVES), action), atol=1e-5)


@pytest.mark.parametrize("space", [CHOICES, MOVES], ids=["choices", "moves"])
def test_what_is_recorded_has_parts_and_is_learned_from(space, tmp_path):
    make = partial(Asking, act=space)
    data = ev.collect(make, steps=60, num_envs=2, path=tmp_path / "data.h5")
    assert data.action_space == space
    assert ev.Dataset(tmp_path / "data.h5", action_space=space).report().rows == 60
    flat = joined(space)
    rows = ev.Dataset(tmp_path / "data.h5", action_space=space).transitions(np.arange(40)).action
    assert all(space.contains(apart(flat, row.astype(flat.dtype))) for row in rows)
    if space is CHOICES:  # without a space, real numbers of whole numbers cannot be told from choices
        assert ev.Dataset(tmp_path / "data.h5").transitions(np.arange(40)).action.shape == rows.shape
    algorithm = "CQN" if space is CHOICES else "TD3BC"
    exp = ev.Experiment(make, algorithm, population=2, num_envs=2, steps_per_generation=5, network=[8], seed=0,
                        hyperparameters={"batch_size": 8})  # fmt: skip
    exp.fill(tmp_path / "data.h5")
    exp.step()
    assert space.contains(exp.best.act(np.zeros(3, np.float32)))


def test_recorded_parts_that_are_not_the_environments_are_named():
    rows = {
        "observations": np.zeros((6, 3)),
        "rewards": np.zeros(6),
        "terminals": np.array([0, 0, 1, 0, 0, 1]),
    }
    act = {
        "turn": np.zeros(6, int),
        "arm": (np.zeros((6, 2), int), np.ones((6, 2), int)),
        "gear": np.full((6, 1), 7),
    }
    with pytest.raises(
        ev.DatasetError, match=r"'actions/gear' is .* outside what the environment's actions allow"
    ):
        ev.Dataset(rows | {"actions": act}, action_space=CHOICES)
    del act["gear"]
    with pytest.raises(
        ev.DatasetError, match=r"'actions' has the parts turn, arm, but the environment's actions are"
    ):
        ev.Dataset(rows | {"actions": act}, action_space=CHOICES)


def test_vector_environments_take_their_parts():
    space = spaces.Dict({"a": spaces.Discrete(2), "b": spaces.MultiDiscrete([2, 3])})
    vector = gymnasium.vector.SyncVectorEnv([partial(Asking, act=space)] * 4)
    envs = ev.envs.make(vector, population=2, num_envs=2)
    envs.reset()
    transition = envs.step(np.array([[[1, 0, 2], [0, 1, 1]], [[1, 1, 0], [0, 0, 0]]]))
    assert transition.valid.all()
    envs.step({"a": np.ones((2, 2), int), "b": np.zeros((2, 2, 2), int)})
    envs.close()


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_environments_of_evolabs_own_take_them_too(vectorization):
    envs = ev.envs.make(partial(Asking, act=MOVES), population=1, num_envs=2, vectorization=vectorization,
                        on_fault="raise")  # fmt: skip
    envs.reset()
    assert envs.step(np.array([[[1.5, -1.5, 3, 1], [0, 0, 2.4, 0]]])).action.tolist() == [
        [[1.5, -1.5, 3, 1], [0, 0, 2, 0]]
    ]
    envs.close()
