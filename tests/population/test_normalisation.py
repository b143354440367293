"""Running normalisation is part of an agent: measured on what it learns from, moved, saved and exported with it."""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers.utils import RunningMeanStd

import evolab as ev
from evolab.core import registry
from evolab.core.experience import Transition, to_batch
from evolab.core.trees import map_leaves
from evolab.envs.probes import ObservationActionReward
from evolab.evaluation.fqe.fqe import policy
from evolab.evolution.evolve import _outputs, evolve
from evolab.experiment.engines.migration import best_of
from evolab.population.acting import values
from evolab.population.normalisation import EPSILON, MEMORY, Normaliser, taken_in, words_of
from evolab.population.warm_start import start_from
from tests.population.test_laws import scripted
from tests.small import assert_same, evolving, experiment

WIDE = spaces.Box(-np.inf, np.inf, (3,))
NESTED = spaces.Dict(
    {
        "speed": spaces.Box(-np.inf, np.inf, (2, 2)),
        "eye": spaces.Box(0, 255, (8, 8, 3), np.uint8),
        "place": spaces.Tuple((spaces.Discrete(3), spaces.Box(-9, 9, (), np.int32))),
        "bytes": spaces.Box(0, 255, (2,), np.float32),
    }
)
CENTRE, SPREAD = np.array([0.0, 1e4, 5.0]), np.array([1.0, 100.0, 1e-2])


def population(algorithm="DQN", space=WIDE, size=3, normalise="observations", **options):
    action = spaces.Box(-1, 1, (2,)) if algorithm in ("TD3", "SAC", "DDPG") else spaces.Discrete(2)
    about = {"hyperparameters": {"batch_size": 16}, "seed": 0, "device": "cpu", "network": [16]} | options
    return ev.Population(algorithm, space, action, size, normalise=normalise, **about)


def seen(stream, *lead):
    return (stream.normal(size=(*lead, 3)) * SPREAD + CENTRE).astype(np.float32)


def batch(stream, agents=3, length=16, observation=None, reward=1.0):
    return SimpleNamespace(
        observation=seen(stream, agents, length) if observation is None else observation,
        action=stream.integers(0, 2, (agents, length)),
        reward=np.full((agents, length), reward, np.float32),
        next_observation=seen(stream, agents, length) if observation is None else observation,
        terminated=np.zeros((agents, length), bool),
    )


def statistics(agents, name="observation"):
    return agents.table[f"normaliser.{name}"].numpy()


# The statistics -----------------------------------------------------------------------------------


def test_statistics_are_those_of_gymnasium_and_of_numpy():
    agents, stream = population(), np.random.default_rng(0)
    theirs, all_seen = [RunningMeanStd(shape=(3,), epsilon=0) for _ in range(3)], [[], [], []]
    for _ in range(7):
        one = batch(stream)
        agents.learn(one)
        for known, own, kept in zip(theirs, one.observation.astype(float), all_seen, strict=True):
            known.update(own)
            kept.append(own)
    for row, known, kept in zip(statistics(agents), theirs, all_seen, strict=True):
        whole = np.concatenate(kept)
        assert row[0].tolist() == [112.0] * 3
        np.testing.assert_allclose(row[1], known.mean, rtol=1e-12)
        np.testing.assert_allclose(row[2], known.var, rtol=1e-9)
        np.testing.assert_allclose(row[1], whole.mean(0), rtol=1e-12)
        np.testing.assert_allclose(row[2], whole.var(0), rtol=1e-9)


def test_what_is_not_finite_is_left_out():
    agents, stream = population(), np.random.default_rng(0)
    broken = batch(stream)
    broken.observation[0, 0, 1], broken.observation[0, 1, 2], broken.observation[1] = np.nan, -np.inf, np.nan
    agents.learn(broken)
    found = statistics(agents)
    assert found[:, 0].tolist() == [[16, 15, 15], [0, 0, 0], [16, 16, 16]]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0, 1, 1], broken.observation[0, 1:, 1].astype(float).mean())
    assert found[1, 2].tolist() == [1, 1, 1], "nothing was seen yet"


def test_old_samples_fade():
    rows = torch.zeros(1, 4, 1, dtype=torch.float64)
    rows[:, 0], rows[:, 2] = 1e9, 1.0
    many = torch.full((1, 1000, 1), 7.0, dtype=torch.float64)
    rows = taken_in(rows, many, torch.ones_like(many, dtype=torch.bool))
    assert rows[0, 0, 0] == MEMORY
    assert taken_in(rows, many, torch.ones_like(many, dtype=torch.bool))[0, 1, 0] == pytest.approx(
        0.007, rel=2e-2
    )


def test_an_agent_takes_in_its_own_batch_and_no_more():
    """In a group all batches are as long as the longest; what lies beyond an agent's own is not its."""
    agents, stream = population(), np.random.default_rng(0)
    individuals = [agents.individual(row) for row in range(3)]
    for one, size in zip(individuals, (16, 4, 9), strict=True):
        one.hyperparameters["batch_size"] = size
    agents.rebuild(individuals)
    agents.learn(batch(stream))
    sizes = [one.hyperparameters["batch_size"] for one in agents.individuals]
    assert statistics(agents)[:, 0, 0].tolist() == sizes


def test_a_rollout_is_taken_in_as_a_whole_and_learned_from_on_the_scale_that_it_was_acted_on():
    agents, stream = population("PPO", size=2, hyperparameters={"batch_size": 4}), np.random.default_rng(0)
    buffer, kept = ev.RolloutBuffer(6), []
    for turn in range(12):
        one, valid = seen(stream, 2, 3), np.ones((2, 3), bool)
        valid[0, 0] = turn != 2  # the environment failed
        never = np.zeros((2, 3), bool)
        action, reward = agents.act(one), np.zeros((2, 3), np.float32)
        buffer.add(Transition(one, action, reward, one, never, never, one, valid))
        kept.append(one)
        before = statistics(agents).copy()
        agents.learn(buffer)
        assert (statistics(agents) != before).any() == (turn in (5, 11)), "it stays still in a rollout"
    found = statistics(agents)
    assert found[:, 0, 0].tolist() == [35, 36]
    whole = np.concatenate(kept, 1)[1].astype(float)
    np.testing.assert_allclose(found[1, 1], whole.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found[1, 2], whole.var(0), rtol=1e-9)


@pytest.mark.parametrize("algorithm", ["DQN", "TD3", "SAC"])
def test_one_of_many_learns_as_if_alone(algorithm):
    agents, stream = population(algorithm, dtype=torch.float64, search_space={}), np.random.default_rng(0)
    alone = [one.copy() for one in agents]
    for _ in range(5):
        one = batch(stream)
        if algorithm != "DQN":
            one.action = stream.uniform(-1, 1, (3, 16, 2))
        shape = {"TD3": (3, 16, 2), "SAC": (3, 16, 2, 2)}.get(algorithm)
        noise = None if shape is None else torch.as_tensor(stream.normal(size=shape))
        agents.learn(one, noise=noise)
        for row, agent in enumerate(alone):
            own = SimpleNamespace(**{name: value[row] for name, value in vars(one).items()})
            agent.learn(own, noise=None if noise is None else noise[row])
    observation = torch.as_tensor(seen(stream, 3, 20).astype(float))
    together = agents.act(observation, explore=False)
    for row, agent in enumerate(alone):
        theirs = agent.individual().tensors
        for kind, state in agents.individual(row).tensors.items():
            for name, value in state.items():
                torch.testing.assert_close(value, theirs[kind][name], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(agent.act(observation[row]), together[row], rtol=1e-8, atol=1e-8)


def test_the_first_batch_is_taken_in_before_it_is_used_and_later_ones_after():
    agents, stream = population(), np.random.default_rng(0)
    (group,) = agents.groups
    used = []
    for _ in range(2):
        before = statistics(agents).copy()
        given = batch(stream)
        batch_seen = agents.learner.batch_of(group, to_batch(given, agents.device))
        used.append((before, statistics(agents).copy(), given, batch_seen))
    for (before, after, raw, found), first in zip(used, (True, False), strict=True):
        _, mean, variance, _ = (after if first else before).transpose(1, 0, 2)[:, :, None]
        for name in ("observation", "next_observation"):
            expected = (getattr(raw, name) - mean) / np.sqrt(variance + EPSILON)
            np.testing.assert_allclose(getattr(found, name), expected, rtol=2e-3, atol=2e-3)


def test_what_networks_see_is_cut_at_ten_deviations():
    agents, stream = population(), np.random.default_rng(0)
    agents.learn(batch(stream))
    far = torch.as_tensor(seen(stream, 3, 2) * 50)
    assert agents.table.seen(far).abs().max() == 10.0


# What is normalised -------------------------------------------------------------------------------


def test_vectors_are_normalised_wherever_they_stand_and_nothing_else_is():
    agents = population(space=NESTED, network=None, size=2)
    stream = np.random.default_rng(0)
    raw = {
        "speed": (stream.normal(size=(2, 16, 2, 2)) * 1e3).astype(np.float32),
        "eye": stream.integers(0, 256, (2, 16, 8, 8, 3), dtype=np.uint8),
        "place": (stream.integers(0, 3, (2, 16)), stream.integers(-9, 10, (2, 16), dtype=np.int32)),
        "bytes": stream.integers(0, 256, (2, 16, 2)).astype(np.float32),
    }
    agents.learn(batch(stream, 2, observation=raw))
    assert statistics(agents).shape == (2, 4, 5)
    found = agents.table.seen(map_leaves(torch.as_tensor, raw))
    assert found["eye"].dtype == torch.uint8
    assert np.array_equal(found["eye"], raw["eye"])
    assert np.array_equal(found["bytes"], raw["bytes"])
    assert np.array_equal(found["place"][0], raw["place"][0])
    assert found["place"][1].std() == pytest.approx(1, abs=0.05)
    assert found["speed"].std() == pytest.approx(1, abs=0.05)
    assert found["speed"].shape == (2, 16, 2, 2)


def test_auto_chooses_the_numbers_whose_first_samples_need_it():
    space = spaces.Dict({"near": spaces.Box(-2, 2, (1,)), "wide": spaces.Box(-np.inf, np.inf, (3,))})
    agents, stream = population(space=space, normalise="auto"), np.random.default_rng(0)
    wide = (stream.normal(size=(3, 16, 3)) * [1.0, 100.0, 1e-3]).astype(np.float32)
    raw = {"near": np.full((3, 16, 1), 1e-3, np.float32), "wide": wide}
    tensors = map_leaves(torch.as_tensor, raw)
    assert np.array_equal(agents.table.seen(tensors)["wide"], wide), "before the first batch nothing is known"
    agents.learn(batch(stream, observation=raw))
    found = agents.table.seen(tensors)
    assert statistics(agents)[:, 3].tolist() == [[0, 1, 1]] * 3
    assert np.array_equal(found["near"], raw["near"])
    assert np.array_equal(found["wide"][..., 0], wide[..., 0])
    assert found["wide"][..., 1:].std(1).numpy() == pytest.approx(1, abs=0.05)
    agents.learn(batch(stream, observation={**raw, "wide": wide * 100}))
    assert statistics(agents)[:, 3].tolist() == [[0, 1, 1]] * 3, "it is decided once"


@pytest.mark.parametrize(
    ("given", "algorithm", "expected"),
    [
        (None, ev.DQN(), ()),
        (False, ev.DQN(), ()),
        (True, ev.DQN(), ("observations", "returns")),
        (True, ev.CQN(), ("observations",)),
        ("auto", ev.PPO(), ("auto",)),
        (["returns", "observations"], ev.PPO(), ("observations", "returns")),
    ],
)
def test_words_say_what_is_normalised(given, algorithm, expected):
    assert words_of(given, algorithm) == expected


@pytest.mark.parametrize(
    ("given", "algorithm", "error", "told"),
    [
        ("observation", ev.DQN(), ValueError, "Unknown word for normalise 'observation'.*'observations'"),
        (("observations", "rewards"), ev.DQN(), ValueError, "Unknown word for normalise 'rewards'"),
        (1.0, ev.DQN(), TypeError, "normalise is 1.0; True, False or some of observations, returns, auto"),
        ([1], ev.DQN(), TypeError, "normalise is .1."),
        ("returns", ev.TD3BC(), ValueError, "TD3BC learns from recorded data.*normalise='observations'"),
    ],
)
def test_other_words_are_refused(given, algorithm, error, told):
    with pytest.raises(error, match=told):
        words_of(given, algorithm)
    action = spaces.Box(-1, 1, (1,)) if algorithm.name == "TD3BC" else spaces.Discrete(2)
    with pytest.raises(error, match=told):
        ev.Population(algorithm, WIDE, action, normalise=given, device="cpu")


def test_spaces_without_numbers_are_refused_before_time_is_spent():
    for space in (spaces.Discrete(3), spaces.Box(0, 255, (8, 8, 3), np.uint8), spaces.MultiBinary(2)):
        with pytest.raises(TypeError, match=r"has no numbers to normalise.*normalise='returns'"):
            Normaliser(space, ("observations",))
        assert not Normaliser(space, ("auto",)).fresh
    with pytest.raises(TypeError, match="has no numbers to normalise"):
        ev.Experiment("FrozenLake-v1", normalise=True, device="cpu")


# Returns ------------------------------------------------------------------------------------------


def step(reward, terminated=None, truncated=None, valid=None):
    none = np.zeros(np.shape(reward), bool)
    ended = [none if one is None else np.array(one) for one in (terminated, truncated)]
    return SimpleNamespace(
        reward=np.asarray(reward, np.float32),
        terminated=ended[0],
        truncated=ended[1],
        valid=~none if valid is None else np.array(valid),
    )


class Paying(gymnasium.vector.VectorEnv):
    """Four environments that never end and pay what they are told."""

    num_envs, metadata = 4, {"autoreset_mode": gymnasium.vector.AutoresetMode.NEXT_STEP}
    single_observation_space, single_action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)
    observation_space, action_space = spaces.Box(-1, 1, (4, 1)), spaces.MultiDiscrete([2] * 4)

    def __init__(self, rewards):
        self.rewards = iter(rewards)

    def reset(self, **_):
        return np.zeros((4, 1), np.float32), {}

    def step(self, actions):
        never = np.zeros(4, bool)
        return np.zeros((4, 1), np.float32), next(self.rewards), never, never, {}


def test_rewards_are_divided_by_what_gymnasium_divides_by():
    stream = np.random.default_rng(0)
    rewards = (stream.normal(size=(50, 4)) * 300 - 1000).astype(np.float32)
    theirs = gymnasium.wrappers.vector.NormalizeReward(Paying(rewards), gamma=0.9)
    theirs.return_rms.count = 0  # it begins with a ten thousandth of a made-up sample
    theirs.reset()
    agents = population(size=1, normalise="returns", hyperparameters={"discount": 0.9, "batch_size": 4})
    for reward in rewards:
        agents.observe(step(reward[None]))
        _, divided, *_ = theirs.step(np.zeros(4, int))
        given = batch(stream, 1, 4)
        given.reward = reward[None]
        (group,) = agents.groups
        found = agents.learner.batch_of(group, to_batch(given, agents.device)).reward.numpy()
        np.testing.assert_allclose(found[0], divided.clip(-10, 10), rtol=1e-5)


def test_a_return_begins_anew_with_an_episode_and_with_a_fault():
    agents = population(size=1, normalise="returns", hyperparameters={"discount": 0.5, "batch_size": 4})
    taken = []
    steps = [
        step([[1.0, 2.0, 4.0]]),
        step([[1.0, 2.0, 4.0]], terminated=[[True, False, False]], truncated=[[False, True, False]]),
        step([[1.0, 2.0, np.nan]]),
        step([[1.0, 2.0, 4.0]], valid=[[True, True, False]]),
        step([[1.0, 2.0, 4.0]]),
    ]
    for one, returns in zip(steps, ([1, 2, 4], [1.5, 3, 6], [1, 2], [1.5, 3], [1.75, 3.5, 4]), strict=True):
        agents.observe(one)
        taken += returns
        count, mean, variance, _ = statistics(agents, "return")[0, :, 0]
        assert (count, mean, variance) == pytest.approx((len(taken), np.mean(taken), np.var(taken)))


def test_without_returns_to_normalise_observing_does_nothing():
    agents = population()
    agents.observe(step([[1.0]] * 3))
    assert not agents.table.memory


def test_what_an_agent_expects_is_told_in_rewards():
    agents, stream = population(normalise="returns"), np.random.default_rng(0)
    observation = seen(stream, 3, 4)
    before = values(agents.table, observation)
    for _ in range(50):
        agents.observe(step(stream.normal(size=(3, 2)) * 40))
    deviation = np.sqrt(statistics(agents, "return")[:, 2] + EPSILON)
    np.testing.assert_allclose(values(agents.table, observation), before * deviation, rtol=1e-6)


# Part of the agent --------------------------------------------------------------------------------


def trained(algorithm="DQN", space=WIDE, **options):
    agents, stream = population(algorithm, space, normalise=True, **options), np.random.default_rng(0)
    for _ in range(4):
        one = batch(stream)
        if agents.actions.continuous:
            one.action = stream.uniform(-1, 1, (3, 16, 2)).astype(np.float32)
        agents.observe(step(stream.normal(size=(3, 2)) * 40))
        agents.learn(one)
    return agents


def test_rows_move_with_their_agents():
    agents = trained()
    for row, id in enumerate(agents.ids):
        for name in ("observation", "return"):
            agents.table[f"normaliser.{name}"][row].fill_(100.0 + id)
    evolve(agents, np.arange(3.0), scripted(2, 0, 2), ev.Mutations(none=1, architecture=0, parameters=0))
    for row, one in enumerate(agents.individuals):
        for name in ("observation", "return"):
            assert (statistics(agents, name)[row] == 100.0 + one.parent).all()


def test_an_agent_at_rest_sees_what_it_saw():
    agents, stream = trained(), np.random.default_rng(1)
    individuals = [agents.individual(row) for row in range(3)]
    individuals[1].resting = 7
    agents.rebuild(individuals)
    (row,) = (row for row, one in enumerate(agents.individuals) if one.resting == 7)
    before = statistics(agents).copy()
    agents.learn(batch(stream))
    moved = (statistics(agents) != before).any((1, 2))
    assert moved.tolist() == [index != row for index in range(3)]


def test_acting_and_evaluating_move_nothing():
    agents = trained()
    before = {name: value.clone() for name, value in agents.table.items() if name.startswith("normaliser")}
    agents.act(seen(np.random.default_rng(2), 3, 4))
    agents[0].act(seen(np.random.default_rng(2), 4), explore=True)
    assert len(before) == 2
    for name, value in before.items():
        assert torch.equal(agents.table[name], value)


def test_whoever_asks_policies_shows_them_observations_on_their_scale():
    """Fitted Q evaluation, and the measure of what a mutation has changed."""
    agents, observation = trained(), torch.as_tensor(seen(np.random.default_rng(3), 20))
    expected = agents.act(observation.expand(3, 20, 3), explore=False)
    assert len(expected.unique()) == 2
    with torch.no_grad():
        assert torch.equal(policy(agents, observation), expected)
        assert torch.equal(_outputs(agents, observation).argmax(-1), expected)


@pytest.mark.parametrize("algorithm", ["DQN", "TD3", "SAC", "PPO"])
def test_a_saved_and_an_exported_agent_answer_as_their_row(algorithm, tmp_path):
    agents, stream = trained(algorithm), np.random.default_rng(3)
    agent, observation = agents[1], seen(stream, 20)
    expected = agent.act(observation)
    assert len(np.unique(expected, axis=0)) > 1
    np.testing.assert_array_equal(agent.copy().act(observation), expected)
    agent.save(tmp_path / "agent")
    again = ev.Agent.load(tmp_path / "agent")
    np.testing.assert_array_equal(again.act(observation), expected)
    assert again.table.spec.normalise == ("observations", "returns")
    assert (
        "| normalised inside the agent | observations, returns |"
        in (tmp_path / "agent/README.md").read_text()
    )
    np.testing.assert_array_equal(statistics(again, "return")[0], statistics(agents, "return")[1])
    out = agent.module()(torch.as_tensor(observation))
    found = out.argmax(-1) if agents.actions.continuous is False else out
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    program = torch.export.load(agent.export(tmp_path / "agent.pt2")).module()
    np.testing.assert_allclose(program(torch.as_tensor(observation)).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_an_onnx_file_normalises_a_nested_observation(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    space = spaces.Dict({"far": WIDE, "near": spaces.Discrete(3)})
    agents, stream = population(space=space), np.random.default_rng(0)
    raw = {"far": seen(stream, 3, 16), "near": stream.integers(0, 3, (3, 16))}
    for _ in range(3):
        agents.learn(batch(stream, observation=raw))
    session = runtime.InferenceSession(agents[0].export(tmp_path / "agent.onnx").read_bytes())
    given = {"observation['far']": raw["far"][0], "observation['near']": raw["near"][0]}
    expected = agents[0].act({name: value[0] for name, value in raw.items()})
    assert len(set(expected.tolist())) == 2
    np.testing.assert_array_equal(session.run(None, given)[0], expected)


@pytest.mark.parametrize(
    "algorithm", [name for name in registry.names("algorithm") if name not in ("BC", "ILQL")]
)
def test_a_run_goes_on_bit_for_bit(algorithm, tmp_path):
    def run():
        return experiment(algorithm, search_space=evolving(algorithm), normalise=True)

    whole, part = run(), run()
    whole.run(generations=4)
    part.run(generations=2)
    part.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run")
    assert again.config["normalise"] == whole.config["normalise"] != ()
    again.run(generations=2)
    assert_same(whole, again)
    assert any(name == "normaliser.observation" for name in whole.population.table)
    assert statistics(whole.population)[:, 0].min() > 0


def test_a_run_that_was_saved_after_random_steps_goes_on_bit_for_bit(tmp_path):
    """Returns under way belong to environments, which begin anew."""

    def run(exp):
        exp.fill(37)
        exp.step()
        exp.fill(20)

    whole, part = (experiment("DQN", normalise="returns", evolving=False) for _ in range(2))
    run(whole), run(part)
    part.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run")
    for exp in (whole, again):
        exp.fill(20)
        exp.step()
    assert_same(whole, again)
    taken = statistics(whole.population, "return")[:, 0, 0].tolist()
    assert taken == [one.steps for one in whole.population.individuals], (
        "every step of training, random ones too"
    )


def test_who_trains_by_the_winner_s_schedule_sees_as_it_did():
    exp = experiment("DQN", normalise="returns")
    exp.run(generations=2)
    assert exp.replay().config["normalise"] == exp.config["normalise"] == ["returns"]


def test_an_agent_that_migrates_brings_its_statistics(tmp_path):
    giver, taker = (
        experiment("DQN", normalise=True, seed=seed, folder=tmp_path / str(seed)) for seed in (1, 2)
    )
    giver.run(generations=1)
    arrived = best_of(tmp_path / "1", 1, taker.population).individual
    for name, rows in arrived.tensors["normaliser"].items():
        assert torch.equal(rows, giver.best.individual().tensors["normaliser"][name])
    taker.population.rebuild([arrived.child(90), *(taker.population.individual(row) for row in (1, 2))])
    row = taker.population.row(90)
    assert torch.equal(
        taker.population.table["normaliser.observation"][row], arrived.tensors["normaliser"]["observation"]
    )


def test_an_option_of_a_saved_run_stays_what_it_was(tmp_path):
    exp = experiment("DQN", normalise="auto")
    exp.save(tmp_path / "run")
    with pytest.raises(ValueError, match="takes no normalise: the saved agents have their statistics"):
        ev.Experiment.load(tmp_path / "run", normalise=True)


def test_a_warm_start_brings_the_scales_that_its_weights_know():
    donor = trained()[2].copy()
    agents = population(normalise=True)
    start_from(agents, donor)
    observation = seen(np.random.default_rng(0), 20)
    np.testing.assert_array_equal(agents[0].act(observation), donor.act(observation))


# Learning -----------------------------------------------------------------------------------------


class Far(gymnasium.Wrapper):
    """A probe whose state is shown around 30 000, and whose rewards are thousands."""

    def __init__(self, actions):
        super().__init__(ObservationActionReward(actions))
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,))

    def reset(self, **arguments):
        observation, info = self.env.reset(**arguments)
        return 1e4 * observation + 3e4, info

    def step(self, action):
        observation, reward, *rest = self.env.step(action)
        return 1e4 * observation + 3e4, 1000 * reward, *rest


@pytest.mark.parametrize("algorithm", ["DQN", "TD3", "SAC", "DDPG", "PPO"])
def test_huge_observations_and_rewards_are_learned_from(algorithm):
    discrete = algorithm in ("DQN", "PPO")
    exp = ev.Experiment(
        Far, algorithm, env_kwargs={"actions": "discrete" if discrete else "continuous"},
        population=2, num_envs=8, network=[32], seed=0, device="cpu", normalise=True, evolving=False,
        steps_per_generation=1000, search_space={}, draw=False,
        hyperparameters={"batch_size": 64} | ({"lr": 3e-3} if algorithm == "PPO" else {}),
        **({"buffer": 32} if algorithm == "PPO" else {"update_ratio": 0.25}),
    )  # fmt: skip
    exp.run(generations=3)
    assert exp.evaluate(episodes=50).mean > 900
    states = np.float32([[[2e4], [4e4]]] * 2)
    assert values(exp.population.table, states) == pytest.approx(1000, abs=150), (
        "what the best action is paid"
    )
