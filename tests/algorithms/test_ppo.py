from __future__ import annotations

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.algorithms.clipped_gaussian import clipped_gaussian
from evolab.algorithms.ppo import Minibatch
from evolab.core.actions import actions_of
from evolab.core.trees import map_leaves
from evolab.envs.probes import BEST, PROBES, show
from tests import plain
from tests.algorithms.test_advantages import slow
from tests.mixed import BOX, DISCRETE, FEATURES, compare, experience, mixed, padding, singles
from tests.toys import Choosing, Toy

SEVERAL = spaces.MultiDiscrete(plain.PARTS, start=[1, -1, 0])
SPACES = pytest.mark.parametrize("space", [DISCRETE, SEVERAL, BOX], ids=["Discrete", "MultiDiscrete", "Box"])
LAYERS = pytest.mark.parametrize("layer_norm", [False, True], ids=["bare", "layer_norm"])


def experienced(space, length, seed):
    """Random experience of eight agents in a space."""
    one = experience(8, length, seed=seed, discrete=space is not BOX)
    if space is SEVERAL:
        drawn = np.random.default_rng(seed).integers(0, space.nvec, (8, length, len(space.nvec)))
        one.action = torch.as_tensor(drawn + space.start)
    return one


def rollout(space, seed, steps=5, members=4):
    """A full rollout of random experience, of eight agents, with ends of both kinds."""
    buffer, rng = ev.RolloutBuffer(steps), np.random.default_rng(seed)
    for step in range(steps):
        one = experienced(space, members, 1000 * seed + step)
        one.truncated = torch.as_tensor(rng.random((8, members)) < 0.2)
        one.valid = torch.ones(8, members, dtype=torch.bool)
        if space is BOX:  # a fifth of the entries lie at a bound
            at = torch.as_tensor(rng.random((8, members, 2)))
            one.action = torch.where(at < 0.1, torch.as_tensor(BOX.low), one.action)
            one.action = torch.where(at > 0.9, torch.as_tensor(BOX.high), one.action)
        buffer.add(one)
    return buffer


def unit(space, action):
    """Actions as an algorithm sees them, worked out by hand."""
    if space is DISCRETE:
        return action
    if space is SEVERAL:
        return action - torch.as_tensor(space.start)
    low, high = torch.as_tensor(BOX.low), torch.as_tensor(BOX.high)
    return 2 * (action - low) / (high - low) - 1


def learn_alone(agent, buffer, row, space):
    """All passes of one plain agent over its own steps; losses of the last."""
    with torch.no_grad():
        parts = {name: buffer.fields[name][:, row].double() for name in ("observation", "next_observation")}
        value = agent.modules["critic0"](parts["observation"])[..., 0].numpy()
        next_value = agent.modules["critic0"](parts["next_observation"])[..., 0].numpy()
        observation = parts["observation"].flatten(0, 1)
        action = unit(space, buffer.fields["action"][:, row]).flatten(0, 1)
        old, _ = plain.likelihood(agent, observation, action)
    terminated, truncated = (buffer.fields[n][:, row].numpy() for n in ("terminated", "truncated"))
    reward = buffer.fields["reward"][:, row].numpy()
    s = agent.settings
    advantage = slow(*(x[None] for x in (reward, value, next_value, terminated, terminated | truncated)),
                     np.ones_like(reward)[None], [s["discount"]], [s["gae_lambda"]])[0]  # fmt: skip
    goal = torch.as_tensor(advantage + value).flatten()
    told = []
    for _ in range(s["epochs"]):
        told.append(plain.ppo(agent, observation, action, old, torch.as_tensor(advantage).flatten(), goal))
    return {name: np.mean([one[name] for one in told]) for name in told[0]}


@LAYERS
@SPACES
def test_one_of_many_learns_from_its_rollouts_as_if_alone(space, layer_norm):
    population = mixed(ev.PPO(), action_space=space, layer_norm=layer_norm)
    agents = singles(population)
    assert len(population.groups) > 2
    for seed in range(6):
        buffer = rollout(space, seed)
        losses = population.learn(buffer)
        for row, agent in enumerate(agents):
            told = learn_alone(agent, buffer, row, space)
            assert {name: float(losses[name][row]) for name in told} == pytest.approx(told, abs=1e-9)
        assert len(buffer) == 0
    compare(population, agents)
    for name, mask in padding(population).items():
        assert not population.table[name][mask].any(), f"padding of {name} moved"
    assert {m.id: m.updates for m in population.individuals} == {i: 6 * (2 + i % 3) for i in range(8)}


@SPACES
def test_minibatches_are_learned_from_as_if_alone(space):
    population = mixed(ev.PPO(), action_space=space)
    agents, rng = singles(population), np.random.default_rng(0)
    for seed in range(40):
        one = experienced(space, 11, seed)
        old, advantage, goal = torch.as_tensor(rng.normal(size=(3, 8, 11)))
        action = unit(space, one.action)
        for group in population.groups:
            c = group.rows
            weight = torch.full((len(group), 11), 1 / 11, dtype=torch.float64)
            batch = Minibatch(one.observation[c], action[c], weight, old[c] - 1, advantage[c], goal[c])
            population.algorithm.update(group, batch, None)
        for row, agent in enumerate(agents):
            plain.ppo(agent, one.observation[row], action[row], old[row] - 1, advantage[row], goal[row])
    compare(population, agents)


@SPACES
def test_an_agent_that_learns_alone_learns_as_one_of_many(space):
    together, apart = mixed(ev.PPO(), action_space=space), mixed(ev.PPO(), action_space=space)
    together.learn(rollout(space, 0))
    buffer = rollout(space, 0)
    for agent in apart:
        assert set(agent.learn(buffer)) == {"actor", "critic", "entropy", "divergence"}
    assert buffer.full, "the others still need it"
    for name, value in together.table.items():
        assert torch.allclose(value, apart.table[name], atol=1e-12), name


@SPACES
def test_a_plain_batch_is_rollouts_of_one_step(space):
    population = mixed(ev.PPO(), action_space=space)
    agents = singles(population)
    batch = experienced(space, 16, 3)
    population.learn(batch)
    for row, agent in enumerate(agents):
        s, action = agent.settings, unit(space, batch.action[row])
        with torch.no_grad():
            value, following = (agent.modules["critic0"](x[row])[:, 0]
                                for x in (batch.observation, batch.next_observation))  # fmt: skip
            goal = batch.reward[row] + s["discount"] * following * (1 - batch.terminated[row].double())
            old, _ = plain.likelihood(agent, batch.observation[row], action)
        plain.ppo(agent, batch.observation[row], action, old, goal - value, goal)
    compare(population, agents)


@pytest.mark.parametrize("layer_norm", [False, True], ids=["bare", "layer_norm"])
@SPACES
def test_an_exported_agent_answers_as_its_row(space, layer_norm):
    population = mixed(ev.PPO(), action_space=space, layer_norm=layer_norm)
    population.learn(rollout(space, 1))
    observation = torch.randn(
        8, 32, FEATURES, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    together = population.act(observation, explore=False)
    for row in range(8):
        agent = population[row]
        assert torch.allclose(agent.act(observation[row]).double(), together[row].double(), atol=1e-12)
        out = agent.module()(observation[row])
        if space is DISCRETE:
            out = out.argmax(-1)
        elif space is SEVERAL:
            out = torch.stack([own.argmax(-1) for own in out.split(plain.PARTS, -1)], -1)
            out = out + torch.as_tensor(space.start)
        assert torch.allclose(out.double(), together[row].double(), atol=1e-12)


def test_the_probability_of_a_clipped_action_is_that_of_everything_beyond():
    mean = torch.tensor([[[0.3, -0.9], [0.3, -0.9], [0.3, -0.9]]], dtype=torch.float64, requires_grad=True)
    spread = torch.tensor([[[-0.5, 0.2]]], dtype=torch.float64, requires_grad=True)
    action = torch.tensor([[[0.1, 0.5], [1.0, 0.5], [0.1, -1.0]]], dtype=torch.float64)
    found, entropy = clipped_gaussian(mean, spread, action)
    normal = torch.distributions.Normal(mean, spread.exp())
    inside = normal.log_prob(action)
    above, below = (1 - normal.cdf(torch.tensor(1.0))).log(), normal.cdf(torch.tensor(-1.0)).log()
    expected = torch.stack([inside[:, 0].sum(-1), above[:, 1, 0] + inside[:, 1, 1],
                            inside[:, 2, 0] + below[:, 2, 1]], 1)  # fmt: skip
    assert torch.allclose(found, expected, atol=1e-12)
    assert torch.allclose(entropy, normal.entropy().sum(-1), atol=1e-12)
    for variable in (mean, spread):
        ours, theirs = (
            torch.autograd.grad(x.sum(), variable, retain_graph=True)[0] for x in (found, expected)
        )
        assert torch.allclose(ours, theirs, atol=1e-10)


def test_discrete_actions_are_drawn_as_often_as_their_probability_says():
    population = ev.Population("PPO", gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Discrete(4, start=5), 2,
                               network=[8], seed=0, device="cpu")  # fmt: skip
    population.table["actor"].mul_(5)
    observation = torch.ones(2, 20_000, 2)
    drawn = population.act(observation)
    with torch.no_grad():
        probability = population.groups[0].network("actor")(observation[:, :1]).softmax(-1)[:, 0]
    for row in range(2):
        share = torch.bincount(drawn[row] - 5, minlength=4) / 20_000
        assert torch.allclose(share, probability[row], atol=0.015)
        assert int(population.act(observation, explore=False)[row, 0]) - 5 == int(probability[row].argmax())


def test_box_actions_are_drawn_around_the_mean_and_clipped_to_the_bounds():
    population = ev.Population(ev.PPO(start_spread=0.5), gymnasium.spaces.Box(-1, 1, (2,)),
                               gymnasium.spaces.Box(np.float32([-2, 0]), np.float32([2, 4])), 1,
                               network=[8], seed=0, device="cpu")  # fmt: skip
    observation = torch.ones(1, 20_000, 2)
    mean = population.act(observation, explore=False)[0, 0]
    drawn = population.act(observation)[0]
    assert drawn.amin(0).tolist() == [-2, 0]
    assert drawn.amax(0).tolist() == [2, 4]
    normal = torch.distributions.Normal(mean, 1.0)  # half of half the range of four
    for entry, (low, high) in enumerate([(-2, 2), (0, 4)]):
        assert float((drawn[:, entry] == high).float().mean()) == pytest.approx(
            float(1 - normal.cdf(torch.tensor(float(high)))[entry]), abs=0.01
        )
        inside = (drawn[:, entry] > low) & (drawn[:, entry] < float(mean[entry]))
        expected = 0.5 - normal.cdf(torch.tensor(float(low)))[entry]
        assert float(inside.float().mean()) == pytest.approx(float(expected), abs=0.015)


CASES = [(name, actions) for name in PROBES for actions in ("discrete", "continuous")]
DISCOUNTS = (0.9, 0.5)


def check_probe(probe, actions, observations, rounds=40):
    """Values of both agents in every state, and what their policies choose."""
    network = {"vector": ev.MLP([32, 32]), "image": ev.CNN([8], hidden=[32]), "dict": None}[observations]
    network = network or ev.MultiInput(channels=[8], latent=16, hidden=[32])
    with ev.envs.make(PROBES[probe][0], 2, 32, seed=0, actions=actions, observations=observations) as envs:
        values = {"lr": 5e-3, "entropy_coefficient": 0.0, "batch_size": 128, "gae_lambda": 0.9, "epochs": 8}
        if (probe, actions) == ("ObservationActionReward", "discrete") and observations != "vector":
            # A picture's policy moves faster: no first guess may be final.
            values |= {"lr": 5e-4, "entropy_coefficient": 0.05, "epochs": 4}
        population = ev.Population("PPO", envs.single_observation_space, envs.single_action_space, 2, network=network,
                                   hyperparameters=values, search_space={}, seed=0, device="cpu")  # fmt: skip
        population.table.hyper["discount"].copy_(torch.tensor(DISCOUNTS))
        buffer, observation = ev.RolloutBuffer(8), envs.reset()
        for _ in range(8 * rounds):
            transition = envs.step(population.act(observation))
            buffer.add(transition)
            population.learn(buffer)
            observation = transition.reset_observation
    exact, continuous = PROBES[probe][1], actions == "continuous"
    states = {"TwoStepDiscount": (0.0, 1.0), "ActionReward": (0.0,), "ConstantReward": (0.0,)}
    deciding = probe in ("ActionReward", "ObservationActionReward")
    for state in states.get(probe, (-1.0, 1.0)):
        seen = map_leaves(lambda leaf: np.stack([leaf[None]] * len(DISCOUNTS)), show(state, observations))
        with torch.no_grad():
            found = (
                population.groups[0].network("critic")(map_leaves(torch.as_tensor, seen)).flatten().tolist()
            )
        for row, discount in enumerate(DISCOUNTS):
            right = exact(state, None, discount, continuous)
            if deciding and continuous:  # what the draws around the best action cost
                right -= float(population.groups[0].network("spread")()[row].exp().square())
            assert found[row] == pytest.approx(right, abs=0.1), (state, row)
        if deciding:
            sign = 1.0 if probe == "ActionReward" else state
            best = BEST * sign if continuous else float(sign > 0)
            acted = np.asarray(population.act(seen, explore=False), float).ravel().tolist()
            assert acted == pytest.approx([best, best], abs=0.15 if continuous else 0)


@pytest.mark.parametrize(("probe", "actions"), CASES)
def test_probes_are_learned_to_their_exact_values(probe, actions):
    check_probe(probe, actions, "vector")


@pytest.mark.parametrize(("probe", "actions", "observations"), [
    ("ObservationActionReward", "discrete", "image"), ("TwoStepDiscount", "continuous", "dict"),
])  # fmt: skip
def test_so_they_are_from_pictures_and_dicts(probe, actions, observations):
    check_probe(probe, actions, observations, rounds=150)


@pytest.mark.slow
@pytest.mark.parametrize("observations", ["image", "dict"])
@pytest.mark.parametrize(("probe", "actions"), CASES)
def test_so_are_all_others(probe, actions, observations):
    check_probe(probe, actions, observations, rounds=60)


class Twice(Toy):
    """Two choices at once."""

    actions = gymnasium.spaces.MultiDiscrete([2, 3])


@pytest.mark.parametrize("environment", [Toy, Choosing, Twice])
def test_the_custom_loop(environment):
    envs = ev.envs.make(environment, population=4, num_envs=8, seed=42)
    population = ev.Population(
        "PPO", envs.single_observation_space, envs.single_action_space, size=4, seed=42
    )
    buffer = ev.RolloutBuffer(16)
    observation = envs.reset()
    learned = []
    for _step in range(40):
        action = population.act(observation)
        transition = envs.step(action)
        buffer.add(transition)
        losses = population.learn(buffer)
        learned += [losses] if losses else []
        observation = transition.reset_observation
    assert len(learned) == 2
    assert all(value.shape == (4,) and torch.isfinite(value).all() for value in learned[1].values())
    assert {member.updates for member in population.individuals} == {2 * 4 * 2}, (
        "two minibatches of 64, four passes"
    )
    fitness = ev.evaluate(population, envs, episodes=1)
    ev.evolve(population, fitness, ev.Tournament(), ev.Mutations())
    for _ in range(8):
        transition = envs.step(population.act(observation))
        buffer.add(transition)
        observation = transition.reset_observation
    with pytest.raises(ValueError, match=r"steps of agents that have been replaced: 128 of each, of which today's "
                       r"took 64\. Pass buffer= to ev\.evolve"):  # fmt: skip
        population.learn(buffer)
    buffer.clear()
    assert population.learn(buffer) == {}
    envs.close()


def test_the_loop_over_single_agents():
    envs = ev.envs.make(Choosing, population=2, num_envs=4, seed=1)
    population = ev.Population("PPO", envs.single_observation_space, envs.single_action_space, size=2, seed=1)
    buffer, observation = ev.RolloutBuffer(8), envs.reset()
    for _ in range(16):
        action = np.stack([agent.act(observation[row], explore=True) for row, agent in enumerate(population)])
        transition = envs.step(action)
        buffer.add(transition)
        if buffer.full:
            for agent in population:
                assert np.isfinite(agent.learn(buffer)["actor"])
            buffer.clear()
        observation = transition.reset_observation
    assert [member.updates for member in population.individuals] == [8, 8]
    envs.close()


QUICK = {"population": 3, "num_envs": 4, "network": [16], "seed": 1, "steps_per_generation": 40, "device": "cpu",
         "hyperparameters": {"batch_size": 16}, "draw": False}  # fmt: skip


def test_what_a_generation_leaves_is_learned_from_if_it_fills_a_minibatch():
    for horizon, updates in ((4, 2 * 4 + 0), (6, 4 * 2 + 4), (5, 2 * 4 * 2)):
        # ten steps: two of four, then two (8 < 16: dropped); six, then four (16: one minibatch); twice five
        exp = ev.Experiment(Choosing, "PPO", buffer=horizon, evolving=False, **QUICK)
        exp.step()
        assert {member.updates for member in exp.population.individuals} == {updates}, horizon
        assert len(exp.buffer) == 0
        exp.close()


def interrupted(exp):
    """A generation that Ctrl-C stops at its first step."""
    exp._state.interrupt()
    exp._runner.follow(exp._training("step", (1, None), None, None), lambda progress: None)


def test_an_interrupted_generation_goes_on_and_ends_as_if_it_had_not_been():
    whole, part = (ev.Experiment(Choosing, "PPO", buffer=6, **QUICK) for _ in range(2))
    whole.run(generations=2)
    part.step()
    with pytest.raises(KeyboardInterrupt, match="nothing is lost"):
        interrupted(part)
    assert 0 < part.buffer.steps < 6, "in the middle of a rollout"
    part.step()
    for name, value in whole.population.table.items():
        assert torch.equal(value, part.population.table[name]), name
    assert repr(whole.history.fitness) == repr(part.history.fitness)


def test_agents_and_runs_are_saved_and_read(tmp_path):
    exp = ev.Experiment(Toy, ev.PPO(start_spread=0.3), buffer=ev.RolloutBuffer(5), **QUICK)
    exp.run(generations=2)
    exp.best.save(tmp_path / "agent")
    agent, observation = ev.Agent.load(tmp_path / "agent"), np.float32([0.4, 0.2])
    assert agent.act(observation) == exp.best.act(observation)
    assert agent.algorithm == ev.PPO(start_spread=0.3)
    assert torch.equal(agent.table["spread"], exp.best.table["spread"])
    exp.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", environment=Toy)
    assert again.buffer.horizon == 5
    assert again.config["buffer"] == exp.config["buffer"] == {"horizon": 5}
    assert ev.Experiment.from_config(exp.config, environment=Toy).buffer.horizon == 5


def test_mutations_of_every_kind_happen_in_the_middle():
    kinds = {"architecture": 1, "parameters": 1, "activation": 1, "hyperparameters": 1, "none": 0}
    exp = ev.Experiment(Toy, "PPO", buffer=5, mutations=ev.Mutations(**kinds), selection="Tournament",
                        **QUICK | {"population": 8},
                        search_space={"epochs": ev.Integer(1, 8), "batch_size": ev.Integer(4, 64)})  # fmt: skip
    exp.run(generations=8)
    assert {birth.kind for generation in exp.history for birth in generation.births} >= set(kinds) - {"none"}
    assert all(
        np.isfinite(birth.change) for g in exp.history for birth in g.births if birth.kind == "architecture"
    )
    assert all(torch.isfinite(value).all() for value in exp.population.table.values())
    assert exp.population.table["spread"].shape == (8, 1, 1), "no mutation of the architecture reaches it"
    exp.close()


class Continuous(ev.PPO):
    """PPO that the contract tests meet with Box actions."""

    action_spaces = (gymnasium.spaces.Box,)


PICTURE = gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)


@pytest.mark.parametrize("algorithm", [ev.PPO(), Continuous()], ids=["Discrete", "Box"])
@pytest.mark.parametrize("space", [
    None, PICTURE, gymnasium.spaces.Dict({"a": PICTURE, "b": gymnasium.spaces.MultiBinary(3)}),
], ids=["vector", "image", "dict"])  # fmt: skip
def test_it_keeps_the_contract_in_every_space(algorithm, space):
    ev.testing.check_algorithm(algorithm, space)


def test_bad_input_is_named_before_training_starts():
    with pytest.raises(ValueError, match=r"PPO: start_spread is 0; a number above 0 is expected"):
        ev.PPO(start_spread=0)
    with pytest.raises(TypeError, match=r"ev\.RolloutBuffer\(\.\.\.\) or a horizon is expected"):
        ev.Experiment(Choosing, "PPO", buffer=ev.ReplayBuffer(100), **QUICK)
    with pytest.raises(TypeError, match=r"ev\.ReplayBuffer\(\.\.\.\) or a capacity is expected"):
        ev.Experiment(Choosing, "DQN", buffer=ev.RolloutBuffer(100))
    with pytest.raises(
        ValueError, match=r"PPO has no update_ratio; set hyperparameters=\{'epochs': \.\.\.\}"
    ):
        ev.Experiment(Choosing, "PPO", update_ratio=2.0, **QUICK)
    with pytest.raises(
        ValueError, match="fitness='fqe' measures agents by stored transitions, and PPO keeps none"
    ):
        ev.Experiment(Choosing, "PPO", fitness="fqe", **QUICK)
    with pytest.raises(ValueError, match=r"epochs is 0; its range is 1 to 1000"):
        ev.Experiment(Choosing, "PPO", **QUICK | {"hyperparameters": {"epochs": 0}})
    with pytest.raises(ValueError, match="PPO learns by acting, and no environment was given"):
        ev.Experiment(None, "PPO", **QUICK)
    exp = ev.Experiment(Choosing, "PPO", **QUICK)
    with pytest.warns(
        UserWarning, match="PPO learns from its own newest steps alone: nothing can be filled in"
    ):
        exp.fill(100)
    assert exp.total_steps == 0
    with pytest.raises(ValueError, match="nothing can be filled in"):
        exp.fill("data.h5")
    with pytest.raises(TypeError, match=r"pass an ev\.RolloutBuffer, not a ReplayBuffer"):
        exp.population.learn(ev.ReplayBuffer(10))
    dqn = ev.Population("DQN", exp.population.observation_space, exp.population.action_space, 2)
    with pytest.raises(TypeError, match=r"DQN learns from a replay buffer; pass an ev\.ReplayBuffer"):
        dqn.learn(ev.RolloutBuffer(10))
    exp.close()


@SPACES
def test_learning_from_a_rollout_never_waits_for_the_device(space):
    population = mixed(ev.PPO(), action_space=space, device="meta")
    buffer, filled = ev.RolloutBuffer(5, device="meta"), rollout(space, 0)
    for step in range(5):
        buffer.add(SimpleNamespace(**{name: value[step].to("meta") for name, value in filled.fields.items()}))
    losses = population.learn(buffer)
    assert losses["actor"].shape == (8,)


@pytest.mark.parametrize("reach", [2**15, 2**24, 2**40])
def test_one_of_very_many_whole_numbers_has_a_probability(reach):
    """Of 2 ** 41 numbers each had the logarithm of 0, and a run diverged at its first update."""
    actions = actions_of(spaces.Box(-reach, reach, (1,), np.int64), torch.device("cpu"), torch.float32)
    action, mean, spread = torch.tensor([[[0.3]]]), torch.tensor([[[0.1]]]), torch.tensor([[[-0.5]]])
    found, _ = clipped_gaussian(mean, spread, action, actions.grain)
    # Each takes 2 / (2 * reach + 1) of the range; over so little the density does not change.
    density = torch.distributions.Normal(0.1, float(np.exp(-0.5))).log_prob(torch.tensor(0.3))
    assert float(found) == pytest.approx(float(density) + np.log(2 / (2 * reach + 1)), abs=1e-4)
