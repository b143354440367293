"""DQN and QR-DQN with a network that remembers: sequences from the buffer, warmed up, with targets that remember too."""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

import evolab as ev
from evolab.algorithms.burn_in import warmed_up
from evolab.core.experience import DRAWN, Batch, Transition
from evolab.envs.probes import RememberedCue
from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.resize_tensors import resize
from evolab.population.acting import values
from evolab.population.sampling import sampling_of
from tests import masked_play

SPACE, ENVS = spaces.Box(-1.0, 1.0, (3,), np.float32), 3


def population_of(network=None, size=1, algorithm="DQN", **options):
    wanted = {"batch_size": 20, **options.pop("hyperparameters", {})}
    return ev.Population(
        algorithm,
        options.pop("space", SPACE),
        options.pop("actions", spaces.Discrete(3)),
        size,
        network=network or ev.Recurrent(16, encoder=[16], steps=5, burn_in=3),
        hyperparameters=wanted,
        seed=0,
        device="cpu",
        dtype=torch.float64,
        **options,
    )


@dataclass
class Step:
    """One transition as it was taken, and the number of its environment's episode."""

    observation: np.ndarray
    action: int
    reward: float
    following: np.ndarray
    terminated: bool
    episode: tuple
    memory: np.ndarray


def played(population, buffer, count, seed=0, end=0.12):
    """Steps of an environment of random numbers, whose episodes end or are cut; as they were stored, row by row."""
    rng, size = np.random.default_rng(seed), len(population)
    observation, ended = rng.uniform(-1, 1, (size, ENVS, 3)).astype(np.float32), None
    rows, episode = [], np.arange(size * ENVS).reshape(size, ENVS)
    for _ in range(count):
        action = population.act(observation, ended=ended)
        ends = rng.random((2, size, ENVS)) < end
        following = rng.uniform(-1, 1, (size, ENVS, 3)).astype(np.float32)
        fresh = rng.uniform(-1, 1, following.shape).astype(np.float32)
        transition = Transition(
            observation,
            action,
            rng.normal(size=(size, ENVS)).astype(np.float32),
            following,
            ends[0],
            ends[1] & ~ends[0],
            np.where(ends.any(0)[..., None], fresh, following),
            np.ones((size, ENVS), bool),
        )
        told = population.telling(transition)
        buffer.add(told)
        rows += [
            Step(
                observation[p, e],
                int(action[p, e]),
                float(transition.reward[p, e]),
                following[p, e],
                bool(ends[0, p, e]),
                (p, e, int(episode[p, e])),
                np.array(told.remembered[p, e]),
            )
            for p in range(size)
            for e in range(ENVS)
        ]
        episode += ends.any(0)
        observation, ended = transition.reset_observation, transition.ended
    return rows


class Plain(nn.Module):
    """The same network of torch's own layers."""

    def __init__(self, module):
        super().__init__()
        self.encoder, self.output = module.encoder, module.output
        kind = nn.GRU if isinstance(module.cell, nn.GRUCell) else nn.LSTM
        self.layer = kind(module.cell.input_size, module.cell.hidden_size).double()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(self.layer, f"{name}_l0").data.copy_(getattr(module.cell, name).data)

    def forward(self, observations, memory):
        """Observations [T, 3] and what is remembered [C, H] to values [T, A], and what is remembered at last."""
        x = self.encoder(torch.as_tensor(np.array(observations), dtype=torch.float64))
        before = tuple(memory[:, None])
        out, after = self.layer(x, before[0] if isinstance(self.layer, nn.GRU) else before)
        return self.output(out), torch.stack([after] if isinstance(self.layer, nn.GRU) else list(after))[:, 0]


def reference_loss(online, target, rows, learned, weight, options):
    """The loss of one sequence, step by step from its rows: `learned` are their numbers, `weight` what each counts."""
    burn_in, n_step, discount = options
    first = learned[0]
    episode = [row for row, step in enumerate(rows) if step.episode == rows[first].episode]
    start = episode.index(first)
    began = max(0, start - burn_in)
    memory = torch.as_tensor(rows[episode[began]].memory, dtype=torch.float64)
    before = [memory, memory]
    with torch.no_grad():
        if began < start:
            seen = [rows[row].observation for row in episode[began:start]]
            before = [network(seen, memory)[1] for network in (online, target)]
    out, _ = online([rows[row].observation for row in learned], before[0])
    loss = 0.0
    for place, row in enumerate(learned):
        ahead = episode[start + place : start + place + n_step]
        goal = sum(discount**k * rows[one].reward for k, one in enumerate(ahead))
        if not rows[ahead[-1]].terminated:
            seen = [rows[one].observation for one in episode[start : episode.index(ahead[-1]) + 1]]
            seen.append(rows[ahead[-1]].following)
            with torch.no_grad():
                best = online(seen, before[0])[0][-1].argmax()
                goal += discount ** len(ahead) * float(target(seen, before[1])[0][-1, best])
        loss = loss + weight[place] * (out[place, rows[row].action] - goal) ** 2
    return loss


@pytest.mark.parametrize(("cell", "n_step"), [("gru", 1), ("lstm", 1), ("gru", 3)])
def test_updates_are_those_of_torch_own_layers(cell, n_step):
    """Stored states, burn-in of both networks, masks at ends, double targets, returns, Adam and Polyak averaging."""
    network = ev.Recurrent(16, cell, [16], steps=5, burn_in=3)
    population = population_of(network, hyperparameters={"n_step": n_step, "tau": 0.3, "lr": 1e-2})
    buffer = ev.ReplayBuffer(1000)
    rows = played(population, buffer, 40)
    (group,) = population.groups
    state = {kind: population.individual(0).tensors[kind] for kind in ("q", "q.target")}
    plain = {
        kind: Plain(network.module(population.roles["q"], group.genes[0], {k: v[0] for k, v in one.items()}))
        for kind, one in state.items()
    }
    online, target = plain["q"], plain["q.target"]
    target.load_state_dict(copy.deepcopy(target.state_dict()))
    adam = torch.optim.Adam(online.parameters(), lr=1e-2)
    generator, warm = torch.Generator().manual_seed(3), []
    for _ in range(5):
        how = sampling_of(population.table, group)
        (drawn,) = buffer.batches(group.rows, 20, 1, generator, how)
        batch = population.learner.batch_of(group, drawn)
        warm += drawn.warm.flatten().tolist()
        losses = group.update(population.algorithm, batch, None)
        weight = 1 / float(drawn.there.sum())
        total = 0.0
        for sequence in range(drawn.there.shape[2]):
            count = int(drawn.there[0, :, sequence].sum())
            learned = drawn.rows[0].view(-1, drawn.there.shape[2])[:count, sequence].tolist()
            about = (3, n_step, 0.99)
            total = total + reference_loss(online, target, rows, learned, [weight] * count, about)
        adam.zero_grad()
        total.backward()
        adam.step()
        with torch.no_grad():
            for own, other in zip(target.parameters(), online.parameters(), strict=True):
                own.lerp_(other, 0.3)
        assert float(losses["q"]) == pytest.approx(float(total.detach()), rel=1e-9)
    assert {0, 3} <= set(warm)
    assert len(set(warm)) > 2, "some episodes began less than a burn-in before"
    for kind in plain:
        found = network.module(
            population.roles["q"],
            group.genes[0],
            {k: v[0] for k, v in population.individual(0).tensors[kind].items()},
        )
        moved = Plain(found)
        for (name, own), other in zip(moved.named_parameters(), plain[kind].parameters(), strict=True):
            torch.testing.assert_close(own, other, rtol=0, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


def _resized(population, sizes):
    """Children of its agents, whose networks have become as large as that; each with a batch size of its own."""
    about = population.network, population.roles, {}, 0.1, torch.Generator().manual_seed(0)
    children = [population.individual(row).child(10 + row) for row in range(len(population))]
    for child, (gene, size, batch) in zip(children, sizes, strict=True):
        resize(child, Context(*about), gene, size)
        child.hyperparameters["batch_size"] = batch
    population.rebuild(children)


def _of(drawn, agent, count):
    """What one agent alone would have drawn: its own sequences."""
    whole = drawn.memory.shape[1]

    def own(leaf):
        return leaf[agent : agent + 1].unflatten(1, (-1, whole))[:, :, :count].flatten(1, 2)

    names = ("observation", "action", "reward", "next_observation", "terminated", "ahead", "rows")
    parts = {name: own(getattr(drawn, name)) for name in names}
    parts |= {
        "warm": drawn.warm[agent : agent + 1, :count],
        "memory": drawn.memory[agent : agent + 1, :count],
    }
    parts["there"] = drawn.there[agent : agent + 1, :, :count]
    return type(drawn)(**parts, burn_in=drawn.burn_in, asked=drawn.asked)


@pytest.mark.parametrize("algorithm", ["DQN", "QRDQN"])
def test_an_agent_learns_beside_others_as_if_alone(algorithm):
    """Agents of other widths and batch sizes, one pool of what all have stored: each as in a population of its own."""
    population = population_of(size=3, algorithm=algorithm)
    _resized(population, [("units", 16, 100), ("units", 40, 50), ("hidden.0", 32, 75)])
    buffer = ev.ReplayBuffer(500)
    played(population, buffer, 40)
    alone = [population.copy([row]) for row in range(3)]
    generator = torch.Generator().manual_seed(0)
    known = torch.zeros(3, dtype=torch.bool)
    for _ in range(3):
        for group in population.groups:
            how = sampling_of(population.table, group)
            (drawn,) = buffer.batches(group.rows, group.batch, 1, generator, how)
            known[group.rows] |= drawn.memory.flatten(1).any(1)
            group.update(population.algorithm, population.learner.batch_of(group, drawn), None)
            for agent, row in enumerate(range(group.start, group.stop)):
                (own,) = alone[row].groups
                batch = _of(drawn, agent, own.batch // 5)
                own.update(alone[row].algorithm, alone[row].learner.batch_of(own, batch), None)
    assert known.all(), "everybody found sequences of its own"
    for row in range(3):
        together, apart = population.individual(row), alone[row].individual(0)
        for kind in ("q", "q.target"):
            for name, value in together.tensors[kind].items():
                torch.testing.assert_close(value, apart.tensors[kind][name], rtol=0, atol=1e-9)


def _learned(network, algorithm="DQN", steps=400, **values_of):
    """On a cue that is shown at the first of six steps: what the greedy policy earns, and its values at the first step."""
    envs = ev.envs.make(lambda: RememberedCue(length=6), population=1, num_envs=16, seed=0)
    usual = {"lr": 3e-3, "batch_size": 96, "discount": 0.9, "tau": 0.1, "epsilon_steps": 2000}
    population = ev.Population(
        algorithm, envs.single_observation_space, envs.single_action_space, 1, network=network,
        hyperparameters=usual | values_of, seed=1, device="cpu",
    )  # fmt: skip
    buffer = ev.ReplayBuffer(5_000)
    observation, ended = envs.reset(), None
    for step in range(steps):
        transition = envs.step(population.act(observation, ended=ended))
        buffer.add(population.telling(transition))
        if step == steps - 150:  # what it knows comes to rest
            population.table.hyper["lr"].mul_(0.1)
        if len(buffer) >= 500:
            population.learn(buffer, updates=2)
        observation, ended = transition.reset_observation, transition.ended
    earned = float(ev.evaluate(population, envs, 20, seed=3)[0])
    return earned, values(population.table, np.array([[[-1.0], [1.0]]], np.float32))[0]


@pytest.mark.parametrize(
    ("algorithm", "options"), [("DQN", {}), ("QRDQN", {}), ("DQN", {"priority": 0.6})], ids=str
)
def test_a_cue_is_remembered_and_its_value_known(algorithm, options):
    """0.9 to the power of 5, whichever the cue; sequences are longer than the episodes."""
    earned, value = _learned(ev.Recurrent(16, encoder=[16], steps=8), algorithm, 600, **options)
    assert earned == 1.0
    assert value == pytest.approx([0.9**5] * 2, abs=0.02)


def test_who_does_not_remember_cannot_know_it():
    earned, value = _learned(ev.MLP([16]), steps=300)
    assert abs(earned) <= 0.4
    assert value == pytest.approx([0.0, 0.0], abs=0.2)


def test_burn_in_repairs_what_was_never_stored():
    """Sequences that begin with nothing know of a cue that lies within the burn-in, and of none that is older."""
    population = population_of(ev.Recurrent(16, encoder=[16], steps=2, burn_in=2))
    buffer = ev.ReplayBuffer(200)
    rows = played(population, buffer, 20)
    (group,) = population.groups
    kept = buffer.fields["remembered_by"].clone()
    outcomes = []
    for told in (True, False):
        buffer.fields["remembered_by"][:] = kept if told else -1
        how = sampling_of(population.table, group)
        (drawn,) = buffer.batches(group.rows, 60, 1, torch.Generator().manual_seed(0), how)
        batch = population.learner.batch_of(group, drawn)
        readers = population.algorithm.readers(group, None)
        outcomes.append(warmed_up(batch, readers).remembered.before["q"][0, :, 0])
    exact, warmed = outcomes
    first = drawn.rows[0].view(-1, len(exact))[0]
    acted = torch.stack([torch.as_tensor(rows[row].memory[0]) for row in first.tolist()])
    torch.testing.assert_close(exact, acted.double(), rtol=0, atol=1e-6)
    age = torch.tensor(
        [[one.episode for one in rows[:row]].count(rows[row].episode) for row in first.tolist()]
    )
    near = age <= 2
    assert 0 < near.sum() < len(near)
    torch.testing.assert_close(warmed[near], exact[near], rtol=0, atol=1e-6)
    assert not torch.isclose(warmed[~near], exact[~near], atol=1e-6).all(-1).any()


@pytest.mark.parametrize("options", [{}, {"noisy": True}, {"dueling": True}, {"double": False}], ids=str)
def test_masks_dicts_normalisation_and_rainbows_parts_go_with_it(options):
    population = population_of(
        size=2, algorithm=ev.DQN(**options), space=masked_play.SPACE, normalise=True,
        hyperparameters={"n_step": 2, "priority": 0.5},
    )  # fmt: skip
    buffer = ev.ReplayBuffer(500)
    before = {name: value.clone() for name, value in population.table.items()}
    for transition in masked_play.transitions(population, 20):
        buffer.add(population.telling(transition))
    losses = population.learn(buffer, updates=3)
    assert all(bool(torch.isfinite(value).all()) for value in losses.values())
    assert not torch.equal(population.table["q"], before["q"])
    count = float(population.table.statistics()["observation"][0, 0, 0])
    assert 0 < count <= 3 * 20, "steps that only warm up, and those that are repeated, are not measured"


def begun(folder=None, **options):
    about = {
        "algorithm": "DQN", "network": ev.Recurrent(16, "lstm", [16], steps=4), "population": 3, "num_envs": 4,
        "buffer": 300, "steps_per_generation": 48, "update_ratio": 0.1,
        "mutations": ev.Mutations(none=0.2, architecture=0.8),
        "hyperparameters": {"batch_size": 16}, "search_space": {"n_step": ev.Integer(1, 3)}, "seed": 3, "progress": False,
    }  # fmt: skip
    return ev.Experiment(lambda: RememberedCue(length=4), **(about | options))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"buffer": ev.ReplayBuffer(100, shared=False)},
        {"hyperparameters": {"batch_size": 16, "priority": 0.6}},
    ],
    ids=["shared", "apart", "priorities"],
)
def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(tmp_path, options):
    whole, half = begun(**copy.deepcopy(options)), begun(**copy.deepcopy(options))
    whole.run(generations=4)
    half.run(generations=2)
    half.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", environment=lambda: RememberedCue(length=4))
    again.run(generations=2)
    assert again.population.ids == whole.population.ids
    widths = {one.genes.units for one in whole.population.individuals}
    assert len(widths) > 1 or widths != {16}, "they have evolved"
    for name, value in whole.population.table.items():
        assert torch.equal(again.population.table[name], value), name
    for name in ("remembered", "remembered_by"):
        known, found = (one.buffer.fields[name][:100] for one in (whole, again))
        assert torch.equal(known, found), name
    assert whole.buffer.fields["remembered"].any()


def test_an_agent_acts_and_is_exported_with_its_memory(tmp_path):
    population = population_of(ev.Recurrent(16, "lstm", [16]))
    agent = population[0]
    with pytest.raises(ValueError, match=r"memory = agent.memory\(\)"):
        agent.act(np.zeros(3, np.float32))
    agent.save(tmp_path / "agent")
    agent = ev.Agent.load(tmp_path / "agent")
    module, memory = agent.module(), agent.memory()
    remembered = torch.zeros(5, *module.memory, dtype=torch.float64)
    for seed in range(3):
        x = np.random.default_rng(seed).uniform(-1, 1, (5, 3))
        answer, remembered = module(torch.as_tensor(x), remembered)
        assert torch.equal(answer.argmax(-1), agent.act(torch.as_tensor(x), memory=memory))


def test_an_agent_learns_alone_from_the_buffer_and_from_single_transitions():
    population, buffer = population_of(), ev.ReplayBuffer(200)
    played(population, buffer, 20)
    assert np.isfinite(population[0].learn(buffer)["q"])
    single = {name: value[:10].clone() for name, value in buffer.fields.items() if not name.startswith("rem")}
    assert np.isfinite(population[0].learn(Batch(**{k: single[k] for k in DRAWN}))["q"])


def test_what_needs_single_transitions_is_refused_before_time_is_spent():
    with pytest.raises(
        ValueError, match="hindsight gives single transitions other goals, and the network remembers"
    ):
        begun(hyperparameters={"hindsight": 0.5})
    with pytest.raises(ValueError, match=r"burn_in is 5, and a sequence has steps=4: .* at most steps"):
        ev.Recurrent(steps=4, burn_in=5)
    with pytest.raises(ValueError, match="burn_in is -1"):
        ev.Recurrent(burn_in=-1)
    assert (ev.Recurrent(steps=4).burn_in, ev.Recurrent().burn_in) == (4, 8)


def test_one_that_diverges_takes_nobody_with_it():
    """NaN parameters in one agent of a population that shares its experience."""
    population = population_of(size=2)
    buffer = ev.ReplayBuffer(500)
    population.table["q"][1] = float("nan")
    played(population, buffer, 30)
    losses = population.learn(buffer, updates=3)["q"]
    assert torch.isfinite(losses[0])
    assert not torch.isfinite(losses[1])
    assert torch.isfinite(population.table["q"][0]).all()


def test_greedy_episodes_remember_without_noise():
    """Side by side with others that explore by noise in their weights, each remembers what it acted by."""
    network = ev.Recurrent(16, encoder=[16], steps=4)
    population, plain = (population_of(network, algorithm=ev.DQN(noisy=noisy)) for noisy in (True, True))
    where, seen = np.array([[True, False, False]]), np.random.default_rng(0).uniform(-1, 1, (1, 3, 3))
    for _ in range(3):
        none = np.zeros((1, 3), bool)
        population.act(seen, where, ended=none)
        plain.act(seen, False, ended=none)
    found, greedy = (one.table.memory["remembered"][0] for one in (population, plain))
    assert torch.equal(found[1:], greedy[1:])
    assert not torch.allclose(found[0], greedy[0])


def test_what_was_remembered_is_told_of_one_step_alone():
    """A random step behind it was not acted on by what the agents remember."""
    population = population_of()
    seen, none = np.zeros((1, 3, 3), np.float32), np.zeros((1, 3), bool)
    population.act(seen)
    step = Transition(seen, none.astype(int), np.zeros((1, 3), np.float32), seen, none, none, seen, ~none)
    assert population.telling(step).remembered_by[0, 0].tolist() == [0, 16]
    assert population.telling(step).remembered is None


def test_images_and_stacked_observations_go_with_it():
    """Frames that are stored once make up the steps of a sequence too."""
    exp = ev.Experiment(
        lambda: RememberedCue(observations="image", length=4), algorithm="DQN", network=ev.Recurrent(16, steps=3),
        frame_stack=2, population=2, num_envs=2, buffer=200, steps_per_generation=60, update_ratio=0.1,
        hyperparameters={"batch_size": 9}, seed=3, progress=False,
    )  # fmt: skip
    exp.run(generations=2)
    assert exp.buffer.frames["observation"] is not None
    assert all(np.isfinite(one.fitness).all() for one in exp.history.generations[-1].evaluations)
    assert torch.isfinite(exp.population.table["q"]).all()
