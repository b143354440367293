"""What is set by hand between two generations, and what refuses to be set."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
import yaml

import evolab as ev
from tests.experiment.toy_runs import same, toy
from tests.toys import Toy


@pytest.fixture
def exp():
    experiment = toy()
    experiment.fill(60)
    yield experiment
    experiment.close()


def by_hand(history):
    table = history.mutations
    return table[table["kind"] == "by hand"].to_dict("records")


def test_a_value_of_one_agent_is_set_and_the_history_has_it_as_a_mutation_by_hand(exp):
    first = exp.step()
    agent = exp.population.ids[1]
    before = {one.id: dict(one.hyperparameters) for one in exp.population}
    weights = {one.id: one.copy().table["actor"] for one in exp.population}
    exp.set(agent, lr_actor=2e-4, batch_size=8)
    assert exp.population[exp.population.row(agent)].hyperparameters == before[agent] | {
        "lr_actor": 2e-4,
        "batch_size": 8,
    }
    for one in exp.population:
        assert (one.copy().table["actor"] == weights[one.id]).all()
        assert float(exp.population.table.hyper["lr_actor"][one.row]) == pytest.approx(
            one.hyperparameters["lr_actor"]
        )
        if one.id != agent:
            assert one.hyperparameters == before[one.id]
    assert by_hand(exp.history) == []
    second = exp.step()
    old = before[agent]
    assert second.changes == {
        "agents": {str(agent): {"lr_actor": [old["lr_actor"], 2e-4], "batch_size": [old["batch_size"], 8]}}
    }
    (row,) = by_hand(exp.history)
    fitness = {e.agent: e.fitness for e in first.evaluations}
    later = {e.agent: e for e in second.evaluations}
    assert row["detail"] == f"lr_actor {old['lr_actor']:.4g} -> 0.0002, batch_size {old['batch_size']} -> 8"
    assert (row["generation"], row["agent"], row["parent"]) == (1, agent, agent)
    assert row["fitness_before"] == pytest.approx(fitness.get(agent, float("nan")), nan_ok=True)
    assert row["fitness_after"] == later[agent].fitness
    assert later[agent].hyperparameters["lr_actor"] == 2e-4
    assert f"lr_actor {old['lr_actor']:.4g} -> 0.0002" in exp.history.lineage(agent).iloc[-1]["detail"]
    assert f"of agent {agent}" in repr(second)
    assert exp.step().changes == {}


def test_what_was_set_by_hand_is_saved_and_resumed(exp, tmp_path):
    exp.set(0, lr_actor=2e-4)  # before the first generation
    exp.step()
    exp.set(exp.population[0], discount=0.5)
    exp.set(exp.population[0].id, discount=0.6)
    exp.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", environment=Toy)
    exp.step()
    again.step()
    same(again, exp)
    assert [row["detail"].split()[0] for row in by_hand(again.history)] == ["lr_actor", "discount"]
    assert by_hand(again.history)[1]["detail"].endswith("-> 0.6")
    exp.save(tmp_path / "run")
    assert ev.Experiment.load(tmp_path / "run", environment=Toy).history == exp.history


def test_a_run_that_rests_midway_is_saved_with_what_was_set_before_it(exp, tmp_path):
    exp.step()
    exp.save(tmp_path / "earlier")
    exp.set(exp.population[0], discount=0.5)
    agent = exp.population.ids[0]
    exp.steps_per_generation = 10**7
    exp.start()
    while exp.progress is None or exp.progress.generation < 2:
        pass
    exp.pause()
    exp.wait()
    with pytest.raises(RuntimeError, match="generation 2 is under way, and agents can be set between two"):
        exp.set(agent, discount=0.7)
    with pytest.warns(UserWarning, match="generation 2 is under way"):
        exp.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", environment=Toy)
    assert again.population[again.population.row(agent)].hyperparameters["discount"] == 0.5


def test_setting_waits_for_the_end_of_the_generation_of_a_background_thread(exp):
    exp.evolving = False
    exp.start()
    exp.set(0, discount=0.5)
    assert exp.population[exp.population.row(0)].hyperparameters["discount"] == 0.5
    exp.pause()
    exp.wait()


@pytest.mark.parametrize(
    ("agent", "values", "error", "message"),
    [
        (0, {"lr_actr": 1e-3}, ValueError, r"Unknown hyperparameter.*did you mean 'lr_actor'\?"),
        (0, {"gamma": 0.9}, ValueError, "evolab calls it discount"),
        (0, {"discount": 2.0}, ValueError, "discount is 2.0; its range is"),
        (0, {"discount": "0.9"}, TypeError, "discount is '0.9'"),
        (0, {"discount": float("nan")}, ValueError, "discount is nan"),
        (0, {"batch_size": 200_000}, ValueError, "batch_size is 200000; the buffer holds 100000"),
        (0, {}, ValueError, "nothing to set"),
        (77, {"discount": 0.9}, LookupError, r"agent 77 has died; alive are \[0, 1, 2\]"),
        ("best", {"discount": 0.9}, TypeError, "agent is 'best'"),
    ],
)
def test_what_cannot_be_set_of_an_agent_is_said_and_changes_nothing(exp, agent, values, error, message):
    before = [dict(one.hyperparameters) for one in exp.population]
    with pytest.raises(error, match=message):
        exp.set(agent, **values)
    assert [dict(one.hyperparameters) for one in exp.population] == before
    assert exp.step().changes == {}


def test_experience_of_its_own_follows_an_agent_that_is_set():
    """Rows are sorted by batch size, so that an agent may move."""
    exp = toy(buffer=ev.ReplayBuffer(100, shared=False), search_space={})
    exp.fill(60)
    held = [{one.id: exp.buffer.length[one.row] for one in exp.population}]
    exp.buffer.length[:] = [5, 6, 7]
    held = {one.id: int(exp.buffer.length[one.row]) for one in exp.population}
    for id in list(held):
        exp.set(id, batch_size=8)
        assert {one.id: int(exp.buffer.length[one.row]) for one in exp.population} == held


CHANGING = {
    "item": lambda d: d.__setitem__("target", 1),
    "del": lambda d: d.__delitem__(next(iter(d))),
    "update": lambda d: d.update({"target": 1}),
    "keywords": lambda d: d.update(target=1),
    "pop": lambda d: d.pop(next(iter(d))),
    "popitem": lambda d: d.popitem(),
    "setdefault": lambda d: d.setdefault("target", 1),
    "clear": lambda d: d.clear(),
    "or": lambda d: d.__ior__({"target": 1}),
}
VIEWS = {
    "best": (lambda e: e.best.hyperparameters, r"exp\.set\(agent, name=value\)"),
    "agent": (lambda e: e.population[1].hyperparameters, r"exp\.set\(agent, name=value\)"),
    "config": (lambda e: e.config, r"exp\.target = 200\.0 .*from_config\(exp\.config \|"),
    "nested": (lambda e: e.config["hyperparameters"], r"from_config\(exp\.config \|"),
    "ranges": (lambda e: e.search_space, r"exp\.search_space = exp\.search_space \|"),
    "population": (lambda e: e.population.search_space, r"exp\.search_space = exp\.search_space \|"),
}


@pytest.mark.parametrize("change", CHANGING)
@pytest.mark.parametrize("view", VIEWS)
def test_views_refuse_every_change_and_say_what_to_call(exp, view, change):
    exp.step()
    read, advice = VIEWS[view]
    before = copy.deepcopy(read(exp))
    with pytest.raises(TypeError, match=rf"can be read only.*{advice}"):
        CHANGING[change](read(exp))
    assert read(exp) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.append(3), lambda x: x.extend([3]), lambda x: x.insert(0, 3), lambda x: x.pop(),
        lambda x: x.remove(8), lambda x: x.clear(), lambda x: x.sort(), lambda x: x.reverse(),
        lambda x: x.__setitem__(0, 3), lambda x: x.__delitem__(0), lambda x: x.__iadd__([3]), lambda x: x.__imul__(2),
    ],
)  # fmt: skip
def test_lists_within_a_configuration_refuse_every_change(exp, change):
    """`exp.config["network"]["hidden"].append(64)` was taken, and did nothing."""
    config = exp.config
    with pytest.raises(TypeError, match=r"can be read only.*from_config\(exp\.config \|"):
        change(config["network"]["hidden"])
    assert config["network"]["hidden"] == [8]
    assert type(copy.deepcopy(config)["network"]["hidden"]) is list
    assert config["network"]["hidden"] + [4] == [8, 4]


def test_parts_refuse_to_be_set_and_say_what_to_make_instead(exp):
    for part, name, value, message in (
        (
            exp.algorithm,
            "ou_noise",
            True,
            r"TD3 can be read only: ou_noise.*replace\(exp\.algorithm, ou_noise=True\)",
        ),
        (exp.algorithm, "ou_nose", True, r"Unknown option of TD3 'ou_nose'.*did you mean 'ou_noise'\?"),
        (exp.population.network, "hidden", (4,), r"MLP can be read only.*network=ev\.MLP\(hidden=\(4,\)\)"),
        (
            exp.buffer,
            "capacity",
            5,
            r"capacity of a ReplayBuffer stays what it is.*buffer=ev\.ReplayBuffer\(capacity=5\)",
        ),
        (
            ev.RolloutBuffer(4),
            "horizon",
            5,
            r"horizon of a RolloutBuffer stays.*buffer=ev\.RolloutBuffer\(horizon=5\)",
        ),
        (
            exp.buffer,
            "shared",
            False,
            r"shared of a ReplayBuffer stays.*buffer=ev\.ReplayBuffer\(shared=False\)",
        ),
        (exp.population, "network", 3, "a population can be read only: network is not set"),
        (exp.population[0], "id", 99, "an agent can be read only: id is not set"),
        (ev.Narrowing(), "size", 5, r"exp\.selection = dataclasses\.replace\(exp\.selection, size=5\)"),
        (exp, "lr_actor", 0.1, r"lr_actor is each agent's own: exp\.set\(agent, lr_actor=0\.1\)"),
        (exp, "learning_rate", 0.1, r"In evolab that is hyperparameters=\{'lr'"),
    ):
        with pytest.raises(AttributeError, match=message):  # FrozenInstanceError is one
            setattr(part, name, value)
    assert (exp.algorithm.ou_noise, exp.population.network.hidden) == (False, (8,))


def test_an_algorithms_table_of_hyperparameters_refuses_every_change(exp):
    """`exp.algorithm.hyperparameters["lr"] = 3` was taken, and broke every experiment of the process from then on."""
    for kind in (exp.algorithm, ev.SAC, ev.ILQL):
        with pytest.raises(TypeError, match=r"hyperparameters of \w+ can be read only, 'batch_size' too"):
            kind.hyperparameters["batch_size"] = 3
    assert {**ev.TD3.hyperparameters} == ev.TD3.hyperparameters


def test_views_are_read_copied_and_written_as_any_dict(exp):
    config = exp.config
    own = copy.deepcopy(config)
    own["hyperparameters"]["batch_size"] = 8
    assert config["hyperparameters"]["batch_size"] == 16
    assert type(config | {"seed": 3}) is dict
    for text in (yaml.safe_dump(config), yaml.dump(config), yaml.dump(config, Dumper=yaml.CSafeDumper)):
        assert yaml.safe_load(text) == config
    assert json.loads(json.dumps(config)) == config
    assert yaml.safe_load(yaml.safe_dump(dict(exp.population[0].hyperparameters)))


@pytest.mark.parametrize(
    ("read", "name", "value", "message"),
    [
        (
            "mutations",
            "architecture",
            0,
            r"exp\.mutations = dataclasses\.replace\(exp\.mutations, architecture=0\)",
        ),
        (
            "mutations",
            "architektur",
            0,
            r"Unknown option of Mutations 'architektur'.*did you mean 'architecture'\?",
        ),
        ("selection", "size", 3, r"exp\.selection = dataclasses\.replace\(exp\.selection, size=3\)"),
        ("selection", "sise", 3, r"Unknown option of Tournament 'sise'.*did you mean 'size'\?"),
    ],
)
def test_options_refuse_to_be_set_and_say_how_a_copy_is_changed(exp, read, name, value, message):
    before = getattr(exp, read)
    with pytest.raises(dataclasses.FrozenInstanceError, match=message):
        setattr(getattr(exp, read), name, value)
    assert getattr(exp, read) == before


def test_ranges_and_further_mutations_refuse_too(exp):
    with pytest.raises(
        dataclasses.FrozenInstanceError, match=r"Integer can be read only: high.*exp\.search_space ="
    ):
        exp.search_space["batch_size"].high = 64
    with pytest.raises(TypeError, match=r"further mutations can be read only.*exp\.mutations ="):
        exp.mutations.extra["reset_dormant"] = 1.0
    exp.mutations = dataclasses.replace(exp.mutations, architecture=0.0)
    assert exp.mutations.architecture == 0


def test_a_selection_of_the_users_own_keeps_what_it_remembers(exp):
    class Counting(ev.Truncation):
        def __init__(self):
            super().__init__()
            self.calls = 0

    assert Counting().calls == 0


def test_a_population_refuses_what_it_does_not_have(exp):
    with pytest.raises(
        AttributeError, match=r"a population can be read only: lr_actor is not set\. exp\.set"
    ):
        exp.population.lr_actor = 1e-3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e: e.predict, AttributeError, r"In evolab that is exp\.best\.act\(observation\)"),
        (lambda e: e.learn, AttributeError, r"In evolab that is exp\.run\(max_steps="),
        (lambda e: e.train, AttributeError, r"In evolab that is exp\.run\(max_steps="),
        (lambda e: e.population[0].predict, AttributeError, r"'Agent' .*agent\.act\(observation\)"),
        (lambda e: e.population[0].train, AttributeError, r"In evolab that is exp\.run\(max_steps="),
        (lambda e: e.population[0:1], TypeError, r"asked for by its row, 0 to 2, not by slice"),
        (lambda e: e.population["a"], TypeError, r"asked for by its row, 0 to 2, not by 'a'"),
        (
            lambda e: e.population[0].act(np.array([None, 1])),
            ValueError,
            r"observation is an array of object of shape \(2,\)",
        ),
        (
            lambda e: toy(hyperparameters={"learning_rate": 1e-3}),
            ValueError,
            r"calls it lr, or lr_actor and lr_critic",
        ),
        (lambda e: toy(hyperparameters={"n_epochs": 3}), ValueError, r"evolab calls it epochs\."),
        (
            lambda e: toy(search_space={"buffer_size": ev.Integer(1, 2)}),
            ValueError,
            r"calls it buffer, an option",
        ),
        (
            lambda e: toy(device="mps"),
            ValueError,
            r"device is 'mps'; 'auto', 'cpu', 'cuda' or 'meta' is expected",
        ),
    ],
)
def test_what_other_libraries_call_it_is_answered_by_what_it_is_called_here(exp, call, error, message):
    with pytest.raises(error, match=message) as caught:
        call(exp)
    assert "did you mean" not in str(caught.value)
    assert not hasattr(exp, "nothing_of_the_kind")
