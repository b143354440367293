"""Agents that see again what they were wrong about: against a loop by hand, in kernels, saved, evolved."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

import evolab as ev
from evolab.networks.batching import whole_updates as whole
from evolab.population import batched_updates
from tests.algorithms.recorded import episodes

LEARN_SO = ["DQN", "QRDQN", "DDPG", "TD3", "SAC", "TQC"]


def population(algorithm, size=5, dtype=torch.float64, **values):
    discrete = "DQN" in getattr(algorithm, "name", algorithm)
    agents = ev.Population(
        algorithm, Box(-1, 1, (5,)), Discrete(3) if discrete else Box(-2, 2, (2,)), size=size,
        network=ev.MLP([21, 12], activation="elu"), dtype=dtype, seed=3, device="cpu", search_space={},
        hyperparameters={"priority": 0.6, "importance": 0.7, "batch_size": 16},
    )  # fmt: skip
    individuals = [agents.individual(row) for row in range(size)]
    for name, each in values.items():
        for individual, value in zip(individuals, each, strict=True):
            individual.hyperparameters[name] = value
    agents.rebuild(individuals)
    return agents


DIFFERENT = {
    "priority": (0.6, 0.0, 1.0, 0.3, 0.6),
    "importance": (0.7, 0.4, 0.0, 1.0, 0.5),
    "batch_size": (20, 31, 60, 44, 25),
}


@pytest.mark.kernels
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("algorithm", LEARN_SO)
def test_whole_updates_tell_the_errors_that_the_algorithm_s_own_tell(monkeypatch, algorithm, steps):
    found, made, make = [], [], whole.make
    monkeypatch.setattr(whole, "make", lambda jobs: (made.append(len(jobs)), make(jobs)))
    for composed in (False, True):
        with monkeypatch.context() as patch:
            if composed:
                patch.setattr(batched_updates.Waiting, "take", lambda *about: False)
            agents = population(algorithm, n_step=(steps, 1, 1, 2, 1), **DIFFERENT)
            buffer = episodes("DQN" in algorithm)
            agents.learn(buffer, updates=9)
            found.append({name: value.clone() for name, value in agents.table.items()})
            found[-1]["priorities"] = buffer.priorities.sizes.clone()
    assert sum(made) >= 9, "kernels have made none"
    assert found[0]["priorities"][:, :120].unique().numel() > 50
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-5, atol=1e-7, msg=name)


def test_dqn_by_hand():
    """One agent and torch's own parts with the same draws: errors, weights, priorities and every weight of the network."""
    buffer = episodes(True)
    agents = ev.Population(
        ev.DQN(double=False), Box(-1, 1, (5,)), Discrete(3), size=1, network=ev.MLP([8]), dtype=torch.float64, seed=3,
        device="cpu", search_space={},
        hyperparameters={"priority": 0.6, "importance": 0.7, "batch_size": 16, "discount": 0.9, "tau": 0.1, "lr": 0.01},
    )  # fmt: skip
    q, target = (
        torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).double()
        for _ in "qt"
    )
    for network in (q, target):
        for mine, its in zip(network[::2], linear(agents[0]), strict=True):
            mine.load_state_dict(its.state_dict())
    adam, sizes, largest = torch.optim.Adam(q.parameters(), lr=0.01), torch.ones(120), 1.0
    stored = {
        name: buffer.fields[name][:120] for name in ("observation", "action", "reward", "next_observation")
    }
    over, state = buffer.fields["terminated"][:120].double(), agents.table.generator.get_state()
    agents.learn(buffer, updates=6)
    stream = torch.Generator()
    stream.set_state(state)
    for _ in range(6):
        power = sizes.double() ** float(torch.tensor(0.6, dtype=torch.float64))
        chance = torch.rand(1, 16, dtype=torch.float64, generator=stream)[0]
        index = torch.searchsorted(power.cumsum(0), chance * power.sum(), right=True)
        weight = (120 * power[index] / power.sum()) ** -0.7
        weight = weight / weight.sum()
        see, then = (stored[name][index].double() for name in ("observation", "next_observation"))
        with torch.no_grad():
            aim = stored["reward"][index].double() + 0.9 * (1 - over[index]) * target(then).amax(-1)
        error = q(see).gather(-1, stored["action"][index].long()[:, None]).squeeze(-1) - aim
        adam.zero_grad()
        (weight * error.square()).sum().backward()
        adam.step()
        with torch.no_grad():
            for slow, fast in zip(target.parameters(), q.parameters(), strict=True):
                slow.lerp_(fast, 0.1)
        sizes[index] = error.detach().abs().float() + 1e-6
        largest = max(largest, float(sizes.max()))
    torch.testing.assert_close(buffer.priorities.sizes[0, :120], sizes, rtol=1e-5, atol=1e-6)
    assert float(buffer.priorities.largest[0]) == pytest.approx(largest, rel=1e-5)
    for mine, its in zip(q[::2], linear(agents[0]), strict=True):
        torch.testing.assert_close(its.weight.double(), mine.weight, rtol=1e-6, atol=1e-9)


def linear(agent):
    return [layer for layer in agent.module().modules() if isinstance(layer, torch.nn.Linear)]


@pytest.mark.parametrize(("importance", "exact"), [(1.0, 0.25), (0.0, 1 / (1 + 3**0.5))])
@pytest.mark.parametrize("algorithm", ["DQN", "TD3"])
def test_values_are_the_mean_where_weights_undo_the_priorities_and_else_not(algorithm, importance, exact):
    """One state, of whose rewards a quarter are 1 and the others 0. Where errors draw in proportion to their size and
    nothing undoes it, q is learned to be where (1 - q)^2 / 4 equals 3 q^2 / 4."""
    discrete, count = algorithm == "DQN", 400
    state = np.zeros((count, 1), "f")
    buffer = ev.ReplayBuffer(count)
    buffer.add(
        SimpleNamespace(
            observation=state, action=np.zeros(count, int) if discrete else state, next_observation=state,
            reward=(np.arange(count) % 4 == 0).astype("f"), terminated=np.ones(count, bool), valid=None,
            truncated=np.zeros(count, bool),
        )
    )  # fmt: skip
    agents = ev.Population(
        algorithm, Box(-1, 1, (1,)), Discrete(2) if discrete else Box(-1, 1, (1,)), 1, network=ev.MLP([16]), seed=0,
        hyperparameters={"batch_size": 64, "priority": 1.0, "importance": importance}
        | ({"lr": 5e-3} if discrete else {"lr_critic": 5e-3}), search_space={}, device="cpu",
    )  # fmt: skip
    agents.learn(buffer, updates=600)
    (group,), seen = agents.groups, torch.zeros(1, 1, 1)
    with torch.no_grad():
        found = group.network("q")(seen)[..., 0] if discrete else group.network("critic")(seen, seen)
    assert found.flatten().tolist() == pytest.approx([exact] * found.numel(), abs=0.03)


def test_the_exponent_at_0_draws_as_ever():
    off, buffer = population("DQN", priority=(0.0,) * 5), episodes(True)
    off.learn(buffer, updates=3)
    assert buffer.priorities is None
    plain = ev.Population(
        "DQN", Box(-1, 1, (5,)), Discrete(3), size=5, network=ev.MLP([21, 12], activation="elu"), dtype=torch.float64,
        seed=3, device="cpu", search_space={}, hyperparameters={"batch_size": 16},
    )  # fmt: skip
    plain.learn(episodes(True), updates=3)
    for name, value in plain.table.items():
        assert name == "priority" or name == "importance" or value.equal(off.table[name]), name


def experiment(algorithm, **options):
    told = {
        "population": 3, "num_envs": 2, "network": [16], "steps_per_generation": 40, "seed": 1, "device": "cpu",
        "hyperparameters": {"batch_size": 16}, "progress": False, **options,
    }  # fmt: skip
    return ev.Experiment("CartPole-v1" if "DQN" in algorithm else "Pendulum-v1", algorithm, **told)


@pytest.mark.parametrize("algorithm", LEARN_SO)
def test_it_evolves_and_is_saved_and_resumed_bit_for_bit(algorithm, tmp_path):
    exp = experiment(
        algorithm, search_space={"priority": ev.Float(0.1, 1.0, log=False), "importance": ev.Float(0.2, 1.0)},
        draw=True, mutations=ev.Mutations(none=0, architecture=0, parameters=0, activation=0, hyperparameters=1),
    )  # fmt: skip
    exp.run(generations=2)
    for name, low in (("priority", 0.1), ("importance", 0.2)):
        values = exp.history.hyperparameters[name]
        assert values.between(low, 1.0).all()
        assert values.nunique() > 2
    exp.save(tmp_path / "run")
    assert next((tmp_path / "run").glob("generation-*/priorities.safetensors")).is_file()
    resumed = ev.Experiment.load(tmp_path / "run", progress=False)
    for one in (exp, resumed):
        one.run(generations=2)
    assert exp.history.fitness.equals(resumed.history.fitness)
    for name, tensor in exp.population.table.items():
        assert tensor.equal(resumed.population.table[name]), name


def test_agents_that_do_without_it_are_saved_and_told_of_as_ever(tmp_path):
    exp = experiment("DQN")
    exp.run(generations=1)
    assert not {"priority", "importance"} & set(exp.history.hyperparameters)
    exp.save(tmp_path / "run")
    assert not list((tmp_path / "run").glob("generation-*/priorities.safetensors"))


def test_an_agent_that_diverges_is_named_once():
    agents, buffer = population("DQN", size=2, dtype=torch.float32), episodes(True)
    agents.learn(buffer, updates=2)
    agents.table["q.target"][1].fill_(float("nan"))
    with pytest.warns(UserWarning, match="agent 1: its temporal-difference errors are not finite"):
        agents.learn(buffer, updates=1)
    agents.learn(buffer, updates=1)  # nothing more is said: warnings are errors here
    assert torch.isfinite(buffer.priorities.sizes).all()


def test_an_update_of_one_s_own_has_to_tell_its_errors():
    class Silent(ev.DQN):
        def update(self, agents, batch, noise):
            loss = agents.gradient_step("q", self.error(agents, batch), batch.observation)
            return {"q": loss}

    with pytest.raises(TypeError, match=r"hand noted=batch\.error to its gradient_step"):
        population(Silent()).learn(episodes(True), updates=1)


def test_one_agent_learns_alone_by_it():
    agents, buffer = population("DQN"), episodes(True)
    before = buffer.priorities
    agents[2].learn(buffer)
    assert before is None
    assert (buffer.priorities.sizes[2, :120] != 1).any()
    assert (buffer.priorities.sizes[:2, :120] == 1).all()


def test_data_on_disk_cannot_be_drawn_so(tmp_path):
    data = {
        "observations": np.zeros((40, 5), "f"), "actions": np.zeros(40, int), "rewards": np.zeros(40),
        "terminals": np.arange(40) % 5 == 4, "next_observations": np.zeros((40, 5), "f"),
    }  # fmt: skip
    from evolab.data.buffers.offline import buffer_from

    ev.Dataset(data).save(tmp_path / "data.h5")
    buffer, _ = buffer_from(ev.Dataset(tmp_path / "data.h5", max_memory=1))
    with pytest.raises(ev.DatasetError, match="priority needs data in memory"):
        population("DQN", batch_size=(8,) * 5).learn(buffer, updates=1)


def test_the_other_names_are_understood():
    with pytest.raises(ValueError, match="evolab calls it priority"):
        experiment("DQN", hyperparameters={"prioritized_replay_alpha": 0.6})
    for name in ("CQN", "TD3BC", "PPO"):
        assert not {"priority", "importance"} & set(ev.search_space(name)["name"])
