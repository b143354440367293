from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.population.grouping import divide
from tests.mixed import BOX, DISCRETE, OBSERVATIONS, SHAPES, experience, mixed


def population_of(size=4, algorithm="TD3", **options):
    space = DISCRETE if algorithm == "DQN" else BOX
    return ev.Population(algorithm, OBSERVATIONS, space, size, **{"network": [8], "seed": 0} | options)


def test_the_table_never_requires_a_gradient():
    population = mixed("TD3")
    population.learn(experience(8, 16, 0, discrete=False))
    assert not any(value.requires_grad for value in population.table.values())


def test_a_table_of_agents_says_once_what_all_share():
    """Sixteen columns left the page on the right, with four digits where two are enough."""
    agents = ev.Population(
        "DQN", OBSERVATIONS, DISCRETE, size=2, network=[8], seed=1, hyperparameters={"lr": 0.00083333}
    )
    shown = agents._repr_html_()
    table, below = shown.split("The same for all agents: ")
    assert "lr 8.3e-4" in below
    assert "network_size" in below
    for name in ("agent", "parent", "fitness", "hidden"):
        assert f">{name}</th>" in table
    assert "NaN" not in shown
    assert "&lt;NA&gt;" not in shown


def test_a_network_that_remembers_is_told_by_its_layers_and_not_by_widths():
    """Its table said "hidden 64x48"."""
    agents = population_of(2, "DQN", network=ev.Recurrent(48, encoder=[64]))
    shown = agents._repr_html_()
    assert "layers 64 → GRU 48" in shown.split("The same for all agents: ")[1]
    assert "hidden" not in shown
    assert repr(agents).count("64 → GRU 48, relu") == len(agents)


def test_a_view_follows_its_agent_and_raises_once_it_has_died():
    population = population_of()
    agents = list(population)
    fitness = [9.0 if id == 2 else float("nan") for id in population.ids]
    ev.evolve(population, fitness, ev.Tournament(), ev.Mutations())
    for agent in agents:
        if agent.id == 2:
            assert agent.act(np.zeros(5)).shape == (2,)
        else:
            assert repr(agent) == f"Agent {agent.id} (dead)"
            with pytest.raises(LookupError, match=f"agent {agent.id} has died; alive are .* agent.copy"):
                agent.act(np.zeros(5))
    with pytest.raises(IndexError, match="agent 4 of a population of 4; 0 to 3 are there"):
        population[4]
    assert population[-1].id == population.ids[-1]


def test_the_first_agent_keeps_the_starting_values_and_further_ones_go_further():
    """Where all drew all but the discount, SAC earned -94 after 50 000 steps of a lander; with these values 238."""
    distances = []
    for seed in range(200):
        population = population_of(3, draw=True, seed=seed)
        start = population.algorithm.hyperparameters["lr_actor"].default
        by_id = sorted(population.individuals, key=lambda one: one.id)
        rates = [one.hyperparameters["lr_actor"] for one in by_id]
        assert rates[0] == start
        distances.append([abs(np.log(rate / start)) for rate in rates])
    first, second, last = np.mean(distances, axis=0)
    assert first == 0.0
    assert second == pytest.approx(last / 2, rel=0.2)


def test_agents_draw_hyperparameters_of_their_own_where_asked():
    population = population_of(8, draw=True)
    rates = {individual.hyperparameters["lr_actor"] for individual in population.individuals}
    assert len(rates) == 8
    twin = population_of(8, draw=True)
    assert repr(twin) == repr(population)
    assert len({individual.hyperparameters["lr_actor"] for individual in population_of(8).individuals}) == 1


def test_agents_begin_with_weights_of_their_own():
    population = population_of()
    assert not torch.equal(population.table["actor"][0], population.table["actor"][1])
    critic = population.table["critic"]
    assert not torch.equal(critic[:, 0], critic[:, 1]), "twin critics differ"
    assert torch.equal(critic, population.table["critic.target"])


def test_only_the_largest_agents_of_a_bucket_are_paid_for():
    cuts = divide([10.0, 10.0, 1.0, 1.0, 1.0], ["a"] * 5, overhead=2.0, largest=8)
    assert cuts == [(0, 2), (2, 5)]
    assert divide([1.0] * 4, ["a"] * 4, overhead=2.0, largest=8) == [(0, 4)]
    assert divide([1.0] * 4, ["a"] * 4, overhead=0.0, largest=2) != [(0, 4)]
    assert divide([1.0] * 4, ["a", "a", "b", "b"], overhead=9.0, largest=8) == [(0, 2), (2, 4)]


def test_a_large_batch_does_not_change_what_its_neighbours_learn():
    values = [{"batch_size": size, "lr": 1e-3} for size in (4, 64, 16)]
    population = mixed("DQN", SHAPES[:3], values)
    batch = experience(3, 64, 0, discrete=True)
    row = next(r for r, m in enumerate(population.individuals) if m.hyperparameters["batch_size"] == 4)
    twin = population.copy([row])
    population.learn(batch)
    twin.learn(type(batch)(**{name: value[row : row + 1, :4] for name, value in vars(batch).items()}))
    mine, other = population.individual(row).tensors["q"], twin.individual(0).tensors["q"]
    assert all(torch.allclose(mine[name], other[name], atol=1e-12) for name in mine)


def test_float32_is_the_default_and_float64_is_computed_as_such():
    assert population_of().table["actor"].dtype == torch.float32
    population = population_of(dtype=torch.float64)
    assert {value.dtype for value in population.table.values()} == {torch.float64}


@pytest.mark.parametrize("algorithm", ["TD3", "DQN"])
def test_observations_of_many_parts(algorithm):
    space = spaces.Dict(
        {"a": spaces.Box(-1, 1, (2,)), "b": spaces.Tuple([spaces.Discrete(3), spaces.Box(0, 1, ())])}
    )
    actions = DISCRETE if algorithm == "DQN" else BOX
    population = ev.Population(algorithm, space, actions, 2, network=[8], seed=0)
    lead = (2, 3)
    observation = {
        "a": np.zeros((*lead, 2), np.float32),
        "b": (np.ones(lead, int), np.zeros(lead, np.float32)),
    }
    assert population.act(observation).shape[:2] == lead
    one = {"a": np.zeros(2, np.float32), "b": (np.int64(1), np.float32(0))}
    greedy = population.act(observation, explore=False)[1, 0]
    assert np.allclose(population[1].act(one), greedy, atol=1e-6)
    assert (
        population[1].copy().module()({"a": torch.zeros(4, 2), "b": (torch.ones(4), torch.zeros(4))}).shape[0]
        == 4
    )


def test_wrong_shapes_are_told():
    population = population_of()
    with pytest.raises(
        ValueError, match=r"observation has shape \(3, 2, 5\); \[P, E, ...\] with P = 4 is expected"
    ):
        population.act(np.zeros((3, 2, 5)))
    with pytest.raises(ValueError, match=r"reward has shape \(3, 8\); \[P, B\] with P = 4 is expected"):
        population.learn(experience(3, 8, 0, discrete=False))


def test_learning_from_too_small_a_buffer_says_how_to_fill_it():
    population, buffer = population_of(), ev.ReplayBuffer(100)
    with pytest.raises(
        ValueError, match=r"the buffer holds 0 transitions, fewer than the smallest batch size 128"
    ):
        population.learn(buffer)


def test_an_update_follows_the_populations_own_stream():
    batch = experience(4, 128, 0, discrete=False)
    results = []
    for _ in range(2):
        population = population_of()
        torch.rand(3)
        population.learn(batch)
        population.learn(batch)
        results.append(population.table["critic"].clone())
    assert torch.equal(*results)


@pytest.mark.cuda
@pytest.mark.parametrize("algorithm", ["TD3", "DDPG", "DQN"])
def test_cuda_computes_what_the_cpu_computes(algorithm):
    cpu, cuda = mixed(algorithm), mixed(algorithm, device="cuda")
    for update in range(10):
        batch = experience(8, 16, update, discrete=algorithm == "DQN")
        noise = torch.randn(8, 16, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(update))
        given = noise if algorithm == "TD3" else None
        cpu.learn(batch, noise=given)
        moved = type(batch)(**{name: value.cuda() for name, value in vars(batch).items()})
        cuda.learn(moved, noise=None if given is None else given.cuda())
    for name, value in cpu.table.items():
        assert torch.allclose(cuda.table[name].cpu(), value, atol=1e-9), name


@pytest.mark.cuda
def test_a_buffer_in_main_memory_feeds_a_population_on_cuda():
    from tests.toys import Toy

    envs = ev.envs.make(Toy, population=2, num_envs=4, seed=0)
    population = ev.Population("TD3", envs.single_observation_space, envs.single_action_space, 2, network=[8],
                               hyperparameters={"batch_size": 32}, seed=0, device="cuda")  # fmt: skip
    buffer, observation = ev.ReplayBuffer(1000), envs.reset()
    for _ in range(10):
        transition = envs.step(population.act(observation))
        buffer.add(transition)
        if len(buffer) >= 32:
            assert torch.isfinite(population.learn(buffer)["critic"]).all()
        observation = transition.reset_observation
    ev.evolve(population, ev.evaluate(population, envs), ev.Tournament(), ev.Mutations(none=0))
    population.learn(buffer)
    envs.close()


def test_an_id_that_came_from_elsewhere_is_not_given_again():
    population = population_of(2)
    individuals = [population.individual(row) for row in range(2)]
    individuals[0].id = 41
    population.rebuild(individuals)
    assert population.table.new_id() == 42


def test_a_new_generation_owes_no_updates_for_steps_of_the_one_before():
    population = population_of(2, "DDPG", hyperparameters={"batch_size": 4})
    buffer = ev.ReplayBuffer(64)
    buffer.add(experience(2, 8, 0, discrete=False))
    observation = np.zeros((2, 1, 5), np.float32)
    population.learn(buffer)
    for _ in range(3):
        population.act(observation, explore=True)
    population.reseed(1)
    population.act(observation, explore=True)
    before = [one.updates for one in population.individuals]
    population.learn(buffer)
    assert [one.updates - known for one, known in zip(population.individuals, before, strict=True)] == [1, 1]


def test_observations_without_entries_are_refused():
    for space in (spaces.Box(-1, 1, (0,)), spaces.Dict(), spaces.Tuple([spaces.Box(-1, 1, (2, 0))])):
        with pytest.raises(ValueError, match=r"observation space .* has no entries: nothing is seen"):
            ev.Population("DQN", space, spaces.Discrete(2), 1, device="cpu")


def test_what_other_libraries_call_it_is_answered_of_a_population_too():
    """It was "'Composed' object has no attribute 'predict'"."""
    population = ev.Population("DQN", spaces.Box(-1, 1, (3,)), spaces.Discrete(2), 1, device="cpu")
    with pytest.raises(
        AttributeError, match=r"'Population' object has no attribute 'predict'. In evolab that is"
    ):
        population.copy([0]).predict(np.zeros(3))
