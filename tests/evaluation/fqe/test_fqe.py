from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.data.buffers.offline import buffer_from
from evolab.evaluation.fqe.ensemble import CriticEnsembles, Scale
from evolab.evaluation.fqe.fqe import FQE

FLIP = spaces.Box(0, 1, (1,), np.float32)


def flips(episodes: int = 60, length: int = 10, actions: tuple[int, ...] = (0, 1)) -> dict[str, np.ndarray]:
    """A state that is 0 and 1 in turn, from 0 on; action 1 earns 1; episodes are cut, never terminated."""
    generator = np.random.default_rng(0)
    count = episodes * length
    state = np.tile(np.arange(length) % 2, episodes).astype(np.float32)[:, None]
    action = generator.choice(actions, count)
    ends = np.tile(np.arange(length) == length - 1, episodes)
    return {
        "observations": state, "actions": action, "rewards": action.astype(np.float32),
        "terminals": np.zeros(count, bool), "timeouts": ends, "next_observations": 1 - state,
    }  # fmt: skip


def deciders(count: int = 3) -> ev.Population:
    """Agent 0 always takes 1, agent 1 always 0, agent 2 takes 1 in state 1 only."""
    population = ev.Population("CQN", FLIP, spaces.Discrete(2), count, network=[1], seed=0)
    for row, (weight, bias) in enumerate([(0.0, 1.0), (0.0, -1.0), (1.0, -0.5)][:count]):
        state = population.individual(row).tensors["q"]
        for tensor in state.values():
            tensor.zero_()
        state["hidden.0.weight"].fill_(1.0)
        state["output.weight"][0, 1, 0] = weight
        state["output.bias"][0, 1] = bias
    return population


def estimated(fqe: FQE, population: ev.Population, buffer: object, seed: int = 0) -> np.ndarray:
    *steps, fitness = fqe.estimate(population, buffer, seed)
    assert all(isinstance(step, tuple) and step[0] < step[1] for step in steps)
    return fitness


def test_values_by_hand():
    """Discount 0.9: always 1 is worth 10, always 0 nothing, 1 in every second step 0.9 / (1 - 0.81)."""
    fqe = FQE(discount=0.9, imagined=0, first=500, hidden=(32,), lr=3e-3)
    values = estimated(fqe, deciders(), buffer_from(flips())[0])
    np.testing.assert_allclose(values, [10.0, 0.0, 0.9 / 0.19], atol=0.5)
    assert fqe.measures["support"].tolist() == [1.0, 1.0, 1.0]


def test_values_stay_within_what_rewards_allow():
    """Too fast a target once gave 260 where 1 / (1 - discount) = 100 is the most that there can be."""
    fqe = FQE(discount=0.9, imagined=0, first=100, lr=0.05, tau=1.0)
    values = estimated(fqe, deciders(), buffer_from(flips())[0])
    assert values.min() >= 0 and values.max() <= 10 + 1e-5  # noqa: PT018


def test_a_terminated_row_is_worth_its_reward_alone():
    """Episodes of one step: action 1 earns 1 and no more, where for ever it would be 10."""
    data = flips(length=2)
    data["terminals"], data["timeouts"] = np.ones(120, bool), np.zeros(120, bool)
    fqe = FQE(discount=0.9, imagined=0, first=500, hidden=(32,), lr=3e-3)
    values = estimated(fqe, deciders(2), buffer_from(data)[0])
    np.testing.assert_allclose(values, [1.0, 0.0], atol=0.2)


def test_fitness_is_the_mean_of_the_ensemble_less_its_standard_deviation():
    """Critics that say 0, 0 and 3 above the mean reward for ever: 1 on average, with a spread of sqrt(2)."""
    population, buffer = deciders(), buffer_from(flips())[0]
    options = {"discount": 0.9, "imagined": 0, "first": 1, "updates": 1, "lr": 1e-7, "tau": 1e-4}
    first = FQE(**options)
    estimated(first, population, buffer)
    state, tensors = first.take_state()
    for name in ("value", "value.target"):
        tensors[name].zero_()
        tensors[name][:, 2, -2:] = 3.0  # the last member's last biases, one of each action
    fqe = FQE(**options)
    fqe.put_state(state, tensors)
    values = estimated(fqe, population, buffer)
    forever = float(buffer.fields["reward"].mean()) * 10
    np.testing.assert_allclose(values, forever + 1 - np.sqrt(2), atol=0.01)
    np.testing.assert_allclose(fqe.measures["fqe_spread"], np.sqrt(2), atol=0.01)


def test_range_holds_zero_where_episodes_end():
    """Rewards of 1 alone: worth exactly 100 for ever, but anything from 0 where an episode can end."""
    reward = torch.ones(4)
    endless = Scale.of(reward, torch.zeros(4), 0.99)
    ending = Scale.of(reward, torch.tensor([0.0, 0.0, 0.0, 1.0]), 0.99)
    assert (endless.low, ending.low, ending.high) == (pytest.approx(100), 0.0, pytest.approx(100))


def test_an_action_that_data_never_show_is_worth_the_least():
    """Data of one action alone say nothing of the other: the critic would make its value up."""
    data = flips(actions=(1,))
    data["rewards"] = np.tile([-1.0, 2.0], 300).astype(np.float32)
    dataset = ev.Dataset(data, action_space=spaces.Discrete(2))
    fqe = FQE(discount=0.9, imagined=0, first=100)
    values = estimated(fqe, deciders(), buffer_from(dataset)[0])
    assert fqe.measures["support"][1] < 0.05 < 0.95 < fqe.measures["support"][0]
    assert values[1] < values[0] - 5
    assert values[1] == pytest.approx(-10.0, abs=1.0)


def test_critics_follow_their_agents():
    like = torch.zeros(1)
    critics = CriticEnsembles(1, 2, True, members=2, hidden=(4,), rate=1e-3, tau=0.1)
    assert critics.assign([0, 1], [None, None], torch.Generator().manual_seed(0), like)
    critics.table["value"][0], critics.table["value"][1] = 10.0, 11.0
    critics.keep(1)
    assert not critics.assign([0, 2, 3], [None, 0, 1], torch.Generator(), like)
    assert critics.table["value"][:, 0, 0].tolist() == [10.0, 10.0, 11.0]
    critics.assign([0, 2], [None, 0], torch.Generator(), like)  # 1 and its child are dead
    critics.assign([0, 4], [None, 1], torch.Generator(), like)  # 1 came back from the archive
    assert critics.table["value"][:, 0, 0].tolist() == [10.0, 11.0]


def test_later_generations_only_catch_up():
    population, buffer = deciders(), buffer_from(flips())[0]
    fqe = FQE(discount=0.9, imagined=0, share=0.1, first=50)
    assert next(fqe.estimate(population, buffer, 0)) == (0, 50)
    estimated(fqe, population, buffer)
    for member in population.individuals:
        member.updates += 300
    assert next(fqe.estimate(population, buffer, 1)) == (0, 30)


def test_a_resumed_estimate_is_bit_equal():
    population, buffer = deciders(), buffer_from(flips())[0]
    through, before = FQE(imagined=5, first=30, updates=10), FQE(first=30, updates=10)
    for fqe in (through, before):
        estimated(fqe, population, buffer, seed=1)
    resumed = FQE(imagined=5, first=30, updates=10)
    state, tensors = before.take_state()
    resumed.put_state(state, {name: value.clone() for name, value in tensors.items()})
    assert resumed.take_state()[0]["owners"] == population.ids
    for seed in (2, 3):
        expected = estimated(through, population, buffer, seed)
        assert np.array_equal(estimated(resumed, population, buffer, seed), expected)


def test_a_diverged_agent_has_no_value():
    population = deciders()
    population.table["q"][1] = float("nan")
    values = estimated(FQE(imagined=0, first=10), population, buffer_from(flips())[0])
    assert np.isnan(values).tolist() == [False, True, False]


def test_continuous_actions_are_valued():
    generator = np.random.default_rng(0)
    observation = generator.uniform(-1, 1, (400, 2)).astype(np.float32)
    action = generator.uniform(-1, 1, (400, 1)).astype(np.float32)
    data = {
        "observations": observation, "actions": action, "rewards": -np.abs(action[:, 0]),
        "terminals": np.ones(400, bool),
    }  # fmt: skip
    buffer, found = buffer_from(data)
    population = ev.Population("TD3BC", *found, 2, seed=0, network=[8])
    for row, bias in enumerate((0.0, 2.0)):  # tanh(2) = 0.96
        for tensor in population.individual(row).tensors["actor"].values():
            tensor.zero_()
        population.individual(row).tensors["actor"]["output.bias"].fill_(bias)
    values = estimated(FQE(discount=0.0, first=400, lr=3e-3), population, buffer)
    np.testing.assert_allclose(values, [0.0, -0.96], atol=0.15)


def test_offline_run_never_steps_an_environment():
    exp = ev.Experiment(
        None,
        "CQN",
        population=3,
        network=[8],
        steps_per_generation=20,
        fitness=FQE(imagined=0, first=20),
        seed=1,
    )
    exp.fill(flips())
    exp.run(generations=2)
    assert exp.evaluation_steps == 0
    table = exp.history.fitness
    assert (table["fqe"] == table["fitness"]).all()
    assert table["support"].between(0, 1).all()
    assert exp.elite.act(np.zeros(1, np.float32)) in (0, 1)


def test_without_an_environment_fitness_is_estimated():
    assert ev.Experiment(None, "CQN").config["fitness"] == "fqe"
    with pytest.raises(ValueError, match="fitness='fqe'"):
        ev.Experiment(None, "CQN", fitness="return")
    with pytest.raises(ValueError, match="use an offline algorithm such as 'CQN'"):
        ev.Experiment(None, "DQN", fitness="fqe")


def test_beside_returns_the_returns_decide():
    exp = ev.Experiment(
        "CartPole-v1", "CQN", population=2, network=[8], steps_per_generation=10, eval_steps=20, seed=1,
        fitness=FQE(imagined=0, first=10, beside_returns=True),
    )  # fmt: skip
    exp.fill(ev.collect("CartPole-v1", steps=400, seed=0))
    exp.run(generations=1)
    table = exp.history.fitness
    assert exp.evaluation_steps > 0
    assert table["fitness"].between(1, 20).all() and not (table["fqe"] == table["fitness"]).any()  # noqa: PT018
    exp.close()


def test_options_survive_a_configuration():
    exp = ev.Experiment(None, "CQN", fitness=FQE(members=2, hidden=(32,), tau=0.1), seed=1)
    again = ev.Experiment.from_config(exp.config)
    assert again._state.fitness == FQE(members=2, hidden=(32,), tau=0.1)


@pytest.mark.parametrize(("option", "value"), [("discount", 1.0), ("tau", 0.0), ("members", 0), ("first", 0)])
def test_senseless_options_are_refused(option, value):
    with pytest.raises(ValueError, match=option):
        FQE(**{option: value})


def test_a_buffer_without_episodes_is_valued_at_its_states():
    """Experience of an online run: no episodes are known, so that blocks of rows are held out."""
    buffer = ev.ReplayBuffer(600)
    data = flips()
    buffer.add(
        SimpleNamespace(
            observation=data["observations"], action=data["actions"], reward=data["rewards"],
            next_observation=data["next_observations"], terminated=data["terminals"], valid=None,
        )
    )  # fmt: skip
    values = estimated(FQE(discount=0.9, imagined=0, first=300, hidden=(32,), lr=3e-3), deciders(), buffer)
    assert values[0] > values[2] > values[1]
