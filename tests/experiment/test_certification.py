"""A winner's settings, trained on many seeds at once: each seed alone, the run untouched."""

from __future__ import annotations

import _thread
import json

import numpy as np
import pandas
import pytest
import torch

import evolab as ev
from evolab.experiment.certification_plan import Wish, planned
from tests.small import assert_same, experiment, in_language
from tests.toys import Choosing, Lottery, Still, Toy

EVERY = ["DQN", "DDPG", "TD3", "SAC", "PPO", "CQN", "TD3BC"]


def run(algorithm="DQN", environment=Choosing, generations=2, **options):
    """A quick run of three agents."""
    exp = experiment(algorithm, environment=environment, **options)
    exp.run(generations=generations)
    return exp


def plan(exp, **asked):
    return planned(Wish(asked.pop("seeds", 5), **asked), exp._config, exp._state)


@pytest.mark.parametrize("algorithm", EVERY)
def test_every_algorithm_is_certified_and_the_run_stays_as_it_was(algorithm):
    exp, other = (experiment(algorithm) for _ in range(2))
    for one in (exp, other):
        one.run(generations=2)
    before = (exp.total_steps, exp.evaluation_steps, exp.version, exp.status, len(exp.buffer))
    told = exp.certify(seeds=5, episodes=3)
    assert told.returns.shape == (5, 3)
    assert np.isfinite(told.returns).all()
    assert len(told.per_seed) == 5
    assert (exp.total_steps, exp.evaluation_steps, exp.version, exp.status, len(exp.buffer)) == before
    for one in (exp, other):
        one.step()
    assert_same(exp, other)


def test_seeds_learn_apart_from_weights_and_data_of_their_own():
    """With a shared replay the seeds would not be independent, and their interval too narrow."""
    exp = run()
    assert not plan(exp).config.buffer.shared
    told = exp.certify(seeds=6, episodes=4)
    assert len(set(told.per_seed)) > 1
    again = exp.certify(seeds=6, episodes=4)
    assert np.array_equal(told.returns, again.returns), "the same run has the same certificate"
    assert not np.array_equal(told.returns, exp.certify(seeds=6, episodes=4, seed=3).returns)


def test_a_seed_takes_the_steps_of_the_whole_population_where_experience_was_shared():
    exp = run()
    told = exp.certify(seeds=5, episodes=2)
    assert told.steps.training == 5 * exp.total_steps
    assert [row["until"] for row in told.settings][-1] == exp.total_steps


def test_every_step_of_an_environment_is_counted_once():
    taken = []

    class Counting(Still):
        def step(self, action):
            taken.append(1)
            return super().step(action)

    exp = run(environment=Counting)
    taken.clear()
    told = exp.certify(seeds=5, episodes=4)
    assert len(taken) == told.steps.total + 2, "and those that examine new environments"
    lengths = told.returns.sum()  # every step pays 1
    assert told.steps.evaluation == lengths


def test_a_seed_takes_the_winners_steps_where_experience_was_not_shared():
    own = run(buffer=ev.ReplayBuffer(150, shared=False))
    winner = own.history.ancestry()[-1][0]
    assert own.certify(seeds=5, episodes=2).steps.training == 5 * winner.steps
    ppo = run("PPO")
    assert ppo.certify(seeds=5, episodes=2).steps.training == 5 * ppo.history.ancestry()[-1][0].steps


def test_updates_per_stored_transition_are_those_of_the_population():
    """At the population's pace per own step a lone agent would make three times as many."""
    exp = experiment(environment=Choosing, search_space={}, evolving=False, steps_per_generation=60)
    filled = exp.total_steps
    exp.run(generations=2)
    pace = exp.population.individuals[0].updates / (exp.total_steps - filled)
    told = exp.certify(seeds=5, episodes=2)
    assert told.updates / (told.steps.training / 5 - filled) == pytest.approx(pace, rel=0.05)


def test_recorded_data_are_learned_from_for_as_many_updates_as_the_winner_made():
    exp = run("CQN", environment="CartPole-v1", eval_steps=100)
    told = exp.certify(seeds=5, episodes=2)
    assert told.offline
    assert told.updates == exp.history.ancestry()[-1][0].updates == 24
    assert told.steps.training == 5 * 24
    assert len(set(told.per_seed)) > 1, "seeds draw other batches of the same data"


def test_every_seed_plays_fresh_episodes_of_its_own():
    """In common ones, a lucky start would count for all of them."""
    told = run("TD3", environment=Lottery).certify(seeds=20, episodes=10)
    assert told.returns.shape == (20, 10)
    assert len(np.unique(told.returns)) == 200, "in every round"
    assert told.steps.evaluation == 20 * 10 * 8


@pytest.mark.parametrize("algorithm", ["BC", "ILQL"])
def test_language_agents_are_certified_on_fresh_episodes(algorithm):
    exp = in_language(algorithm)
    exp.run(generations=1)
    told = exp.certify(seeds=3, episodes=4)
    assert told.returns.shape == (3, 4)
    assert told.steps.evaluation > 0


def test_settings_change_where_the_population_stood_when_the_winners_line_changed():
    mutations = ev.Mutations(none=0, architecture=1, parameters=0, activation=0, hyperparameters=1)
    selection = ev.Tournament(elitism=False)
    exp = run(generations=4, mutations=mutations, selection=selection, network=ev.MLP([16], min_units=8))
    line, stages = exp.history.schedule(), plan(exp).stages
    assert len(stages) > 1, "or the test means little"
    for stage in stages:
        row = line[line["total_steps"] == stage.steps].iloc[0]
        assert stage.hyperparameters["batch_size"] == row["batch_size"]
        assert stage.genes["hidden"] == [int(width) for width in row["hidden"].split("x")]
    assert stages[-1].steps == exp.total_steps
    assert exp.certify(seeds=2, episodes=1).settings[-1]["batch_size"] == line["batch_size"].iloc[-1]


def test_another_budget_cuts_the_schedule_or_goes_on_with_its_last_settings():
    exp = run()
    longest = 8  # steps of an evaluation episode here
    few = exp.certify(seeds=5, episodes=2, max_steps=5 * (40 + 2 * longest))
    assert few.steps.total <= 5 * (40 + 2 * longest)
    assert few.steps.training == 5 * 40
    assert [row["until"] for row in few.settings] == [40]
    many = plan(exp, max_steps=5 * (1_000 + 20 * longest))
    assert many.budget == 1_000
    assert many.stages[-1].hyperparameters == plan(exp).stages[-1].hyperparameters


def test_the_first_architecture_is_drawn_and_not_grown_from_the_starting_one():
    """A layer that is grown starts as the identity: no weights that somebody else would start from."""
    from evolab.evolution.schedules import Stage, begin

    spaces = Choosing()
    population = ev.Population("DQN", spaces.observation_space, spaces.action_space, 2, network=[16], seed=1)
    like = ev.Population("DQN", spaces.observation_space, spaces.action_space, 2, network=[24, 32], seed=1)
    values = dict(population.individuals[0].hyperparameters)
    begin(population, Stage(10, values, {"hidden": [24, 32], "activation": ["relu", "relu"]}))
    for row in range(2):
        ours, theirs = population.individual(row).tensors["q"], like.individual(row).tensors["q"]
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    before = population.individual(0).tensors["q"]
    kept = {name: value.clone() for name, value in before.items()}
    begin(population, Stage(10, values, {"hidden": [24, 32], "activation": ["relu", "relu"]}))
    after = population.individual(0).tensors["q"]
    assert all(torch.equal(kept[name], after[name]) for name in kept), "loaded weights stay"


def test_any_settings_can_be_certified_by_name():
    exp = run()
    made = plan(exp, config={"lr": 2e-3, "network": [8, 8], "num_envs": 1})
    assert made.stages[0].hyperparameters["lr"] == 2e-3
    assert made.stages[0].hyperparameters["batch_size"] == 8, "as the experiment began"
    assert made.config.network == [8, 8]
    assert (made.config.num_envs, made.config.population) == (1, 5)
    assert made.budget == exp.total_steps
    assert plan(exp, config={}).stages[0].hyperparameters["lr"] == exp._config.hyperparameters["lr"]
    assert exp.certify(seeds=3, config={"lr": 2e-3}, episodes=2).settings[0]["lr"] == 2e-3


def test_the_configuration_of_another_run_can_be_certified():
    exp, other = run(), run(hyperparameters={"lr": 3e-3, "batch_size": 8}, network=[24], seed=9)
    config = json.loads(json.dumps(other.config | {"environment": None}))
    del config["environment"]  # a class of one's own has no plain form
    made = plan(exp, config=config)
    assert made.stages[0].hyperparameters["lr"] == 3e-3
    assert tuple(made.config.network.hidden) == (24,)
    assert made.config.update_ratio == pytest.approx(1 / 3), "its three agents shared what they stored"
    assert made.config.seed == plan(exp).config.seed
    assert made.config.folder is None


def test_seeds_begin_with_the_trained_weights_that_the_run_began_with():
    agent = run(generations=1).best
    exp = experiment(environment=Choosing, load=agent)
    exp.step()
    assert plan(exp).config.load is agent


def test_another_algorithm_starts_from_its_own_defaults():
    exp = run("TD3", environment=Toy)
    made = plan(exp, config={"algorithm": "SAC", "lr_actor": 2e-3})
    assert made.config.algorithm.name == "SAC"
    default = ev.SAC().hyperparameters["batch_size"].default
    assert made.stages[0].hyperparameters["batch_size"] == default
    assert made.stages[0].hyperparameters["lr_actor"] == 2e-3


def test_another_lines_schedule_can_be_certified_also_from_a_file(tmp_path):
    exp = run()
    loser = exp.history.generations[-1].evaluations[-1].agent
    exp.history.schedule(loser).to_csv(tmp_path / "schedule.csv", index=False)
    made = plan(exp, config=pandas.read_csv(tmp_path / "schedule.csv"))
    assert made.budget == exp.total_steps
    rows = [{"steps": 50, "lr": 1e-3}, {"steps": 90, "lr": 1e-4}]
    assert [stage.steps for stage in plan(exp, config=rows).stages] == [50, 90], "as told, where no more is"


def test_before_a_generation_settings_and_a_budget_have_to_be_said():
    exp = experiment(environment=Choosing)
    with pytest.raises(
        LookupError, match=r"no winner to certify\. Call exp\.step\(\) first, or pass config="
    ):
        exp.certify()
    with pytest.raises(ValueError, match=r"no winner whose steps could be taken\. Pass max_steps="):
        exp.certify(config={"lr": 1e-3})
    told = exp.certify(seeds=2, config={"lr": 1e-3}, max_steps=200, episodes=2)
    assert told.steps.total <= 200
    assert exp.total_steps == 102
    assert not exp.history.generations


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        ({"seeds": 0}, ValueError, r"seeds is 0; expected a whole number >= 1"),
        ({"seeds": 2.5}, TypeError, r"seeds is 2\.5"),
        ({"episodes": 0}, ValueError, r"episodes is 0"),
        ({"max_steps": 0}, ValueError, r"max_steps is 0"),
        ({"max_steps": 100}, ValueError, r"max_steps=100 leaves no step to train: 20 episodes of each of 16 seeds"),
        ({"seed": -1}, ValueError, r"seed is -1"),
        ({"target": float("nan")}, ValueError, r"target is nan"),
        ({"config": 3}, TypeError, r"schedule is int; history\.schedule"),
        ({"config": {"lrr": 1e-3}}, ValueError, r"setting of DQN in config 'lrr'.*did you mean 'lr'"),
        ({"config": {"lr": 7.0}}, ValueError, r"lr is 7\.0; its range is"),
        ({"config": {"environment": "Pendulum-v1"}}, ValueError, r"config is of the environment 'Pendulum-v1'"),
        ({"config": {"algorithm": "CQN"}}, ValueError, r"CQN learns from recorded data, and this experiment has none"),
        ({"config": {"algorithm": "TD3"}}, TypeError, r"TD3"),
        ({"config": []}, ValueError, r"schedule is empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_certified_is_said_before_training(asked, kind, message):
    exp = run(generations=1)
    before = exp.total_steps
    with pytest.raises(kind, match=message):
        exp.certify(**asked)
    assert exp.total_steps == before
    exp.step()


def test_recorded_data_without_an_environment_cannot_be_certified():
    stream = np.random.default_rng(0)
    data = {
        "observations": stream.normal(size=(200, 4)).astype("f"),
        "actions": stream.integers(0, 2, 200),
        "rewards": np.ones(200, "f"),
        "terminals": np.arange(200) % 10 == 9,
    }
    exp = ev.Experiment(None, "CQN", population=2, fitness="fqe", steps_per_generation=5, seed=1, network=[8],
                        hyperparameters={"batch_size": 8}, search_space={})  # fmt: skip
    exp.fill(data)
    with pytest.raises(
        ValueError, match="a certificate needs an environment to play in; this experiment has none"
    ):
        exp.certify()


def test_an_environment_that_cannot_be_made_any_more_is_said_and_costs_the_run_nothing():
    broken = []

    class Fragile(Choosing):
        def __init__(self):
            if broken:
                raise OSError("the simulator's licence is in use")
            super().__init__()

    exp = run(environment=Fragile)
    broken.append(True)
    with pytest.raises(Exception, match="the simulator's licence is in use"):
        exp.certify(seeds=2, episodes=1)
    exp.step()
    assert exp.generation == 3


def test_failures_of_the_environment_are_survived_and_counted():
    class Failing(Choosing):
        def step(self, action):
            if self.np_random.uniform() < 0.02:
                raise OSError("no signal")
            return super().step(action)

    exp = run(environment=Failing, on_fault="survive")
    with pytest.warns(UserWarning, match="no signal"):
        told = exp.certify(seeds=4, episodes=3)
    assert told.faults > 0
    assert "survived" in repr(told)


def test_arguments_of_the_environment_are_kept():
    """A replayed schedule trained in the environment without them."""
    exp = ev.Experiment("CartPole-v1", "DQN", population=2, num_envs=1, steps_per_generation=12, seed=1,
                        network=[8], hyperparameters={"batch_size": 8}, search_space={},
                        env_kwargs={"sutton_barto_reward": True})  # fmt: skip
    exp.fill(20)
    exp.step()
    assert exp.replay()._config.env_kwargs == {"sutton_barto_reward": True}
    assert (exp.certify(seeds=2, episodes=2).returns <= 0).all(), "-1 where the pole falls, 0 else"


def test_ctrl_c_gives_the_certificate_up_and_leaves_the_run_usable():
    taken, training = [], [True]

    class Counting(Choosing):
        def step(self, action):
            taken.append(1)
            if len(taken) == 500 and not training:
                _thread.interrupt_main()
            return super().step(action)

    exp = run(environment=Counting)
    taken.clear()
    training.clear()
    with pytest.raises(KeyboardInterrupt, match="given up; the experiment is as it was"):
        exp.certify(seeds=4, max_steps=2_000_000)
    assert len(taken) < 600, "at the next step"
    taken.clear()
    training.append(True)
    assert exp.status == "idle"
    exp.step()
    assert exp.generation == 3


def test_it_waits_for_nothing_that_runs():
    exp = experiment(environment=Choosing, steps_per_generation=20_000)
    exp.start()
    try:
        with pytest.raises(RuntimeError, match=r"call exp\.pause\(\) before exp\.certify\(\)"):
            exp.certify()
    finally:
        exp.close()


def test_a_loaded_run_has_the_same_certificate_and_the_file_beside_it_spoils_nothing(tmp_path):
    exp = run(environment="CartPole-v1", folder=tmp_path / "run")
    told = exp.certify(seeds=4, episodes=2)
    exp.close()
    loaded = ev.Experiment.load(tmp_path / "run")
    again = loaded.certify(seeds=4, episodes=2)
    assert np.array_equal(told.returns, again.returns)
    assert plan(loaded, config=exp.config).config.update_ratio == plan(loaded).config.update_ratio
    again.save(tmp_path / "run" / "certificate.json")
    loaded.step()
    loaded.close()
    assert (tmp_path / "run" / "certificate.json").exists()
    assert ev.Experiment.load(tmp_path / "run").generation == 3
    assert list(ev.runs(tmp_path)["generation"]) == [3]


def test_progress_counts_a_seeds_steps_to_the_end(monkeypatch):
    import contextlib

    exp, shown = run(), []

    @contextlib.contextmanager
    def told(*_):
        yield shown.append

    monkeypatch.setattr("evolab.experiment.certification.bar", told)
    exp.certify(seeds=3, episodes=2)
    training = [one for one in shown if one.phase == "train"]
    assert training[-1].done == training[-1].total == exp.total_steps
    assert {one.generation for one in training} == {0}
    assert shown[-1].phase in ("train", "evaluate")
