from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.core.rng import global_states
from evolab.history.events import Generation
from tests.experiment.toy_runs import same, toy
from tests.small import recorded
from tests.toys import Choosing, Lottery, Paying


def test_a_generation_is_learned_evaluated_evolved_and_recorded(exp):
    assert (exp.generation, exp.total_steps, exp.evaluation_steps) == (0, 60, 0)
    generation = exp.step()
    assert isinstance(generation, Generation)
    assert (exp.generation, exp.total_steps) == (1, 60 + 3 * 24)
    assert exp.evaluation_steps >= 30
    assert [e.agent for e in generation.evaluations] == sorted(
        (e.agent for e in generation.evaluations), key=lambda a: -next(
            e.fitness for e in generation.evaluations if e.agent == a))  # fmt: skip
    assert all(e.updates == 24 for e in generation.evaluations)
    assert all(e.steps == 20 + 24 for e in generation.evaluations)
    assert generation.total_steps == exp.total_steps
    assert set(generation.losses) == {"actor", "critic"}
    assert set(generation.seconds) == {"train", "evaluate", "evolve"}
    frame = exp.history.fitness
    assert sorted(frame["agent"]) == sorted(e.agent for e in generation.evaluations)
    assert {"generation", "agent", "parent", "fitness", "episodes", "steps", "is_elite"} <= set(frame.columns)
    assert {"generation", "agent", "parent", "kind", "detail"} <= set(exp.history.mutations.columns)
    assert {"generation", "agent", "batch_size", "lr_actor"} <= set(exp.history.hyperparameters.columns)
    assert len(exp.history.lineage()) >= 1
    described = exp.population.describe()
    assert list(described.columns[:6]) == [
        "agent",
        "parent",
        "fitness",
        "hidden",
        "activation",
        "network_size",
    ]
    assert list(described["agent"]) == exp.population.ids
    for shown in (exp, generation, exp.best, exp.population, exp.history):
        assert repr(shown)


def test_best_and_elite_are_copies_that_nothing_changes(exp):
    with pytest.raises(
        LookupError, match=r"no generation has ended yet, so no agent is best. Call exp.step\(\) first."
    ):
        _ = exp.best
    exp.step()
    best, elite = exp.best, exp.elite
    observation = np.array([0.3, 0.1], np.float32)
    answers = best.act(observation), elite.act(observation)
    assert np.shape(answers[0]) == (1,)
    assert elite.fitness == exp._state.hall.fitness
    state = exp.population.table.generator.get_state()
    best.act(observation, explore=True)
    assert torch.equal(exp.population.table.generator.get_state(), state)
    exp.step()
    assert np.array_equal(best.act(observation), answers[0])
    assert np.array_equal(elite.act(observation), answers[1])


def test_a_rollout_is_played_to_its_end(exp):
    exp.step()
    rollout = exp.rollout(episodes=2, agent=exp.population.ids[0])
    assert len(rollout.returns) == 2
    assert len(rollout.observations) == 20
    assert len(exp.rollout(max_steps=3).observations) == 3
    assert exp.rollout(agent="elite", seed=3).returns == exp.rollout(agent="elite", seed=3).returns
    with pytest.raises(LookupError, match="agent 999 has died; alive are"):
        exp.rollout(agent=999)
    with pytest.raises(ValueError, match="Unknown agent 'bset'"):
        exp.rollout(agent="bset")


def test_run_stops_at_each_goal(exp):
    assert exp.run(generations=2) is exp.history
    assert exp.generation == 2
    evaluated = sum(one.length * one.episodes for one in exp.history.generations[-1].evaluations)
    exp.run(max_steps=exp.total_steps + exp.evaluation_steps + round(evaluated) + 12)
    assert exp.generation == 3
    exp.run(max_steps=exp.total_steps + exp.evaluation_steps)
    assert exp.generation == 3, "that many steps are made already"
    exp.run(generations=50, target=-1e6)
    assert exp.generation == 4
    assert exp.target == -1e6
    last = exp.history.generations[-1]
    assert last.confirmed is not None
    assert exp.status == "idle"


def test_a_target_is_confirmed_on_fresh_episodes():
    """Those of the evaluation again would confirm the luck that it was chosen for."""
    exp = toy(environment=Lottery, eval_episodes=2, target=0.0)
    exp.fill(60)
    Lottery.lots.clear()
    (generation,) = exp.run()
    lots, played = Lottery.lots, exp.evaluation_steps // 10
    trained, evaluated, confirmed = lots[:-played], lots[-played : 6 - played], lots[6 - played :]
    assert trained
    assert len(evaluated) == 3 * 2
    assert generation.fitness == np.mean(sorted(set(evaluated))), "two episodes, the same for all three"
    assert 20 + 80 <= len(confirmed) <= 20 + 80 + 2 * 2, "three agents take equal parts"
    assert len(set(confirmed)) == len(confirmed), "each of them once"
    assert not set(confirmed) & {*trained, *evaluated}
    assert generation.confirmed == pytest.approx(np.mean(confirmed))
    assert exp.elite.fitness == generation.confirmed
    exp.close()


def test_the_archived_elite_gives_way_to_a_better_one_alone(monkeypatch):
    exp = toy(environment=Paying)
    exp.fill(60)
    fitness, actions = [], []
    for wage in (5.0, 3.0, 5.0, 7.0):
        monkeypatch.setattr(Paying, "wage", wage)
        exp.run(generations=1, target=0.0)  # which everybody reaches, so that the best is always confirmed
        fitness.append((exp.history.generations[-1].confirmed, exp.elite.fitness))
        actions.append(exp.elite.act(np.array([0.3, 0.1], np.float32)).tolist())
    assert fitness == [(50.0, 50.0), (30.0, 50.0), (50.0, 50.0), (70.0, 70.0)]
    assert actions[0] == actions[1] == actions[2] != actions[3]
    exp.close()


class Given:
    """Fitness without a simulator, known beforehand: one value per generation for everybody."""

    beside_returns = False

    def __init__(self, *values):
        self.values = list(values)

    def estimate(self, population, buffer, seed):
        yield np.full(len(population), self.values.pop(0))


def test_without_a_simulator_too_the_elite_gives_way_to_a_better_one_alone():
    data = recorded()
    exp = ev.Experiment(None, "CQN", population=2, network=[8], steps_per_generation=5, seed=1,
                        hyperparameters={"batch_size": 8}, fitness=Given(5.0, 3.0, 5.0, 7.0))  # fmt: skip
    exp.fill(data)
    values = []
    for _ in range(4):
        exp.step()
        learned = exp.elite.module()(torch.as_tensor(data["observations"][:1]))
        values.append(learned.tolist())
    assert values[0] == values[1] == values[2] != values[3]
    exp.close()


def test_the_best_is_the_fittest_agent_of_the_last_generation():
    exp = toy(evolving=False)
    exp.fill(60)
    observation = np.array([0.3, 0.1], np.float32)
    for _ in range(2):
        exp.step()
        frame = exp.history.fitness
        fitness = frame[frame["generation"] == exp.generation].set_index("agent")["fitness"]
        assert fitness.nunique() == 3
        assert exp.best.id == fitness.idxmax()
        assert exp.best.fitness == fitness.max()
        answers = {agent.id: agent.act(observation).tolist() for agent in exp.population}
        assert len(set(map(str, answers.values()))) == 3
        assert exp.best.act(observation).tolist() == answers[exp.best.id], "its weights are its own"
    exp.close()


@pytest.mark.parametrize("elitism", [True, False])
def test_an_evaluation_says_whether_its_agent_survives_as_the_elite(elitism):
    exp = toy(selection=ev.Tournament(elitism=elitism))
    exp.fill(60)
    exp.run(generations=3)
    evaluations, births = exp.history.fitness, exp.history.mutations
    columns = ["generation", "agent"]
    marked = evaluations[evaluations["is_elite"]][columns].to_numpy().tolist()
    assert marked == births[births["kind"] == "elite"][columns].to_numpy().tolist()
    fittest = evaluations.loc[evaluations.groupby("generation")["fitness"].idxmax()][columns]
    assert marked == (fittest.to_numpy().tolist() if elitism else [])
    exp.close()


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "private"])
@pytest.mark.parametrize(("ratio", "updates"), [(0.25, 18), (0.5, 36), (1.0, 72), (2.0, 144)])
def test_the_update_ratio_is_updates_of_an_agent_per_transition_that_it_learns_from(ratio, updates, shared):
    """Three agents store 72 transitions in a generation; one with experience of its own has 24 of them."""
    updates = updates if shared else updates // 3
    exp = toy(update_ratio=ratio, search_space={}, buffer=ev.ReplayBuffer(1000, shared=shared))
    exp.fill(60)
    exp.run(generations=2)
    frame = exp.history.fitness
    assert frame.groupby("generation")["updates"].unique().map(list).tolist() == [[updates], [2 * updates]]
    exp.close()


def test_other_mutations_hold_from_the_next_generation(exp):
    exp.mutations = dataclasses.replace(
        exp.mutations, none=0, parameters=0, activation=0, hyperparameters=0, architecture=1
    )
    generation = exp.step()
    assert {birth.kind for birth in generation.births} == {"elite", "architecture"}
    assert generation.mutation_weights["architecture"] == 1.0
    with pytest.raises(TypeError, match=r"ev.Mutations\(...\) is expected"):
        exp.mutations = 3
    exp.mutations = {"none": 0.9}  # as the constructor takes it
    assert exp.mutations == ev.Mutations(none=0.9)


def test_without_evolution_the_population_stays():
    exp = toy(evolving=False)
    exp.fill(60)
    exp.run(generations=2)
    assert sorted(exp.population.ids) == [0, 1, 2]
    assert exp.history.generations[-1].births == ()
    exp.close()


def test_a_population_of_one():
    exp = toy(population=1)
    exp.fill(60)
    exp.run(generations=2)
    assert exp.generation == 2
    assert exp.population.ids == [0]
    assert exp.best.id == 0
    exp.close()


@pytest.mark.parametrize("algorithm", ["TD3", "DDPG", "DQN"])
def test_two_runs_of_one_seed_are_equal_bit_for_bit_and_leave_the_global_generators(algorithm):
    states = global_states()
    runs = []
    for _ in range(2):
        exp = toy(algorithm)
        exp.fill(60)
        exp.run(generations=3)
        exp.rollout()
        runs.append(exp)
        exp.close()
    same(*runs)
    assert global_states() == states


def test_another_seed_is_another_run():
    runs = [toy(seed=seed) for seed in (1, 2)]
    assert not torch.equal(runs[0].population.table["actor"], runs[1].population.table["actor"])


def test_a_run_from_its_configuration_is_the_same_run(tmp_path):
    first = toy(
        "DQN", eval_episodes=2, buffer=ev.ReplayBuffer(5000), mutations=ev.Mutations(none=0.1), draw=True
    )
    config = first.config
    (tmp_path / "run.json").write_text(json.dumps(config))
    first.fill(60)
    first.run(generations=2)
    second = ev.Experiment.from_config(tmp_path / "run.json", environment=Choosing)
    assert second.config == config
    second.fill(60)
    second.run(generations=2)
    same(first, second)
    assert first.config == config, "a configuration does not depend on how far the run is"
    assert second.buffer.capacity == 5000
    first.close()
    second.close()


def test_a_buffer_of_ones_own_is_taken_although_it_is_empty():
    exp = toy(buffer=ev.ReplayBuffer(40, shared=False))
    exp.fill(150)
    assert exp.buffer.capacity == len(exp.buffer) == 40
    exp.run(generations=2)
    assert exp.buffer.pools == 3
    exp.close()
