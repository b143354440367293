"""PPO with a network that remembers: what it learns from is what it remembered when it acted."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.envs.probes import RememberedCue
from evolab.networks.sequences import Sequences
from evolab.population.acting import values
from tests import masked_play

SPACE, LENGTH, ENVS = spaces.Box(-1.0, 1.0, (3,), np.float32), 11, 4


def _population(network=None, size=1, **options):
    values = {"batch_size": 8, "epochs": 2}
    return ev.Population(
        "PPO",
        options.pop("space", SPACE),
        options.pop("actions", spaces.Discrete(3)),
        size,
        network=network or ev.Recurrent(16, encoder=[16], steps=4),
        hyperparameters=values,
        seed=0,
        device="cpu",
        dtype=torch.float64,
        **options,
    )


def _transitions(population, count, seed=0):
    """Steps with episodes that end, are cut or break off, acted on by the population."""
    rng, size = np.random.default_rng(seed), len(population)
    observation, ended = rng.uniform(-1, 1, (size, ENVS, 3)), None
    for _ in range(count):
        action = population.act(observation, ended=ended)
        end = rng.random((3, size, ENVS)) < 0.15
        following = rng.uniform(-1, 1, (size, ENVS, 3))
        transition = ev.core.experience.Transition(
            observation=observation,
            action=action,
            reward=np.where(end[2], 0.0, rng.normal(size=(size, ENVS))).astype(np.float32),
            next_observation=following,
            terminated=end[0] & ~end[2],
            truncated=end[1] & ~end[0] & ~end[2],
            reset_observation=np.where(
                (end.any(0))[..., None], rng.uniform(-1, 1, following.shape), following
            ),
            valid=~end[2],
        )
        yield transition
        observation, ended = transition.reset_observation, transition.ended


def _filled(population, buffer, rollouts=1):
    """What the learner makes of the last of some rollouts, the others having been learned from."""
    for count, transition in enumerate(_transitions(population, rollouts * LENGTH), 1):
        buffer.add(transition)
        if count < rollouts * LENGTH:
            population.learn(buffer)
    (group,) = population.groups
    (drawn,) = buffer.batches(group.rows, 8, 1, torch.Generator())
    return group, population.learner.batch_of(group, drawn)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("rollouts", [1, 2])
def test_what_is_unrolled_is_what_was_remembered(cell, rollouts):
    """At a rollout's end learning has the very memory that acting has, across ends, faults and rollouts."""
    network = ev.Recurrent(16, cell, encoder=[16], steps=4)
    population, buffer = _population(network, size=2), ev.RolloutBuffer(LENGTH)
    if rollouts == 2:  # of parameters that do not move: otherwise the first rollout's are older
        population = _population(network, size=2, search_space={})
        population.table.hyper["lr"].zero_()
    group, batch = _filled(population, buffer, rollouts)
    acting = population.table.memory["remembered"]
    population.algorithm.evaluate(group, batch)
    unrolled = batch.remembered.after["actor"].unflatten(1, (LENGTH, ENVS))[:, -1]
    torch.testing.assert_close(unrolled, acting, rtol=0, atol=1e-12)
    assert unrolled.any()


def test_minibatches_begin_with_what_was_remembered():
    """No parameter has moved before the first update, so the probabilities of all actions are those they had."""
    population, buffer = _population(size=2), ev.RolloutBuffer(LENGTH)
    group, batch = _filled(population, buffer, rollouts=2)
    generator = torch.Generator().manual_seed(0)
    known = population.algorithm.evaluate(group, batch)[0]
    parts = list(population.algorithm.minibatches(group, batch, generator))
    per_pass = len(parts) // 2
    assert per_pass == 6  # 3 stretches of 4, 4 and 3 steps in 4 environments, two of them a minibatch
    for part in parts:
        log_prob, _ = population.algorithm.likelihood(group, group.network("actor"), None, part)
        counted = part.weight > 0
        torch.testing.assert_close(log_prob[counted], part.log_prob[counted], rtol=0, atol=1e-12)
        seen = Sequences(part.observation, part.remembered.before["critic"], part.remembered.begins)
        value = group.network("critic")(seen).squeeze(-1)
        assert value.shape == part.goal.shape
    for agent in range(2):  # a pass has every valid step once
        own = torch.cat([part.log_prob[agent][part.weight[agent] > 0] for part in parts[:per_pass]])
        expected = known[agent][batch.valid[agent]]
        torch.testing.assert_close(own.sort().values, expected.sort().values)


def test_a_truncated_episode_bootstraps_from_its_own_memory():
    """The value of what truly followed is asked for behind the memory of the episode that was cut."""
    population, buffer = _population(), ev.RolloutBuffer(LENGTH)
    group, batch = _filled(population, buffer)
    _, value, next_value = population.algorithm.evaluate(group, batch)
    going_on = ~batch.broken.bool()[0, :-ENVS]
    torch.testing.assert_close(next_value[0, :-ENVS][going_on], value[0, ENVS:][going_on], rtol=0, atol=1e-12)
    cut = int((batch.ended & ~batch.terminated.bool() & batch.valid)[0].nonzero()[0])
    memory = batch.remembered.after["critic"][:, cut : cut + 1]
    alone = group.network("critic")(Sequences(batch.next_observation[:, cut : cut + 1], memory))
    torch.testing.assert_close(next_value[:, cut], alone[:, 0, 0], rtol=0, atol=1e-12)
    fresh = group.network("critic")(batch.next_observation[:, cut : cut + 1])
    assert not torch.allclose(next_value[:, cut], fresh[:, 0, 0])


def test_an_agent_learns_beside_others_as_if_alone():
    """Three agents of different widths, one batch of sequences: each moves as in a population of its own."""
    population = _population(size=3)
    context = ev.evolution.mutation.context.Context(
        population.network, population.roles, {}, 0.1, torch.Generator().manual_seed(0)
    )
    children = [population.individual(row).child(10 + row) for row in range(3)]
    ev.evolution.mutation.resize_tensors.resize(children[1], context, "units", 40)
    ev.evolution.mutation.resize_tensors.resize(children[2], context, "hidden.0", 32)
    population.rebuild(children)
    buffer = ev.RolloutBuffer(LENGTH)
    for transition in _transitions(population, LENGTH):
        buffer.add(transition)
    after = {}
    for rows in ([0, 1, 2], [0], [1], [2]):
        part = population.copy(rows)
        for group in part.groups:
            taken = [population.row(id) for id in part.ids[group.rows]]
            (drawn,) = buffer.batches(slice(None), 8, 1, torch.Generator())
            own = drawn_rows(drawn, taken)
            batch = part.learner.batch_of(group, own)
            # The order of sequences is drawn, and differs in other company: one minibatch of all steps has none.
            group.settings[0]["batch_size"], group.settings[0]["epochs"] = 1000, 3
            for minibatch in part.algorithm.minibatches(group, batch, torch.Generator().manual_seed(0)):
                group.update(part.algorithm, minibatch, None)
        for row, id in enumerate(part.ids):
            state = part.individual(row).tensors
            flat = torch.cat(
                [state[name][key].flatten() for name in ("actor", "critic") for key in state[name]]
            )
            if id in after:
                torch.testing.assert_close(flat, after[id], rtol=0, atol=1e-9)
            after[id] = flat


def drawn_rows(steps, rows):
    """A rollout of some agents."""
    names = ("observation", "action", "reward", "next_observation", "terminated", "ended", "valid")
    return type(steps)(**{name: getattr(steps, name)[rows] for name in names}, num_envs=steps.num_envs)


def _earned(network, rollouts):
    """Of the last ten rollouts, where a cue was shown at the first step: mean reward of the last, values at the first."""
    envs = ev.envs.make(lambda: RememberedCue(length=6), population=1, num_envs=32, seed=0)
    population = ev.Population(
        "PPO",
        envs.single_observation_space,
        envs.single_action_space,
        size=1,
        network=network,
        hyperparameters={"lr": 3e-3, "batch_size": 96, "discount": 0.9},
        seed=1,
    )
    buffer, earned = ev.RolloutBuffer(6), []
    observation, ended = envs.reset(), None
    for _ in range(6 * rollouts):
        transition = envs.step(population.act(observation, ended=ended))
        buffer.add(transition)
        population.learn(buffer)
        observation, ended = transition.reset_observation, transition.ended
        earned.append(np.mean(transition.reward))
    return float(np.mean(earned[-60:]) * 6), values(population.table, observation)


def test_a_cue_is_remembered_that_others_cannot_know_of():
    earned, value = _earned(ev.Recurrent(16, encoder=[16]), 40)
    assert earned > 0.8
    assert value.mean() == pytest.approx(0.9**5, abs=0.1), "what comes five steps later, discounted"
    earned, _ = _earned(ev.MLP([16]), 20)
    assert abs(earned) < 0.4


def test_acting_says_what_is_missing():
    population = _population(size=1)
    agent, seen = population[0], np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"memory = agent.memory\(\)"):
        agent.act(seen)
    memory = agent.memory()
    first = agent.act(seen, memory=memory)
    with pytest.raises(ValueError, match="of 1 episodes beside each other, and 2 observations"):
        agent.act(np.zeros((2, 3), np.float32), memory=memory)
    memory.begin()
    assert agent.act(seen, memory=memory) == first
    population.act(seen[None, None])
    with pytest.raises(ValueError, match=r"ended=transition\.ended"):
        population.act(seen[None, None])
    population.begin_episodes()
    population.act(seen[None, None])
    population.act(seen[None, None], ended=np.zeros((1, 1), bool))


def test_evaluation_leaves_episodes_under_way_alone():
    envs = ev.envs.make(lambda: RememberedCue(length=3), population=1, num_envs=2, seed=0)
    population = _population(space=envs.single_observation_space, actions=envs.single_action_space)
    population.act(envs.reset())
    before = population.table.memory["remembered"].clone()
    ev.evaluate(population, envs, episodes=2, seed=1)
    assert torch.equal(population.table.memory["remembered"], before)


def test_memory_makes_a_difference_in_an_evaluation():
    """Greedy episodes carry what is remembered, and begin without it: each by itself is what all are side by side."""

    class Shown(RememberedCue):
        def reward(self, action):
            return action * 10.0**self.time

    envs = ev.envs.make(lambda: Shown("continuous", length=4), population=1, num_envs=1, seed=0)
    population = _population(space=envs.single_observation_space, actions=envs.single_action_space)
    population.table["actor"].mul_(8)  # away from the start, at which all actions are near 0
    agent = population[0]
    together = agent.evaluate(envs, 4, seed=3).returns
    one, expected = Shown("continuous", length=4), {}
    for cue in (-1.0, 1.0):
        memory, total = agent.memory(), 0.0
        for time, state in enumerate([cue, 0.0, 0.0, 0.0]):
            action = agent.act(np.array([state], np.float32), memory=memory)
            total += float(action[0]) * 10.0**time
        expected[cue] = total
    one.close()
    assert abs(expected[1.0] - expected[-1.0]) > 1e-3
    for found in together:
        assert min(abs(found - value) for value in expected.values()) < 1e-3


def test_masks_dicts_and_normalisation_go_with_it():
    population = ev.Population(
        "PPO",
        masked_play.SPACE,
        spaces.Discrete(3),
        2,
        network="Recurrent",
        hyperparameters={"batch_size": 16},
        normalise=True,
        seed=0,
    )
    buffer, losses = ev.RolloutBuffer(6), {}
    for transition in masked_play.transitions(population, 6):
        buffer.add(transition)
        losses = population.learn(buffer)
    assert losses
    assert all(bool(torch.isfinite(value).all()) for value in losses.values())


def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(tmp_path):
    def begun():
        return ev.Experiment(
            lambda: RememberedCue(length=4),
            algorithm="PPO",
            network=ev.Recurrent(16, "lstm", [16], steps=3),
            population=2,
            num_envs=4,
            buffer=8,
            steps_per_generation=32,
            hyperparameters={"batch_size": 16, "epochs": 1},
            mutations=ev.Mutations(none=0.2, architecture=0.8),
            seed=3,
            progress=False,
        )

    whole, half = begun(), begun()
    whole.run(generations=3)
    half.run(generations=2)
    half.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", environment=lambda: RememberedCue(length=4))
    again.run(generations=1)
    assert again.population.ids == whole.population.ids
    widths = {one.genes.units for one in whole.population.individuals}
    assert len(widths) > 1 or widths != {16}  # they have evolved
    for name, value in whole.population.table.items():
        assert torch.equal(again.population.table[name], value), name


def test_an_agent_is_exported_with_its_memory(tmp_path):
    population = _population(ev.Recurrent(16, "lstm", [16]), actions=spaces.Box(-2, 3, (2,), np.float32))
    agent = population[0]
    agent.save(tmp_path / "agent")
    agent = ev.Agent.load(tmp_path / "agent")
    module, memory = agent.module(), agent.memory()
    remembered = torch.zeros(5, *module.memory, dtype=torch.float64)
    for seed in range(3):
        x = np.random.default_rng(seed).uniform(-1, 1, (5, 3))
        answer, remembered = module(torch.as_tensor(x), remembered)
        torch.testing.assert_close(answer.detach(), agent.act(torch.as_tensor(x), memory=memory))
    with pytest.raises(TypeError, match=r"this policy remembers: .* \[B, 2, 16\]"):
        module(torch.zeros(1, 3))
    assert "memory=memory" in (tmp_path / "agent" / "README.md").read_text()
    assert agent.export(tmp_path / "policy.pt2").exists()  # compared with the agent before it returns
