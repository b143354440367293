"""What an experiment takes where its user says nothing."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import evolab as ev
from evolab.algorithms.search_space import algorithm_named
from evolab.experiment.config import defaults
from evolab.experiment.config.config import ExperimentConfig
from evolab.experiment.loading import of_0_1
from tests.small import recorded
from tests.toys import Choosing, Toy

FLAT = spaces.Box(-1, 1, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (32, 32, 3), np.uint8)
MIXED = spaces.Dict({"flat": FLAT, "inner": spaces.Tuple([FLAT, IMAGE])})
GAME = ev.envs.WordGame(["abc", "cab"], letters=3, tries=3, alphabet="abc")


@pytest.mark.parametrize(
    ("environment", "actions", "recorded", "expected"),
    [
        ("e", spaces.Discrete(3), False, "DQN"),
        ("e", spaces.MultiDiscrete([2, 3]), False, "DQN"),
        ("e", spaces.Box(-1, 1, (2,)), False, "SAC"),
        (None, spaces.Discrete(3), True, "CQN"),
        (None, spaces.Box(-1, 1, (2,)), True, "TD3BC"),
        (GAME, None, False, "BC"),
    ],
)
def test_the_algorithm_follows_the_actions(environment, actions, recorded, expected):
    assert defaults.algorithm_for(environment, actions, recorded) == expected


@pytest.mark.parametrize("network", ["Recurrent", ev.Recurrent(8)], ids=["name", "object"])
def test_it_is_one_that_learns_with_a_network_that_remembers(network):
    """DQN was chosen for CartPole, and then refused the network that was asked for."""
    assert ExperimentConfig("CartPole-v1", network=network).algorithm.name == "PPO"
    assert ExperimentConfig("CartPole-v1", network="MLP").algorithm.name == "DQN"


@pytest.mark.parametrize(
    ("said", "widths", "ratio"),
    [
        ({}, (256, 256), 0.5),
        ({"population": 64}, (256, 256), 0.25),
        ({"update_ratio": 3.0}, (256, 256), 3.0),
        ({"network": [8]}, (8,), None),
        ({"algorithm": "DQN"}, None, None),
        ({"environment": Toy}, None, None),
    ],
    ids=["choices", "many agents", "a ratio", "a network", "a named algorithm", "real values"],
)
def test_values_of_choices_are_learned_gently_by_wide_networks_where_nobody_says_otherwise(
    said, widths, ratio
):
    """With 64 units and two updates per transition LunarLander-v3 was not solved in 300 000 steps."""
    config = ExperimentConfig(**{"environment": "CartPole-v1"} | said)
    network = config.spec(FLAT, spaces.Discrete(2)).network if config.algorithm.name == "DQN" else None
    assert (network.hidden if widths else None) == widths
    assert config.update_ratio == ratio


def test_images_are_read_by_the_network_that_suits_them():
    assert defaults.learner_for(ev.DQN(), IMAGE, 4) == (None, None)
    assert defaults.learner_for(ev.DQN(), MIXED, 4) == (None, None)


@pytest.mark.parametrize(
    ("algorithm", "observations", "population", "environments", "fitness"),
    [
        ("DQN", FLAT, defaults.WIDE, defaults.EACH, "acting"),
        ("TD3", FLAT, defaults.WIDE, defaults.EACH, "acting"),
        ("SAC", None, defaults.WIDE, defaults.EACH, "acting"),
        ("DDPG", IMAGE, defaults.FEW, defaults.EACH, "acting"),
        ("DQN", MIXED, defaults.FEW, defaults.EACH, "acting"),
        ("PPO", FLAT, defaults.FEW, 8, "acting"),
        ("CQN", FLAT, defaults.FEW, 1, "return"),
        ("ILQL", None, defaults.FEW, 1, "return"),
    ],
)
def test_size_and_fitness_follow_from_what_an_update_costs(
    algorithm, observations, population, environments, fitness
):
    found = algorithm_named(algorithm)
    assert defaults.population_for(found, observations) == population
    assert defaults.num_envs_for(found) == environments
    assert defaults.fitness_for(found, "an environment") == fitness
    assert defaults.fitness_for(found, None) == "fqe"


@pytest.mark.parametrize(
    ("population", "fitness", "kind"),
    [(1, "acting", ev.Tournament), (4, "acting", ev.Tournament), (5, "acting", "Narrowing"), (16, "return", ev.Tournament)],
)  # fmt: skip
def test_a_wide_population_narrows_where_its_acting_is_the_fitness(population, fitness, kind):
    selection = defaults.selection_for(population, fitness)
    assert type(selection).__name__ == (kind if isinstance(kind, str) else kind.__name__)
    selection.check(population)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a/b.h5", True),
        (Path("b.npz"), True),
        ("b.parquet", True),
        ("B.H5", True),
        ("b.csv", True),  # is not read, and `Dataset` says what reads it: it was an "Unknown environment"
        ("CartPole-v1", False),
        ("my_envs:Warehouse-v0", False),
        ({"observations": []}, True),
        (Toy, False),
        (None, False),
        (GAME, False),
    ],
)
def test_data_are_told_from_environments(source, expected):
    assert defaults.is_data(source) is expected


RANGES = {"lr": ev.Float(1e-4, 1e-2), "batch_size": ev.Integer(8, 64)}


@pytest.mark.parametrize(
    ("draw", "fixed", "expected"),
    [
        (None, (), ("lr", "batch_size")),
        (None, ("lr",), ("batch_size",)),
        (True, ("lr",), ("lr", "batch_size")),
        (False, (), ()),
        (["lr"], (), ("lr",)),
        ("lr", (), ("lr",)),
        ((), (), ()),
    ],
)
def test_what_evolves_and_is_not_fixed_is_drawn(draw, fixed, expected):
    assert defaults.drawn_names(draw, fixed, RANGES) == expected


def test_a_starting_value_without_a_range_is_not_drawn_around():
    told = {"hyperparameters": {"lr": 1e-3}}
    assert "lr" not in ExperimentConfig("CartPole-v1", "DQN", population=2, num_envs=1, **told).draw
    asked = told | {"search_space": {"lr": RANGES["lr"]}}
    assert ExperimentConfig("CartPole-v1", "DQN", population=2, num_envs=1, **asked).draw == ("lr",)


def test_only_what_evolves_can_be_drawn():
    with pytest.raises(ValueError, match=r"Unknown hyperparameter to draw 'tau'. Known: batch_size, lr"):
        defaults.drawn_names(["tau"], (), RANGES)
    with pytest.raises(TypeError, match="draw is 3; True, False or names of hyperparameters are expected"):
        defaults.drawn_names(3, (), RANGES)


# Nothing but where to live --------------------------------------------------------------------------


def test_an_environment_is_enough():
    exp = ev.Experiment(Choosing, seed=1)
    config = exp.config
    assert exp.algorithm.name == "DQN"
    assert [config[name] for name in ("population", "num_envs", "fitness", "revive", "steps_per_generation")] == [
        defaults.WIDE, defaults.EACH, "acting", True, None]  # fmt: skip
    assert set(config["draw"]) == set(exp.search_space)
    assert config["hyperparameters"]["epsilon_steps"] == 10_000 // defaults.WIDE
    for name in exp.search_space:
        assert len({one.hyperparameters[name] for one in exp.population.individuals}) > 1, "each its own"
    exp.close()


def test_values_of_ones_own_are_not_drawn_and_agents_with_pools_of_their_own_explore_for_as_long_as_one():
    exp = ev.Experiment(
        Choosing, hyperparameters={"lr": 1e-3}, buffer=ev.ReplayBuffer(1000, shared=False), population=5
    )
    assert {one.hyperparameters["lr"] for one in exp.population.individuals} == {1e-3}
    assert exp.population.individuals[0].hyperparameters["epsilon_steps"] == 10_000
    again = ev.Experiment.from_config(exp.config, environment=Choosing)
    assert again.config == exp.config
    exp.close()


def test_what_has_trained_weights_draws_nothing(tmp_path):
    exp = ev.Experiment(Choosing, population=2, network=[4], seed=1)
    exp.population[1].copy().save(tmp_path / "agent")
    loaded = ev.Experiment(Choosing, population=3, load=tmp_path / "agent")
    assert loaded.config["draw"] == []
    assert len({one.hyperparameters["lr"] for one in loaded.population.individuals}) == 1


def test_neither_environment_nor_data_says_what_to_pass():
    with pytest.raises(ValueError, match="there is neither an environment nor data"):
        ev.Experiment()
    with pytest.raises(ValueError, match="DQN learns by acting, and no environment was given"):
        ev.Experiment(algorithm="DQN")


@pytest.mark.parametrize("algorithm", ["CQN", "TD3BC"])
def test_what_learns_from_data_has_no_acting_to_go_by(algorithm):
    with pytest.raises(ValueError, match=f"fitness='acting': {algorithm} does not learn by acting"):
        ev.Experiment(Choosing if algorithm == "CQN" else Toy, algorithm, fitness="acting")


# Data in the environment's place --------------------------------------------------------------------


@pytest.mark.parametrize("place", ["CartPole-v1", "Pendulum-v1"])
def test_data_are_enough(place):
    exp = ev.Experiment(recorded(place), network=[4], seed=1)
    assert exp.algorithm.name == ("CQN" if place == "CartPole-v1" else "TD3BC")
    assert (exp.config["population"], exp.config["fitness"]) == (4, "fqe")
    assert len(exp.buffer) == 400
    assert exp.name == "data"
    assert "data" not in exp.config, "arrays are no option that a file can hold"
    exp.close()


@pytest.mark.parametrize("kind", ["path", "text", "Dataset", "option"])
def test_a_file_of_data_is_enough_and_a_configuration_names_it(tmp_path, kind):
    path = tmp_path / "data.npz"
    np.savez(path, **recorded())
    given = {"path": path, "text": str(path), "Dataset": ev.Dataset(path), "option": None}[kind]
    about = {"network": [4], "seed": 1, "population": 2} | ({"data": path} if kind == "option" else {})
    exp = ev.Experiment(given, **about)
    assert exp.algorithm.name == "CQN"
    assert len(exp.buffer) == 400
    if kind != "Dataset":
        assert exp.config["data"] == str(path)
        again = ev.Experiment.from_config(exp.config)
        assert len(again.buffer) == 400
        assert again.config == exp.config
    exp.close()


def test_data_beside_an_environment_are_where_acting_begins(tmp_path):
    exp = ev.Experiment("CartPole-v1", data=recorded(), population=2, network=[4], seed=1)
    assert exp.algorithm.name == "DQN"
    assert len(exp.buffer) == 400
    exp.close()


# Runs of 0.1 ----------------------------------------------------------------------------------------


def test_a_run_of_0_1_keeps_its_ratio_and_its_fitness():
    assert of_0_1({"update_ratio": 2.0}, 4, True) == {
        "fitness": "return",
        "revive": False,
        "update_ratio": 0.5,
    }
    assert of_0_1({"update_ratio": 2.0}, 4, False)["update_ratio"] == 2.0
    assert of_0_1({}, 4, True)["update_ratio"] == 0.25
    kept = {"fitness": "fqe", "revive": "resting"}
    assert of_0_1(kept, 2, True) == kept | {"update_ratio": 0.5}


# Every kind of space and algorithm learns as it comes -------------------------------------------------


class Several(Toy):
    actions = spaces.MultiDiscrete([2, 3])


class Seen(Choosing):
    """Shows a picture."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(0, 255, (16, 16, 1), np.uint8)

    def show(self):
        return np.full((16, 16, 1), self.time, np.uint8)


class Failing(Toy):
    """Fails now and then."""

    count: ClassVar[int] = 0

    def step(self, action):
        Failing.count += 1
        if Failing.count % 37 == 0:
            raise RuntimeError("a cable is loose")
        return super().step(action)


@pytest.fixture
def short(monkeypatch):
    """A generation of some eighty transitions."""
    monkeypatch.setattr("evolab.training.options.TRANSITIONS", 80)


def learned(environment, *options, generations=2, **named):
    """An experiment with little to compute that says nothing else."""
    about = {"network": [4], "seed": 1, "device": "cpu", "update_ratio": 0.05, "population": 3} | named
    if "PPO" in options:
        about |= {"update_ratio": None, "buffer": 16}
    exp = ev.Experiment(environment, *options, **about)
    exp.run(generations=generations)
    assert exp.generation == generations
    assert all(np.isfinite(one.fitness) for g in exp.history for one in g.evaluations)
    return exp


@pytest.mark.parametrize(
    ("environment", "algorithm", "options"),
    [
        (Toy, "TD3", {}),
        (Toy, "DDPG", {}),
        (Toy, "SAC", {}),
        (Choosing, "DQN", {}),
        (Several, None, {}),
        (Choosing, "PPO", {}),
        (Toy, "PPO", {}),
        (Toy, "TD3", {"population": 1}),
        (Choosing, "PPO", {"population": 1}),
        (Toy, "TD3", {"buffer": ev.ReplayBuffer(200, shared=False)}),
        (Toy, "TD3", {"population": 8, "network": [4]}),
        (Toy, "TD3", {"vectorization": "async", "population": 2, "num_envs": 1}),
        (Seen, None, {"population": None, "network": None}),
    ],
    ids=["TD3", "DDPG", "SAC", "DQN", "MultiDiscrete", "PPO", "PPO Box", "one", "one PPO", "pools", "wide", "async",
         "image"],
)  # fmt: skip
@pytest.mark.usefixtures("short")
def test_everything_learns_as_it_comes(environment, algorithm, options):
    exp = learned(environment, *([algorithm] if algorithm else []), **options)
    assert exp.evaluation_steps <= 0.5 * (exp.total_steps + exp.evaluation_steps)
    assert np.isfinite(exp.best.fitness)
    if environment is Seen:
        assert (len(exp.population), exp.config["num_envs"]) == (defaults.FEW, defaults.EACH)
    exp.close()


@pytest.mark.usefixtures("short")
def test_faults_break_episodes_off_and_nothing_else():
    exp = learned(Failing)
    faults = [fault for generation in exp.history for fault in generation.faults]
    assert {fault.kind for fault in faults} != set()
    assert not any(fault.kind == "diverged" for fault in faults)
    assert max(one.fitness for generation in exp.history for one in generation.evaluations) <= 10.0, (
        "of one episode"
    )
    exp.close()


@pytest.mark.usefixtures("short")
def test_an_agent_that_diverged_wins_nothing():
    exp = learned(Toy)
    victim = exp.population.ids[1]
    exp.population.table["actor"][1] = float("nan")
    generation = exp.step()
    assert np.isnan(generation.evaluations[-1].fitness)
    assert generation.evaluations[-1].agent == victim
    assert ("diverged", victim) in {(fault.kind, fault.agent) for fault in generation.faults}
    exp.close()


class Endless(Toy):
    length = None


@pytest.mark.usefixtures("short")
def test_episodes_that_never_end_end_no_run():
    exp = learned(Endless, generations=3, num_envs=1)
    taken = np.diff([0, *(g.total_steps for g in exp.history)]).tolist()
    assert taken[1:] == [3 * 54, 3 * 108], "27 steps of each, and twice as many each time"
    assert exp.evaluation_steps == 0, "an episode of ten thousand steps was never affordable"
    assert exp.elite.id in {one.agent for g in exp.history for one in g.evaluations}, (
        "the best of them is proposed"
    )
    exp.close()


def test_the_environment_is_made_once_for_its_spaces_where_anything_follows_from_them():
    made = []

    def make():
        made.append(gymnasium.make("CartPole-v1"))
        return made[-1]

    ev.Experiment(make, "DQN", population=2, num_envs=1, update_ratio=1.0, network=[4]).close()
    alone = len(made)
    ev.Experiment(make, population=2, num_envs=1, update_ratio=1.0, network=[4]).close()
    assert len(made) - alone == alone + 1


@pytest.mark.parametrize(
    ("algorithm", "space", "named", "expected"),
    [
        ("DQN", FLAT, False, ("observations", "returns")),
        ("SAC", MIXED, False, ("observations", "returns")),
        ("DQN", FLAT, True, ()),
        ("DQN", IMAGE, False, ()),
        ("DQN", spaces.Discrete(5), False, ()),
        (
            "DQN",
            spaces.Tuple([spaces.Discrete(2), spaces.Dict({"a": FLAT})]),
            False,
            ("observations", "returns"),
        ),
        ("PPO", FLAT, False, ()),
        ("CQN", FLAT, False, ()),
        ("DQN", None, False, ()),
    ],
)
def test_vectors_come_on_one_scale_where_the_algorithm_is_chosen_as_well(algorithm, space, named, expected):
    assert defaults.normalise_for(algorithm_named(algorithm), space, named) == expected


@pytest.mark.parametrize(
    ("options", "value", "evolves"),
    [
        ({}, 3, True),
        ({"hyperparameters": {"discount": 0.9}}, 3, True),
        ({"hyperparameters": {"n_step": 1}}, 1, False),  # what was said counts
        ({"search_space": {"n_step": ev.Integer(1, 2)}}, 1, True),
        ({"search_space": {"lr": ev.Float(1e-4, 1e-3)}}, 1, False),
        ({"algorithm": "DQN"}, 1, False),  # the published one
        ({"algorithm": "PPO"}, None, False),
        ({"data": recorded()}, 1, False),
    ],
)
def test_returns_look_ahead_where_nobody_says_what_learns_or_what_evolves(options, value, evolves):
    config = ExperimentConfig(**({"environment": "CartPole-v1"} | options))
    assert config.hyperparameters.get("n_step") == value
    assert ("n_step" in config.search_space) == evolves


def test_what_is_normalised_is_said_in_the_configuration_and_can_be_said_otherwise():
    found = {
        name: ev.Experiment("MountainCar-v0", **options).config["normalise"]
        for name, options in (("none", {}), ("named", {"algorithm": "DQN"}), ("off", {"normalise": False}))
    }
    assert found == {"none": ["observations", "returns"], "named": [], "off": []}
