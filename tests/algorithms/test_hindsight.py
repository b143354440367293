"""Agents that learn from goals which were reached: in experiments, evolved, saved, and where nothing else learns."""

from __future__ import annotations

from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.core.sampling import Sampling
from tests.goals import BitFlip

SHARES = ev.Float(0.1, 0.9, log=False)


class Nudge(BitFlip):
    """Bits that are flipped by the largest of N numbers, for continuous actions."""

    def __init__(self, bits=3):
        super().__init__(bits)
        self.action_space = spaces.Box(-1, 1, (bits,), np.float32)

    def step(self, action):
        return super().step(int(np.argmax(action)))


def experiment(algorithm="DQN", environment=None, **options):
    discrete = "DQN" in algorithm
    told = {
        "population": 3, "num_envs": 2, "network": [16], "steps_per_generation": 40, "seed": 1, "device": "cpu",
        "hyperparameters": {"batch_size": 16}, "progress": False, **options,
    }  # fmt: skip
    return ev.Experiment(environment or (partial(BitFlip, 3) if discrete else Nudge), algorithm, **told)


@pytest.mark.parametrize("algorithm", ["DQN", "QRDQN", "DDPG", "TD3", "SAC", "TQC"])
def test_it_evolves_and_is_saved_and_resumed_bit_for_bit(algorithm, tmp_path):
    exp = experiment(
        algorithm, search_space={"hindsight": SHARES, "n_step": ev.Integer(1, 3)}, draw=True,
        mutations=ev.Mutations(none=0, architecture=0, parameters=0, activation=0, hyperparameters=1),
    )  # fmt: skip
    exp.run(generations=2)
    shares = exp.history.hyperparameters["hindsight"]
    assert shares.between(0.1, 0.9).all()
    assert shares.nunique() > 2
    exp.best.save(tmp_path / "agent")
    again = ev.Agent.load(tmp_path / "agent")
    assert again.hyperparameters["hindsight"] == exp.best.hyperparameters["hindsight"]
    exp.save(tmp_path / "run")
    resumed = ev.Experiment.load(
        tmp_path / "run",
        progress=False,
        environment=partial(BitFlip, 3) if "DQN" in algorithm else Nudge,
    )
    for one in (exp, resumed):
        one.run(generations=2)
    assert exp.history.fitness.equals(resumed.history.fitness)
    assert exp.history.hyperparameters.equals(resumed.history.hyperparameters)
    for name, tensor in exp.population.table.items():
        assert tensor.equal(resumed.population.table[name]), name


@pytest.mark.parametrize("shared", [True, False])
def test_what_overlaps_with_a_first_step_knows_the_goals_too(shared, tmp_path):
    # Learning from the steps before, while the environments take the first one of a generation or of a run that goes on.
    exp = experiment(
        hyperparameters={"batch_size": 8, "hindsight": 0.5}, overlap=True, vectorization="async",
        buffer=ev.ReplayBuffer(200, shared=shared),
    )  # fmt: skip
    exp.fill(100)
    exp.run(generations=1)
    exp.save(tmp_path)
    resumed = ev.Experiment.load(tmp_path, progress=False, environment=partial(BitFlip, 3))
    for one in (exp, resumed):
        one.run(generations=2)
    assert exp.history.fitness.equals(resumed.history.fitness)


def test_stacked_observations_have_one_goal_that_is_judged_as_it_is():
    exp = experiment(hyperparameters={"batch_size": 8, "hindsight": 0.5}, frame_stack=3)
    space = exp.population.observation_space
    assert {key: part.shape for key, part in space.items()} == {
        "achieved_goal": (3,), "desired_goal": (3,), "observation": (9,)
    }  # fmt: skip
    exp.fill(60)
    g, how = torch.Generator().manual_seed(0), Sampling(None, torch.tensor([1.0]))
    batch = exp.buffer.samples(slice(0, 1), 500, 1, g, how)
    reached = (batch.next_observation["achieved_goal"] == batch.observation["desired_goal"]).all(-1)
    assert reached.any()
    assert torch.equal(batch.reward, reached.float() - 1)
    newest = batch.next_observation["observation"][..., 6:]
    assert torch.equal(batch.next_observation["achieved_goal"], newest)


@pytest.mark.parametrize(
    ("environment", "network", "message"),
    [
        ("CartPole-v1", None, "hindsight is above 0, and CartPole-v1 has no goals"),
        (BitFlip, ev.Recurrent(16), "the network remembers the goals that were given"),
    ],
)
def test_it_is_not_set_later_either_where_it_cannot_be(environment, network, message):
    exp = experiment(environment=environment, network=network)
    with pytest.raises(ValueError, match=message):
        exp.set(exp.population.ids[0], hindsight=0.5)
    with pytest.raises(ValueError, match=message):
        exp.search_space = {"hindsight": SHARES}
    exp.set(exp.population.ids[0], hindsight=0.0)
    exp.run(generations=1)
    assert "hindsight" not in exp.search_space


def test_agents_without_it_are_told_of_as_ever_and_learn_as_ever():
    plain, off = experiment(), experiment(hyperparameters={"batch_size": 16, "hindsight": 0.0})
    for one in (plain, off):
        one.run(generations=1)
    assert "hindsight" not in plain.history.hyperparameters
    assert "hindsight" not in plain.population.describe()
    assert plain.history.fitness.equals(off.history.fitness)
    assert "hindsight" in experiment(hyperparameters={"hindsight": 0.5}).population.describe()


def test_a_schedule_with_it_is_replayed():
    exp = experiment(hyperparameters={"batch_size": 16, "hindsight": 0.8})
    exp.run(generations=2)
    assert set(exp.history.schedule()["hindsight"]) == {0.8}
    assert exp.replay(seed=2).best.hyperparameters["hindsight"] == 0.8
    plain = experiment()
    plain.run(generations=1)
    assert plain.replay(seed=2).best.hyperparameters["hindsight"] == 0.0


def test_other_algorithms_do_not_know_it():
    with pytest.raises(ValueError, match="Unknown hyperparameter of PPO 'hindsight'"):
        experiment("PPO", hyperparameters={"hindsight": 0.8})
    for name in ("CQN", "TD3BC"):
        assert "hindsight" not in set(ev.search_space(name)["name"])


def test_the_other_names_are_understood():
    with pytest.raises(ValueError, match=r"hindsight, a share of all samples: 0\.8 for 4 of 5"):
        experiment(hyperparameters={"n_sampled_goal": 4})
    with pytest.raises(ValueError, match=r"'hindsight': 0\.8"):
        experiment(replay_buffer_class="HerReplayBuffer")
    with pytest.raises(ValueError, match="hindsight"):
        experiment(hyperparameters={"hindsight": 4})


def test_a_loop_of_one_s_own_needs_nothing_else():
    with ev.envs.make(partial(BitFlip, 3), 2, 2, seed=0) as envs:
        population = ev.Population(
            "DQN", envs.single_observation_space, envs.single_action_space, 2, network=ev.MLP([16]), seed=0,
            hyperparameters={"batch_size": 8, "hindsight": 0.8}, search_space={}, device="cpu",
        )  # fmt: skip
        buffer, observation = ev.ReplayBuffer(1_000), envs.reset()
        for _ in range(30):
            transition = envs.step(population.act(observation))
            buffer.add(transition)
            losses = population.learn(buffer) if len(buffer) >= 8 else {}
            observation = transition.reset_observation
    assert bool(losses["q"].isfinite().all())


def test_values_of_all_goals_are_exact():
    """A step costs 1 and the last one nothing: where d bits are wrong, the best is worth -(1 + ... + discount^(d - 2))."""
    discount = 0.5
    with ev.envs.make(partial(BitFlip, 3), 1, 8, seed=0) as envs:
        population = ev.Population(
            "DQN", envs.single_observation_space, envs.single_action_space, 1, seed=0, search_space={}, device="cpu",
            hyperparameters={"batch_size": 64, "hindsight": 0.8, "discount": discount, "tau": 0.1, "lr": 3e-3},
        )  # fmt: skip
        buffer, stream = ev.ReplayBuffer(4_000), np.random.default_rng(0)
        envs.reset()
        for _ in range(250):
            buffer.add(envs.step(population.random_actions(8, stream)))
    population.learn(buffer, updates=1_000)
    bits = np.array([[number >> bit & 1 for bit in range(3)] for number in range(8)], "f")
    best = [0.0, *(-sum(discount**step for step in range(wrong - 1)) for wrong in (1, 2, 3))]
    for goal in bits:
        seen = torch.as_tensor(bits)[None]
        wanted = {"desired_goal": torch.as_tensor(goal).expand(1, 8, 3)}
        with torch.no_grad():
            found = population.groups[0].network("q")({"observation": seen, "achieved_goal": seen} | wanted)[
                0
            ]
        for state, own in zip(bits, found.tolist(), strict=True):
            if (state == goal).all():
                continue  # over
            after = [
                int((np.where(np.arange(3) == flip, 1 - state, state) != goal).sum()) for flip in range(3)
            ]
            exact = [0.0 if wrong == 0 else -1 + discount * best[wrong] for wrong in after]
            assert own == pytest.approx(exact, abs=0.25), (state, goal)


@pytest.mark.parametrize("share", [0.8, 0.0])
def test_bits_are_flipped_where_nothing_was_ever_earned(share):
    """Of 2^9 goals random play meets almost none in 9 steps: without hindsight values say nothing of goals."""
    exp = ev.Experiment(
        partial(BitFlip, 9), "DQN", population=2, num_envs=4, network=[64], seed=5, device="cpu", evolving=False,
        hyperparameters={"hindsight": share, "discount": 0.98, "epsilon_steps": 1_500}, draw=False, progress=False,
    )  # fmt: skip
    exp.run(max_steps=6_000)
    earned = exp.evaluate(episodes=50, seed=0).mean  # -9 where no goal is met, -3.5 where all are met at once
    assert earned > -5 if share else earned < -8


def test_fetch_reaches_by_it():
    """The shapes and methods of gymnasium-robotics' own environments."""
    pytest.importorskip("gymnasium_robotics")
    import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    exp = ev.Experiment(
        "FetchReach-v4", "SAC", population=2, num_envs=2, network=[32], seed=1, device="cpu", progress=False,
        hyperparameters={"hindsight": 0.8, "batch_size": 64},
    )  # fmt: skip
    exp.run(max_steps=1_500)
    assert exp.history.generations
