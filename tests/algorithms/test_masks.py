"""Masks: what is forbidden is never played, and what is learned is what may be done. Values are known by hand."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.core.masks import masked
from tests.masked import Permitting, permitted

SEVERAL = spaces.MultiDiscrete([2, 3], start=[1, -1])
CASES = {
    "DQN": ("DQN", None), "DQN held": (ev.DQN(), None), "plain DQN": (ev.DQN(double=False, spread=0.5), None),
    "DQN MultiDiscrete": ("DQN", SEVERAL), "PPO": ("PPO", None), "PPO MultiDiscrete": ("PPO", SEVERAL),
    "PPO MultiBinary": ("PPO", spaces.MultiBinary(4)), "PPO combined": (ev.PPO(factored=False), SEVERAL),
    "PPO Tuple": ("PPO", spaces.Tuple([spaces.Discrete(2, start=-1), spaces.MultiBinary(2)])),
}  # fmt: skip


class Parted(Permitting):
    """The same with actions of several parts."""

    def __init__(self, parts):
        from evolab.core.composite_actions import joined

        super().__init__(joined(parts))
        self.action_space = parts

    def step(self, action):
        assert self.action_space.contains(action)
        flat = np.array([action[0] + 1, *action[1]])
        whole, self.action_space = self.action_space, spaces.MultiDiscrete([2, 2, 2])
        try:
            return super().step(flat)
        finally:
            self.action_space = whole


@pytest.mark.parametrize("case", CASES)
def test_what_is_forbidden_is_never_played(case):
    """The environment raises at a forbidden action, in random play, exploration, evaluation and rollouts."""
    algorithm, space = CASES[case]
    make = partial(Parted if isinstance(space, spaces.Tuple) else Permitting, space)
    on_policy = "PPO" in case
    exp = ev.Experiment(
        make, algorithm, population=3, num_envs=3, seed=0, device="cpu", network=[8], steps_per_generation=60,
        buffer=10 if on_policy else None, on_fault="raise", eval_episodes=2,
        hyperparameters={"batch_size": 8} | ({"persistence": 6.0, "n_step": 3} if "held" in case else {}),
        search_space={},
    )  # fmt: skip
    if not on_policy:
        exp.fill(60)
    exp.run(generations=3)
    assert exp.rollout(episodes=2).returns == [5, 5]
    assert exp.best.evaluate(make, 3).mean == 5
    assert exp.history.fitness["fitness"].eq(5).all()
    if not on_policy:
        exp.fill(60)
    exp.close()


TAXI = next(name for name in ("Taxi-v4", "Taxi-v3") if name in gymnasium.registry)


class Noted(gymnasium.Wrapper):
    """Notes whether actions were permitted by the mask of Gymnasium's own environment."""

    played: ClassVar[list[int]] = []

    def reset(self, **options):
        observation, info = self.env.reset(**options)
        self.mask = info["action_mask"]
        return observation, info

    def step(self, action):
        self.played.append(int(self.mask[action]))
        found = self.env.step(action)
        self.mask = found[4]["action_mask"]
        return found


@pytest.mark.parametrize("algorithm", ["DQN", "PPO"])
def test_in_gymnasiums_taxi_nothing_forbidden_is_played(algorithm):
    Noted.played.clear()
    exp = ev.Experiment(
        lambda: Noted(gymnasium.make(TAXI)), algorithm, population=2, num_envs=4, seed=1, device="cpu", network=[16],
        steps_per_generation=100, eval_episodes=1, buffer=50 if algorithm == "PPO" else None,
    )  # fmt: skip
    exp.run(generations=2)
    assert len(exp.rollout(episodes=1).returns) == 1
    assert len(Noted.played) >= 400
    assert all(Noted.played)
    exp.close()


def test_random_play_that_is_held_lets_go_of_what_is_forbidden(monkeypatch):
    """Where returns stand still half of the steps are random, in stretches."""
    exp = ev.Experiment(
        Permitting, "DQN", population=2, num_envs=4, seed=0, device="cpu", network=[8], steps_per_generation=80,
        hyperparameters={"batch_size": 8, "persistence": 8.0}, on_fault="raise", selection="Truncation",
    )  # fmt: skip
    strayed = []
    from evolab.training.random_play import RandomPlay

    real = RandomPlay.stray
    monkeypatch.setattr(RandomPlay, "stray", lambda *a: strayed.append(1) or real(*a))
    exp.run(generations=4)
    assert strayed
    exp.close()


def test_an_agent_that_has_diverged_plays_nothing_forbidden():
    for algorithm in ("DQN", "PPO"):
        with ev.envs.make(Permitting, 2, 4, seed=0, on_fault="raise") as envs:
            population = ev.Population(algorithm, envs.single_observation_space, envs.single_action_space, 2,
                                       network=[8], seed=0, device="cpu")  # fmt: skip
            next(iter(population.table.values())).fill_(float("nan"))
            seen = envs.reset()
            for explore in (True, False) * 10:
                seen = envs.step(
                    population.act(seen, explore, action_mask=envs.action_mask)
                ).reset_observation


# Exact values ---------------------------------------------------------------------------------------


class Tempting(gymnasium.Env):
    """Half of the episodes begin at A, go to B and choose there; the others begin at C, which looks like B.

    A permits action 0 alone. B permits 0 and 1, which earn 1 and 0. C permits 2, which earns 10. So what B looks
    like is worth 10 by action 2, which B forbids; A is worth the discount times 1.
    """

    observation_space = spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(3)
    MASKS: ClassVar = {"A": [1, 0, 0], "B": [1, 1, 0], "C": [0, 0, 1], "end": [0, 0, 0]}

    def answer(self):
        shown = np.float32([1, 0] if self.at == "A" else [0, 1])
        return shown, {"action_mask": np.array(self.MASKS[self.at], np.int8)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = "AC"[self.np_random.integers(2)]
        return self.answer()

    def step(self, action):
        assert self.MASKS[self.at][action], f"{action} at {self.at}"
        reward = {"A": 0.0, "B": 1.0 - action, "C": 10.0}[self.at]
        self.at = "B" if self.at == "A" else "end"
        shown, info = self.answer()
        return shown, reward, self.at == "end", False, info


@pytest.mark.parametrize("double", [True, False])
def test_a_target_is_the_best_value_of_what_the_successor_permits(double):
    with ev.envs.make(Tempting, 2, 8, seed=0, on_fault="raise") as envs:
        values = {"lr": 0.01, "tau": 0.1, "batch_size": 64, "epsilon_start": 0.5, "epsilon_end": 0.5}
        population = ev.Population(ev.DQN(double=double), envs.single_observation_space, envs.single_action_space, 2,
                                   network=[16], hyperparameters=values, search_space={}, seed=0, device="cpu")  # fmt: skip
        population.table.hyper["discount"].copy_(torch.tensor([0.9, 0.5]))
        buffer, seen = ev.ReplayBuffer(2_000), envs.reset()
        for _ in range(300):
            one = envs.step(population.act(seen, action_mask=envs.action_mask))
            buffer.add(one)
            if len(buffer) > 64:
                population.learn(buffer, updates=2)
            seen = one.reset_observation
    looks = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]] * 2)
    with torch.no_grad():
        q = population.groups[0].network("q")(looks)
    assert q[:, 1].flatten().tolist() == pytest.approx([1, 0, 10] * 2, abs=0.15)
    assert q[:, 0, 0].tolist() == pytest.approx([0.9, 0.5], abs=0.1), "and not 9 and 5"
    assert (
        population.act(looks, explore=False).tolist() == [[population.act(looks, False)[0, 0].item(), 2]] * 2
    )
    masks = torch.tensor([[Tempting.MASKS["A"], Tempting.MASKS["B"]]] * 2)
    assert population.act(looks, False, action_mask=masks).tolist() == [[0, 0]] * 2


class Choice(gymnasium.Env):
    """Of two choices at once, of 2 and 3, the second permits two; each earns by itself, most where it is forbidden."""

    observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = spaces.MultiDiscrete([2, 3])
    MASK = np.array([1, 1, 1, 1, 0], np.int8)
    EARNED = ((1.0, 3.0), (2.0, 0.5, 50.0))

    def action_mask(self):
        return self.MASK

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(self, action):
        assert action[1] != 2, action
        return (
            np.ones(1, np.float32),
            sum(e[a] for e, a in zip(self.EARNED, action, strict=True)),
            True,
            False,
            {},
        )


@pytest.mark.parametrize("algorithm", ["PPO", ev.PPO(factored=False), "DQN"], ids=repr)
def test_the_best_of_what_is_permitted_is_learned_to_its_value(algorithm):
    name = algorithm if isinstance(algorithm, str) else algorithm.name
    own = {"lr": 0.01, "batch_size": 64, "tau": 0.1}
    if name == "PPO":
        own = {"lr": 0.02, "batch_size": 64, "entropy_coefficient": 0.0, "max_grad_norm": 50.0}
    exp = ev.Experiment(
        Choice, algorithm, population=1, num_envs=8, network=[16], seed=1, device="cpu", evolving=False, draw=False,
        hyperparameters=own, search_space={}, steps_per_generation=3_000, buffer=16 if name == "PPO" else None,
        on_fault="raise",
    )  # fmt: skip
    exp.step()
    agent, seen = exp.best, np.ones(1, np.float32)
    assert agent.act(seen, action_mask=Choice.MASK).tolist() == [1, 0]
    assert agent.evaluate(Choice, 2).mean == 5
    group = exp.population.groups[0]
    with torch.no_grad():
        value = group.network("critic" if name == "PPO" else "q")(torch.ones(1, 1, 1))
    known = value if name == "PPO" else value.view(2, 3)[1, 0]
    assert float(known) == pytest.approx(5, abs=0.3)
    exp.close()


def test_actions_that_were_forbidden_are_learned_nothing_about():
    """PPO's likelihoods are those of the policy that acted: the masked one."""
    population = ev.Population("PPO", spaces.Box(0, 1, (5,)), SEVERAL, 1, network=[8], seed=2, device="cpu",
                               dtype=torch.float64)  # fmt: skip
    rng, algorithm, group = np.random.default_rng(0), population.algorithm, population.groups[0]
    seen = torch.as_tensor(rng.random((1, 40, 5)))
    mask = torch.ones(1, 40, 5, dtype=torch.bool)
    mask[..., 0] = mask[..., 3] = False
    action = torch.as_tensor(np.stack([np.ones(40, int), 2 * rng.integers(0, 2, 40)], -1))[None]
    batch = SimpleNamespace(observation=seen, action=action, action_mask=mask, remembered=None)
    with torch.no_grad():
        log_prob, entropy = algorithm.likelihood(group, group.network("actor"), None, batch)
        _, second = group.network("actor")(seen).split([2, 3], -1)
    pair = torch.distributions.Categorical(
        logits=second[..., [0, 2]]
    )  # of the first choice one option is left
    assert torch.allclose(log_prob, pair.log_prob(action[..., 1] // 2))
    assert torch.allclose(entropy, pair.entropy())


def test_minibatches_have_the_masks_of_their_steps():
    """Before its first update the policy is the one that acted: no probability has changed."""
    buffer, values = ev.RolloutBuffer(6), {"epochs": 1, "batch_size": 100}
    play(buffer, 6)
    population = ev.Population("PPO", spaces.Box(0, 1, (4,)), spaces.Discrete(4, start=2), 2, network=[8], seed=2,
                               device="cpu", hyperparameters=values, search_space={}, dtype=torch.float64)  # fmt: skip
    population.table["actor"].mul_(20)
    population.table.count_steps(18)  # as if it had played them
    losses = population.learn(buffer)
    assert losses["divergence"].tolist() == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize(
    "algorithm", [ev.DQN(), ev.DQN(double=False), ev.PPO(), ev.PPO(factored=False)], ids=repr
)
@pytest.mark.parametrize("space", [spaces.Discrete(5), SEVERAL], ids=["Discrete", "MultiDiscrete"])
def test_an_update_with_masks_never_waits_for_the_device(algorithm, space):
    def zeros(*shape, dtype=torch.float32):
        return torch.zeros(2, 9, *shape, dtype=dtype, device="meta")

    seen, mask = spaces.Box(-1, 1, (4,)), zeros(5, dtype=torch.bool)
    population = ev.Population(algorithm, seen, space, 2, network=[8], seed=0, device="meta")
    losses = population.learn(SimpleNamespace(
        observation=zeros(4), action=zeros(*space.shape, dtype=torch.int64), reward=zeros(), next_observation=zeros(4),
        terminated=zeros(dtype=torch.bool), action_mask=mask, next_action_mask=mask,
    ))  # fmt: skip
    assert all(loss.shape == (2,) for loss in losses.values())


# Masks in experience --------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("ahead", [1, 3])
def test_a_sample_has_the_mask_of_its_own_successor(shared, ahead):
    buffer = ev.ReplayBuffer(70, shared=shared)  # is written round
    play(buffer, 40)
    from evolab.core.sampling import Lookahead, Sampling

    far = Sampling(Lookahead(torch.full((2,), ahead), torch.full((2,), 0.9), ahead)) if ahead > 1 else None
    batch = buffer.samples(slice(0, 2), 50, 3, torch.Generator().manual_seed(0), far)
    assert batch.next_action_mask.dtype == torch.bool
    assert batch.next_action_mask.shape == (3, 2, 50, 4)
    assert (batch.next_action_mask.numpy() == permitted(batch.next_observation)).all()
    assert batch.action_mask is None, "nobody asks for it"
    one = next(batch.apart())
    assert (one.cut(slice(0, 1), 7).next_action_mask.numpy() == permitted(one.next_observation[:1, :7])).all()


def play(buffer, steps, how="info"):
    with ev.envs.make(partial(Permitting, how=how), 2, 3, seed=4) as envs:
        seen, stream = envs.reset(), np.random.default_rng(0)
        population = ev.Population("DQN", envs.single_observation_space, envs.single_action_space, 2, network=[8],
                                   seed=0, device="cpu")  # fmt: skip
        for _ in range(steps):
            shown = permitted(seen)  # also where the environment does not say it
            one = envs.step(population.random_actions(3, stream, shown))
            buffer.add(one)
            seen = one.reset_observation


def test_a_mask_takes_a_byte_for_an_action_and_none_where_there_is_none():
    masks, none = ev.ReplayBuffer(500), ev.ReplayBuffer(500)
    play(masks, 5), play(none, 5, how="none")
    assert "next_action_mask" not in none.fields
    assert masks.row_bytes - none.row_bytes == 4


def test_masks_that_come_later_leave_what_was_stored_before_permitted():
    buffer = ev.ReplayBuffer(500)
    play(buffer, 5, how="none")
    play(buffer, 5)
    play(buffer, 5, how="none")
    told = buffer.fields["next_action_mask"][: len(buffer)]
    shown = permitted(buffer.fields["next_observation"][: len(buffer)])
    assert told[:30].all()
    assert told[60:].all()
    assert (told[30:60].numpy() == shown[30:60]).all()
    assert not told[30:60].all()


def test_steps_of_a_rollout_have_their_own_masks_and_all_or_none():
    buffer = ev.RolloutBuffer(5)
    play(buffer, 5)
    steps = buffer.rollout(slice(0, 2))
    assert (steps.action_mask.numpy() == permitted(steps.observation)).all()
    buffer.consumed()
    with pytest.raises(ValueError, match="some steps have an action_mask and others have none"):
        play(buffer, 1, how="none")


@pytest.mark.parametrize("algorithm", ["DQN", "PPO"])
def test_a_run_goes_on_from_disk_as_if_it_had_not_stopped(algorithm, tmp_path):
    def run():
        return ev.Experiment(
            Permitting, algorithm, population=2, num_envs=2, seed=3, device="cpu", network=[8],
            steps_per_generation=24, hyperparameters={"batch_size": 8}, buffer=6 if algorithm == "PPO" else None,
        )  # fmt: skip

    whole, part = run(), run()
    whole.run(generations=3)
    part.run(generations=2)
    part.save(tmp_path / "run")
    part.close()
    again = ev.Experiment.load(tmp_path / "run", environment=Permitting)
    again.run(generations=1)
    for name, value in whole.population.table.items():
        assert torch.equal(value, again.population.table[name]), name
    if algorithm == "DQN":
        stored = (exp.buffer.fields["next_action_mask"][: len(exp.buffer)] for exp in (whole, again))
        assert torch.equal(*stored)
    whole.close(), again.close()


# What a caller asks ---------------------------------------------------------------------------------


def agent_of(algorithm="DQN", space=None):
    space = spaces.Discrete(4, start=2) if space is None else space
    size = 4 if isinstance(space, spaces.Discrete) else 5
    return ev.Population(algorithm, spaces.Box(0, 1, (size,)), space, 1, network=[8], seed=5, device="cpu")[0]


@pytest.mark.parametrize("explore", [True, False])
@pytest.mark.parametrize("algorithm", ["DQN", "PPO"])
def test_an_agent_acts_within_one_mask_or_many(algorithm, explore):
    agent, seen = agent_of(algorithm), np.random.default_rng(0).random((60, 4), dtype=np.float32)
    assert agent.act(seen[0], explore, action_mask=np.int8([0, 0, 1, 0])) == 4
    masks = np.eye(4, dtype=bool)[np.arange(60) % 4]
    assert agent.act(seen, explore, action_mask=masks).tolist() == (2 + np.arange(60) % 4).tolist()
    assert (
        agent.act(torch.as_tensor(seen), explore, action_mask=torch.as_tensor(masks)).tolist()
        == (2 + np.arange(60) % 4).tolist()
    )
    assert (
        agent.act(seen, action_mask=np.ones((60, 4))[:, :4].astype(int)).tolist() == agent.act(seen).tolist()
    )


@pytest.mark.parametrize(("mask", "message"), [
    (np.ones(3, bool), r"action_mask has shape \(3,\) and dtype bool; Discrete\(4, start=2\) needs 4 entries"),
    (np.ones(4), r"needs 4 entries of bool or int8, 1 for what is permitted"),
    (np.ones((2, 4), bool), r"action_mask has shape \(2, 4\); \(4,\) is expected"),
    (np.zeros(4, bool), r"action_mask forbids every action in 1 of 1 rows"),
])  # fmt: skip
def test_a_mask_that_does_not_fit_is_named(mask, message):
    with pytest.raises(ValueError, match=message):
        agent_of().act(np.zeros(4, np.float32), action_mask=mask)
    with pytest.raises(ValueError, match="forbids every action"):
        agent_of("PPO", SEVERAL).act(np.zeros(5, np.float32), action_mask=[1, 1, 0, 0, 0])


def test_an_algorithm_of_ones_own_that_knows_no_masks_goes_on_as_before():
    class Plain(ev.DQN):
        def act(self, agents, observation):
            return agents.network("q")(observation).argmax(-1)

        def explore(self, agents, action, memory, generator):
            return action

    agent = agent_of(Plain())
    assert agent.act(np.zeros(4, np.float32), explore=True) in range(2, 6)


@pytest.mark.parametrize("algorithm", ["DQN", "PPO", ev.PPO(factored=False)], ids=repr)
@pytest.mark.parametrize("space", [None, SEVERAL], ids=["Discrete", "MultiDiscrete"])
def test_an_exported_program_takes_masks_as_a_further_input(algorithm, space, tmp_path):
    agent = agent_of(algorithm, space)
    size, rng = (4 if space is None else 5), np.random.default_rng(1)
    seen, masks = rng.random((30, size), dtype=np.float32), rng.integers(0, 2, (30, size), dtype=np.int8)
    masks[:, [0, 2]] = 1
    program = torch.export.load(agent.export(tmp_path / "agent.pt2", action_mask=True)).module()
    found = program(torch.as_tensor(seen), torch.as_tensor(masks))
    assert found.tolist() == agent.act(seen, action_mask=masks).tolist()
    assert found.tolist() != agent.act(seen).tolist()


def test_so_does_an_onnx_file(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    agent, rng = agent_of("PPO", SEVERAL), np.random.default_rng(1)
    seen, masks = rng.random((30, 5), dtype=np.float32), rng.integers(0, 2, (30, 5), dtype=np.int8)
    masks[:, [0, 2]] = 1
    session = runtime.InferenceSession(agent.export(tmp_path / "agent.onnx", action_mask=True).read_bytes())
    (found,) = session.run(["action"], {"observation": seen, "action_mask": masks})
    assert found.tolist() == agent.act(seen, action_mask=masks).tolist()
    with pytest.raises(ValueError, match=r"actions of Box.* have no masks"):
        agent_of("SAC", spaces.Box(-1, 1, (2,))).export(tmp_path / "other.onnx", action_mask=True)


def test_values_that_are_masked_stay_finite_in_their_gradient():
    values = torch.tensor([[1.0, float("-inf"), 3.0]], requires_grad=True)
    found = masked(values, torch.tensor([[True, True, False]]))
    found[0, 0].backward()
    assert values.grad.tolist() == [[1, 0, 0]]
    assert found.argmin().item() == 2, "even minus infinity is above what is forbidden"
