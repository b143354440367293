from __future__ import annotations

import dataclasses
import gc
import json
import os
import random
import signal
import threading
import time

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.evolution.mutation.mutations import KINDS
from evolab.history.events import Generation
from tests.small import by_episodes, recorded
from tests.toys import Choosing, Lottery, Paying, Toy

SMALL = {"population": 3, "num_envs": 2, "network": [8], "steps_per_generation": 24, "seed": 7}


def toy(algorithm="TD3", environment=None, **options):
    """An experiment whose generation takes a fraction of a second."""
    environment = environment or (Choosing if algorithm == "DQN" else Toy)
    options = (
        by_episodes(3)
        | SMALL
        | {"hyperparameters": {"batch_size": 16}, "search_space": {"batch_size": ev.Integer(8, 32)}}
        | options
    )
    return ev.Experiment(environment, algorithm, **options)


@pytest.fixture
def exp():
    experiment = toy()
    experiment.fill(60)
    yield experiment
    experiment.close()


def same(first, second):
    """Bit for bit the same population, history and counts."""
    assert first.population.ids == second.population.ids
    for name, value in first.population.table.items():
        assert torch.equal(value, second.population.table[name]), name
    for mine, theirs in zip(first.history.generations, second.history.generations, strict=True):
        assert repr(dataclasses.replace(mine, seconds={})) == repr(dataclasses.replace(theirs, seconds={}))
        assert mine.births == theirs.births
        assert repr(mine.evaluations) == repr(theirs.evaluations)
    assert (first.generation, first.total_steps, first.evaluation_steps) == (
        second.generation, second.total_steps, second.evaluation_steps,
    )  # fmt: skip


def consistent(exp):
    population = exp.population
    assert len(population) == len(set(population.ids)) == 3
    assert exp.generation == len(exp.history.generations)
    assert population.table["steps"].tolist() == [individual.steps for individual in population.individuals]
    for value in population.table.values():
        assert torch.isfinite(value).all()
    assert len(exp.buffer) == exp.total_steps, "every transition of this environment is valid"


# The contract -----------------------------------------------------------------------------------


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
    assert list(described.columns[:6]) == ["agent", "parent", "fitness", "hidden", "activation", "parameters"]
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
    exp.run(max_steps=exp.total_steps + exp.evaluation_steps + 1)
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
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    runs = []
    for _ in range(2):
        exp = toy(algorithm)
        exp.fill(60)
        exp.run(generations=3)
        exp.rollout()
        runs.append(exp)
        exp.close()
    same(*runs)
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


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


# In the background and interrupted ----------------------------------------------------------------


def test_start_pause_and_stop_at_any_moment_leave_a_run_that_goes_on(exp):
    reference = toy()
    reference.fill(60)
    rng = np.random.default_rng(0)
    for turn in range(8):
        exp.start()
        assert exp.status == "running"
        time.sleep(float(rng.uniform(0, 0.1)))
        (exp.stop if turn % 2 else exp.pause)()
        status = exp.wait(timeout=30)
        assert status == ("stopped" if turn % 2 else "paused")
    exp.step()  # ends the generation that was under way
    consistent(exp)
    reference.run(generations=exp.generation)
    same(exp, reference)
    reference.close()


def test_starting_again_right_after_a_pause_goes_on(exp):
    exp.start()
    exp.pause()
    exp.start(generations=1)
    assert exp.wait(timeout=60) == "idle"
    exp.start()
    exp.pause()
    exp.step()
    assert exp.status == "idle"


def test_what_cannot_be_done_while_it_runs_says_so(exp):
    exp.start()
    with pytest.raises(RuntimeError, match=r"before exp\.start"):
        exp.start()
    with pytest.raises(
        RuntimeError, match=r"training runs in the background; call exp.pause\(\) before exp.step\(\)."
    ):
        exp.step()
    with pytest.raises(RuntimeError, match=r"before exp\.fill"):
        exp.fill(10)
    exp.pause()
    exp.wait(timeout=60)


def test_looking_on_from_other_threads_disturbs_nothing(exp):
    reference = toy()
    reference.fill(60)
    exp.start(generations=3)
    seen = 0
    while exp.status == "running":
        repr(exp), repr(exp.population), exp.population.describe(), exp.config, exp.progress, exp.version
        if exp.generation:
            exp.rollout(max_steps=2, agent=exp.best)
            exp.best.act(np.zeros(2, np.float32), explore=True)
        seen += 1
    assert exp.wait() == "idle"
    assert seen
    reference.run(generations=3)
    same(exp, reference)
    reference.close()


def test_ctrl_c_at_any_moment_leaves_a_run_that_goes_on(exp):
    before = signal.getsignal(signal.SIGINT)  # a process that was started in the background may ignore it
    reference = toy()
    reference.fill(60)
    rng = np.random.default_rng(1)
    interrupts = 0
    while interrupts < 12:
        delay = float(rng.uniform(0.005, 0.12))
        shooter = threading.Thread(target=shoot, args=(delay, 1 + interrupts % 2))
        try:
            shooter.start()
            while True:
                exp.step()
        except KeyboardInterrupt:
            interrupts += 1
            assert exp.status in ("paused", "idle")
        finally:
            with_patience(shooter)
    exp.step()
    consistent(exp)
    reference.run(generations=exp.generation)
    same(exp, reference)
    assert signal.getsignal(signal.SIGINT) is before
    reference.close()


def shoot(delay, times):
    for _ in range(times):
        time.sleep(delay)
        os.kill(os.getpid(), signal.SIGINT)
        delay = 0.001


def with_patience(shooter):
    """Let a late signal arrive here, where it harms nobody."""
    try:
        shooter.join()
        time.sleep(0.01)
    except KeyboardInterrupt:
        with_patience(shooter)


def test_an_interrupted_fill_counts_what_was_done():
    exp = toy()
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        exp.fill(10_000_000)
    assert 0 < exp.total_steps == len(exp.buffer) or len(exp.buffer) == exp.buffer.capacity
    assert exp.population.table["steps"].tolist() == [m.steps for m in exp.population.individuals]
    exp.step()
    exp.close()


class Broken(Toy):
    """Fails for good once `broken` is set."""

    broken = False

    def step(self, action):
        if Broken.broken:
            raise RuntimeError("the gripper is jammed")
        return super().step(action)


@pytest.fixture
def broken():
    yield Broken
    Broken.broken = False


def test_an_error_in_the_background_is_raised_by_the_next_call(broken):
    exp = toy(environment=broken)
    exp.fill(60)
    exp.step()
    broken.broken = True
    exp.start()
    exp._runner.join(60)
    assert exp.status == "failed"
    assert "the gripper is jammed" in str(exp.error)
    with pytest.raises(Exception, match="the gripper is jammed"):
        exp.step()
    broken.broken = False
    exp.step()
    assert (exp.generation, exp.status) == (2, "idle")
    exp.close()


def test_nan_in_one_agents_weights_is_recorded_and_costs_only_that_agent(exp):
    victim = exp.population.ids[1]
    exp.population.table["actor"][1] = float("nan")
    generation = exp.step()
    assert generation.evaluations[-1].agent == victim
    assert np.isnan(generation.evaluations[-1].fitness)
    assert all(np.isfinite(e.fitness) for e in generation.evaluations[:-1])
    assert [(fault.agent, fault.kind) for fault in generation.faults] == [(victim, "diverged")]
    assert all(birth.parent != victim for birth in generation.births)
    assert all(torch.isfinite(value).all() for value in exp.population.table.values())


@pytest.mark.slow
def test_two_hundred_tiny_generations_grow_neither_threads_nor_memory():
    import resource

    exp = toy(population=2, steps_per_generation=8, mutations=ev.Mutations(none=1, new_layer=0.5), eval_steps=5,
              buffer=ev.ReplayBuffer(500))  # fmt: skip
    exp.fill(60)
    exp.run(generations=40)
    gc.collect()
    threads, objects = threading.active_count(), len(gc.get_objects())
    tensors = sum(type(o) is torch.Tensor for o in gc.get_objects())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(16):
        exp.run(generations=5)
        exp.start(generations=5)
        exp.wait()
    gc.collect()
    assert exp.generation == 200
    assert threading.active_count() <= threads
    assert sum(type(o) is torch.Tensor for o in gc.get_objects()) <= tensors + 100
    assert len(gc.get_objects()) - objects < 160 * 60, "about a record of history per generation"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 40_000, "in kB"
    exp.close()


# Bad input ----------------------------------------------------------------------------------------


class Outside(Toy):
    """Shows numbers that its space does not have."""

    def show(self):
        return np.array([99.0, 0.0], np.float32)


class Sick(Toy):
    """Every reward is NaN."""

    def earn(self, action):
        return float("nan")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ev.Experiment("LunarLanderContinous-v3"), r"LunarLanderContinuous-v3"),
        (lambda: toy("TD5"), r"Unknown algorithm 'TD5'. Known: .*DQN.*TD3.*did you mean 'TD3'\?"),
        (lambda: toy(population=0), "population is 0; expected a whole number >= 1."),
        (lambda: toy(num_envs=0), "num_envs is 0; expected a whole number >= 1."),
        (lambda: toy(seed=-1), "seed is -1; expected a whole number >= 0."),
        (lambda: toy(hyperparameters={"lr_actr": 1e-3}),
         r"Unknown hyperparameter of TD3 'lr_actr'. Known: .*did you mean 'lr_actor'\?"),
        (lambda: toy(hyperparameters={"gamma": 0.9}), "evolab calls it discount."),
        (lambda: toy(hyperparameters={"batch_size": 64}), "batch_size is 64; its range is 8 to 32."),
        (lambda: toy(hyperparameters={"discount": 1.5}), "discount is 1.5; its range is 0.0 to 1.0."),
        (lambda: toy(search_space={"discount": ev.Float(0.5, 2.0)}), "discount is 2.0; its range is 0.0 to 1.0."),
        (lambda: toy(device="gpu"), "device is 'gpu'; 'auto', 'cpu', 'cuda' or 'meta' is expected."),
        (lambda: toy(fitness="returns"), r"Unknown fitness 'returns'. Known: acting, fqe, return; did you mean 'return'\?"),
        (lambda: toy(selection=ev.Tournament(size=5)), r"Tournament\(size=5\) is larger than the population of 3"),
        (lambda: toy(selection=ev.Tournament(size=0)), "is 0; expected a whole number >= 1"),
        (lambda: toy(search_space={"lr_actor": ev.Float(1e-2, 1e-4)}), "low must be below high"),
        (lambda: toy(mutations=ev.Mutations(none=-1.0)), "Mutations: none"),
        (lambda: toy(mutations=dict.fromkeys(KINDS, 0.0)), "at least one must be positive"),
        (lambda: toy(network=ev.Stack(lambda inputs, outputs: torch.nn.Linear(inputs, outputs + 1))),
         r"the module gives .*; .* is expected, one column per output"),
        (lambda: toy(eval_episodes=0), "eval_episodes is 0; expected a whole number >= 1."),
        (lambda: ev.Experiment(None, "TD3"), "learns by acting|without an environment there are no returns"),
        (lambda: toy(environment=Outside), "Outside"),
        (lambda: toy(network=[]), "widths of at least 1 are expected"),
    ],
)  # fmt: skip
def test_bad_values_are_refused_before_time_is_spent(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: toy("DQN", environment=Toy),
            "DQN needs Discrete or MultiDiscrete actions; .*Use TD3 or DDPG for it.",
        ),
        (
            lambda: toy("TD3", environment=Choosing),
            r"TD3 needs Box actions; .*Discrete\(3\). Use DQN for it.",
        ),
        (lambda: toy(hyperparameters={"lr_actor": "1e-3"}), "lr_actor is '1e-3'; a number from"),
        (lambda: toy(hyperparameters={"batch_size": 16.5}), "batch_size is 16.5; it must be a whole number."),
        (
            lambda: toy(search_space={"batch_size": ev.Float(8, 16)}),
            "batch_size is a whole number. Use ev.Integer.",
        ),
        (
            lambda: toy(search_space={"lr_actor": (1e-4, 1e-2)}),
            "ev.Float, ev.Integer or ev.Choice is expected",
        ),
        (lambda: toy(population=2.0), r"population is 2.0 \(float\); .* Write population=2."),
        (lambda: toy(network=3.5), r"network is 3\.5; ev.MLP\(\[64, 64\]\)"),
        (lambda: toy(algorithm=3), r"algorithm is 3; a name such as 'DQN' or an object, ev.DQN\(...\)"),
        (lambda: toy(mutations=3), r"mutations is 3; ev.Mutations\(...\)"),
        (
            lambda: toy(selection=3),
            r"selection is 3; a name such as 'Tournament' or an object, ev.Tournament\(...\)",
        ),
        (lambda: toy(buffer=[]), r"buffer is \[\]; ev.ReplayBuffer\(...\)"),
    ],
)
def test_values_of_the_wrong_type_are_refused_before_time_is_spent(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_shorthands_stand_for_objects():
    exp = toy(selection="truncation", mutations={"none": 0.9}, buffer=123, network=ev.MLP([8]))
    assert isinstance(exp.selection, ev.Truncation)
    assert exp.mutations == ev.Mutations(none=0.9)
    assert exp.buffer.capacity == 123
    with pytest.raises(ValueError, match=r"Unknown selection 'tournamnet'. .*did you mean 'Tournament'\?"):
        toy(selection="tournamnet")


@pytest.mark.parametrize("filled", [0, 12])
def test_a_buffer_without_a_batch_is_filled_by_itself(filled):
    exp = toy()
    if filled:
        exp.fill(filled)
    exp.step()
    assert exp.total_steps == filled + 1002 + 72, "a thousand random steps are 167 vector steps of six"
    assert updates(exp) == [24] * 3
    exp.close()


def test_data_do_not_come_by_themselves():
    exp = ev.Experiment(None, "CQN", population=2)
    for call in (exp.step, exp.start):
        with pytest.raises(ValueError, match=r"there are no data yet. Call exp.fill\('data.h5'\) first."):
            call()
    exp.close()


def test_goals_that_are_none_are_refused():
    exp = toy()
    with pytest.raises(ValueError, match=r"run\(\) needs a goal"):
        exp.run()
    with pytest.raises(ValueError, match="generations is 0; expected a whole number"):
        exp.run(generations=0)
    with pytest.raises(ValueError, match="fill is 0; expected a whole number"):
        exp.fill(0)


def test_a_batch_that_outgrows_the_buffer_waits_for_more():
    exp = toy(hyperparameters={"batch_size": 16}, search_space={"batch_size": ev.Integer(8, 4096, grow=50.0)},
              mutations=ev.Mutations(none=0, architecture=0, parameters=0, activation=0))  # fmt: skip
    exp.fill(60)
    exp.run(generations=4)
    assert exp.generation == 4
    exp.close()


def test_rewards_that_are_not_numbers_stop_the_run_with_the_environments_name():
    exp = toy(environment=Sick)
    with pytest.raises(
        ev.envs.EnvironmentFault, match=r"Sick: environment .* failed 10 times in a row: reward nan"
    ):
        exp.fill(60)


def test_unknown_options_of_a_configuration_are_refused():
    with pytest.raises(
        ValueError, match=r"Unknown option of Experiment 'populaton'.*did you mean 'population'\?"
    ):
        ev.Experiment.from_config({"environment": "CartPole-v1", "algorithm": "DQN", "populaton": 3})
    with pytest.raises(FileNotFoundError, match=r"no configuration at nowhere.yaml"):
        ev.Experiment.from_config("nowhere.yaml")


def test_spaces_are_the_environments_own(exp):
    assert isinstance(exp.population.action_space, spaces.Box)
    assert exp.name == "Toy"
    assert exp.algorithm.name == "TD3"


def test_an_unknown_option_of_mutations_is_named():
    with pytest.raises(ValueError, match="Unknown option of Mutations 'parametres'"):
        toy(mutations={"parametres": 0.1})


# Settings -----------------------------------------------------------------------------------------


CHANGES = {
    "selection": ("truncation", ev.Truncation()),
    "mutations": ({"none": 0.9}, ev.Mutations(none=0.9)),
    "search_space": ({"lr_actor": ev.Float(1e-5, 2e-5)}, {"lr_actor": ev.Float(1e-5, 2e-5)}),
    "steps_per_generation": (10, 10),
    "update_ratio": (0.5, 0.5),
    "eval_episodes": (3, 3),
    "eval_steps": (4, 4),
    "confirmation": (5, 5),
    "evaluation_share": (0.5, 0.5),
    "evolving": (False, False),
    "revive": ("resting", "resting"),
    "target": (50, 50.0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_set_holds_from_the_next_generation_and_is_recorded_saved_and_resumed(exp, tmp_path, name):
    """`exp.search_space = {...}` and `exp.eval_episodes = 7` passed, and nothing happened."""
    given, expected = CHANGES[name]
    exp.step()
    setattr(exp, name, given)
    if name == "search_space":
        expected = {
            "lr_actor": dataclasses.replace(expected["lr_actor"], grow=exp.search_space["lr_actor"].grow)
        }
    assert getattr(exp, name) == expected
    exp.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", environment=Toy)
    assert getattr(again, name) == expected
    assert again.config == exp.config != toy().config
    for one in (exp, again):
        assert list(one.step().changes) == [name], "the generation that it holds for says so"
        assert one.step().changes == {}
    same(again, exp)
    exp.save(tmp_path / "run")
    assert ev.Experiment.load(tmp_path / "run", environment=Toy).history == exp.history


def test_settings_do_what_they_say(exp):
    exp.step()
    exp.eval_episodes, exp.eval_steps, exp.steps_per_generation, exp.update_ratio = 3, 4, 10, 0.5 / 3
    exp.evolving = False
    before = {e.agent: (e.steps, e.updates) for e in exp.history.generations[0].evaluations}
    ids = exp.population.ids
    generation = exp.step()
    assert exp.population.ids == ids
    assert not generation.births
    assert {(e.episodes, e.length) for e in generation.evaluations} == {(3, 4.0)}
    survivors = [e for e in generation.evaluations if e.agent in before]
    assert {(e.steps - before[e.agent][0], e.updates - before[e.agent][1]) for e in survivors} == {(10, 5)}


def test_a_search_space_of_later_is_where_hyperparameters_mutate(exp):
    exp.step()
    exp.search_space = {"lr_actor": ev.Float(1e-5, 2e-5)}
    exp.mutations = ev.Mutations(none=0, architecture=0, parameters=0, activation=0, resample=1.0)
    exp.step()
    changed = [b for b in exp.history.generations[1].births if b.kind == "hyperparameters"]
    assert changed
    assert all(b.detail.startswith("lr_actor") for b in changed)
    values = exp.population.table.hyper["lr_actor"].tolist()
    assert {1e-5 <= value <= 2e-5 for value in values} == {True, False}, "those of the survivors stay"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mutatons", r"Unknown setting of Experiment 'mutatons'.*did you mean 'mutations'\?"),
        (
            "population",
            r"population is the same for a whole run.*from_config\(exp.config \| \{'population': 8\}\)",
        ),
        ("seed", "seed is the same for a whole run"),
        ("history", "history can be read only. Can be set: target, selection"),
        ("step", "step can be read only"),
    ],
)
def test_what_cannot_be_set_says_so(exp, name, message):
    with pytest.raises(AttributeError, match=message):
        setattr(exp, name, 8)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("selection", "tournamnet", ValueError),
        ("eval_episodes", 0, ValueError),
        ("search_space", {"lr_actr": ev.Float(0.1, 0.2)}, ValueError),
        ("revive", "rest", ValueError),
        ("update_ratio", "1", TypeError),
    ],
)
def test_a_bad_setting_is_refused_and_changes_nothing(exp, name, value, error):
    before = exp.config
    with pytest.raises(error):
        setattr(exp, name, value)
    assert exp.config == before
    assert exp.step().changes == {}


def test_the_status_is_stopping_until_it_has_stopped(exp):
    exp.start()
    with exp._runner.lock:  # it cannot come to rest meanwhile
        exp.stop()
        assert exp.status == "stopping"
    assert exp.wait(60) == exp.status == "stopped"


# Loading ------------------------------------------------------------------------------------------


@pytest.fixture
def saved(exp, tmp_path):
    exp.step()
    exp.save(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_that_is_passed_when_loading_holds_and_is_recorded(saved, name):
    given, _ = CHANGES[name]
    later, loaded = (
        ev.Experiment.load(saved, environment=Toy),
        ev.Experiment.load(saved, environment=Toy, **{name: given}),
    )
    setattr(later, name, given)
    assert loaded.config == later.config
    assert list(loaded.step().changes) == [name]
    later.step()
    same(loaded, later)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("population", 3),
        ("network", ev.MLP([16])),
        ("hyperparameters", {"lr_actor": 1e-3}),
        ("draw", True),
        ("load", "elsewhere"),
        ("buffer", 10),
        ("dtype", torch.float64),
    ],
)
def test_what_the_saved_agents_have_settled_is_refused_by_name(saved, name, value):
    """They were ignored, or the next step broke."""
    with pytest.raises(ValueError, match=f"Experiment.load takes no {name}: the saved"):
        ev.Experiment.load(saved, environment=Toy, **{name: value})


def test_other_options_are_applied_when_loading_and_unknown_ones_refused(saved):
    again = ev.Experiment.load(saved, environment=Toy, num_envs=4, keep=1, vectorization="sync")
    assert (again.config["num_envs"], again.config["keep"]) == (4, 1)
    assert again.step().best.steps > 0
    with pytest.raises(ValueError, match=r"algorithm is DDPG; the saved agents learn by TD3. Leave it out."):
        ev.Experiment.load(saved, environment=Toy, algorithm="DDPG")
    with pytest.raises(
        ValueError, match=r"Unknown option of Experiment 'selecton'.*did you mean 'selection'\?"
    ):
        ev.Experiment.load(saved, environment=Toy, selecton="truncation")


# Batches that stop nobody -------------------------------------------------------------------------


def updates(exp):
    return [individual.updates for individual in exp.population.individuals]


def test_a_range_beyond_the_buffer_is_cut_to_it_and_said():
    with pytest.warns(UserWarning, match=r"batch_size reaches beyond the buffer, which holds 64 transitions: it "
                      r"starts at 16 and evolves within Integer\(low=8, high=64"):  # fmt: skip
        exp = toy(buffer=64, search_space={"batch_size": ev.Integer(8, 512)})
    assert (exp.search_space["batch_size"].low, exp.search_space["batch_size"].high) == (8, 64)
    assert exp.config["search_space"]["batch_size"]["high"] == 64
    with pytest.warns(UserWarning, match="it starts at 64 and stays there"):
        exp = toy(
            buffer=64, hyperparameters={"batch_size": 256}, search_space={"batch_size": ev.Integer(64, 512)}
        )
    assert exp.population[0].hyperparameters["batch_size"] == 64
    assert exp.search_space == {}


def test_evolabs_own_range_is_cut_without_a_word():
    exp = ev.Experiment(Toy, buffer=100, **SMALL, **by_episodes(3))
    assert exp.search_space["batch_size"].high == 100
    assert exp.population[0].hyperparameters["batch_size"] == 100
    exp = ev.Experiment(Toy, buffer=20, **SMALL, **by_episodes(3))
    assert "batch_size" not in exp.search_space
    exp.fill(24)
    exp.step()  # 3 agents, 2 environments: 24 updates each, from 20 transitions
    assert updates(exp) == [24] * 3


def test_one_agents_batch_is_cut_to_what_is_stored_and_stops_no_other():
    """Generations with batches of 48, 20, 15 and 114 learned nothing at all from a buffer of 64."""
    exp = toy(search_space={"batch_size": ev.Integer(8, 500)}, evolving=False, population=2, update_ratio=0.5)
    agents = [exp.population.individual(row) for row in range(2)]
    agents[1].hyperparameters["batch_size"] = 400
    exp.population.rebuild(agents)
    exp.fill(32)  # and 4 are added by the first step
    with pytest.warns(
        UserWarning, match=r"batch_size is 400 in agent 1, and 36 transitions are stored"
    ) as told:
        exp.run(generations=2)
    assert len([one for one in told if "batch_size" in str(one.message)]) == 1
    assert updates(exp) == [48, 48]


@pytest.mark.parametrize("batch", [16, 2048])
def test_ppo_learns_in_generations_shorter_than_a_rollout(batch):
    """1000 steps in 8 environments with batches of 2048: three generations, and no update."""
    exp = ev.Experiment(
        Choosing, "PPO", hyperparameters={"batch_size": batch, "epochs": 3},
        **{**SMALL, "steps_per_generation": 10}, evolving=False,
    )  # fmt: skip
    exp.run(generations=2)
    assert updates(exp) == [6] * 3  # 3 passes a generation over 10 steps, which are one minibatch
    exp.close()


def test_ppo_drops_what_a_longer_generation_leaves():
    exp = ev.Experiment(
        Choosing, "PPO", hyperparameters={"batch_size": 16, "epochs": 3}, buffer=8, evolving=False,
        **{**SMALL, "steps_per_generation": 22},
    )  # fmt: skip
    exp.step()
    assert (
        updates(exp) == [3] * 3
    )  # 8 steps in 2 environments are one minibatch; the 6 transitions left are not
    exp.close()
