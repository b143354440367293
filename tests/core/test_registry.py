"""One table of names: a part is named, made, saved and loaded by its line there, or by an entry point alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from gymnasium import spaces

import evolab as ev
from evolab.algorithms.base import Algorithm
from evolab.core import registry

ROOT = Path(__file__).parents[2]

PACKAGE = '''
from dataclasses import dataclass
import evolab as ev
from evolab.evaluation.fqe.fqe import FQE
from evolab.evolution.selection.base import Selected, Selection, ranking
from evolab.envs.language.random_walks import RandomWalks
from evolab.reporting.trackers.csv import CSV


@dataclass(frozen=True)
class Lottery(Selection):
    """The parent of every child is drawn by lot."""

    luck: float = 0.5

    def choose(self, fitness, generator, generation):
        return ev.Tournament(size=1).choose(fitness, generator, generation)


@dataclass(frozen=True)
class SlowDQN(ev.DQN):
    """DQN under a name of its own."""

    name = "SlowDQN"


@dataclass(frozen=True, init=False)
class Narrow(ev.MLP):
    """A perceptron under a name of its own."""


@dataclass(frozen=True)
class Gentle(ev.Mutations):
    """Mutations under a name of their own."""


@dataclass
class Cautious(FQE):
    """An estimate under a name of its own."""


class Hoard(ev.ReplayBuffer):
    """Experience under a name of its own."""


class Strolls(RandomWalks):
    """Walks under a name of their own."""


class Notes(CSV):
    """Rows under a name of their own."""


class Count(ev.panels.Panel):
    """Generations so far."""

    def data(self, snapshot):
        return {"form": "text", "text": str(len(snapshot.generations))}


def halve(individual, context, generator):
    """Halve the learning rate."""
    individual.hyperparameters = individual.hyperparameters | {"lr": individual.hyperparameters["lr"] / 2}
    return "lr halved"
'''
PARTS = {
    "selection": "Lottery",
    "algorithm": "SlowDQN",
    "network": "Narrow",
    "mutations": "Gentle",
    "fitness": "Cautious",
    "environment": "Strolls",
    "buffer": "Hoard",
    "tracker": "Notes",
    "mutation": "halve",
    "panel": "Count",
}
PROGRAM = """
import sys, warnings
import evolab as ev
from evolab.core import registry

for kind, name in {parts!r}.items():
    assert name in registry.names(kind), kind
    assert registry.part(kind, name.lower()).__name__ == name, kind

from evolab.__main__ import main

assert main(["parts"]) == 0
exp = ev.Experiment(
    "CartPole-v1", "slowdqn", population=2, num_envs=1, network=registry.part("network", "Narrow")([8]),
    selection="Lottery", buffer="hoard", mutations=registry.part("mutations", "Gentle")(
        none=0.0, architecture=0.0, parameters=0.0, activation=0.0, hyperparameters=0.0, extra={{"halve": 1.0}}
    ), steps_per_generation=40,
    hyperparameters={{"batch_size": 8}}, search_space={{}}, eval_steps=20, seed=1, device="cpu",
    trackers=["notes"], folder=sys.argv[1],
)
exp.fill(40)
exp.step()
exp.save()
exp.close()
again = ev.Experiment.load(sys.argv[1])
assert type(again.selection).__name__ == "Lottery" and again.selection.luck == 0.5
assert type(again.algorithm).__name__ == "SlowDQN"
assert type(again.buffer).__name__ == "Hoard" and len(again.buffer) == len(exp.buffer) > 40
assert type(again.mutations).__name__ == "Gentle" and again.mutations.extra == {{"halve": 1.0}}
assert "halve" in set(exp.history.mutations["kind"])
assert type(again.population.network).__name__ == "Narrow"
again.step()
assert again.config["trackers"] == ["notes"]
rows = open(sys.argv[1] + "/tracked.csv").read().splitlines()
assert len(rows) == 5, rows  # a head, two agents, two generations
from evolab.reporting.dashboard.feed import Feed

assert type(Feed(again, ["count"]).panels[0]).__name__ == "Count"
print(again.generation)
"""


def test_a_part_of_each_kind_from_another_package_is_named_saved_and_loaded_by_its_entry_point_alone(
    tmp_path,
):
    site = tmp_path / "site"
    (site / "foreign_parts-1.0.dist-info").mkdir(parents=True)
    (site / "foreign_parts.py").write_text(PACKAGE)
    (site / "foreign_parts-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: foreign-parts\nVersion: 1.0\n"
    )
    lines = [f"[evolab.{kind}]\n{name} = foreign_parts:{name}\n" for kind, name in PARTS.items()]
    (site / "foreign_parts-1.0.dist-info" / "entry_points.txt").write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(parts=PARTS), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            "PYTHONPATH": f"{ROOT}:{site}",
            "PATH": "/usr/bin:/bin",
            "OMP_NUM_THREADS": "1",
            "HOME": str(tmp_path),
        },
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *listed, last = done.stdout.splitlines()
    assert last == "2"
    assert {(kind, name) for kind, name in PARTS.items()} <= {tuple(line.split()[:2]) for line in listed}
    assert "buffer      Hoard          Experience under a name of its own." in listed


@pytest.mark.parametrize("kind", registry.PARTS)
def test_every_line_of_the_table_leads_to_a_class_of_that_name(kind):
    for name in registry.PARTS[kind]:
        assert registry.part(kind, name).__name__ == name
        assert getattr(ev, name, registry.part(kind, name)) is registry.part(kind, name)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown selection 'Turnament'. .*did you mean 'Tournament'\?"):
        registry.part("selection", "Turnament")


def test_what_is_no_part_is_refused_with_an_example():
    with pytest.raises(
        TypeError, match=r"algorithm is 3; a name such as 'DQN' or an object, ev.DQN\(...\), is expected."
    ):
        registry.resolve("algorithm", 3, Algorithm)


def test_a_kind_without_parts_of_evolab_s_own_names_the_base_class():
    with pytest.raises(TypeError, match=r"panel is 3; a Panel or the name of an installed one is expected\."):
        registry.resolve("panel", 3, ev.panels.Panel)
    with pytest.raises(ValueError, match="Unknown panel 'Temperature'"):
        registry.resolve("panel", "Temperature", ev.panels.Panel)


def test_an_object_of_the_user_s_own_has_no_name_in_the_table():
    class DQN(ev.DQN):
        pass

    assert registry.name_of(ev.DQN()) == "DQN"
    assert registry.name_of(DQN()) is None


def test_a_network_is_named_as_the_other_parts_are():
    population = ev.Population("DQN", spaces.Box(-1, 1, (3,)), spaces.Discrete(2), 2, network="mlp", seed=0)
    assert type(population.network) is ev.MLP
    with pytest.raises(ValueError, match=r"Unknown network 'MPL'. .*did you mean 'MLP'\?"):
        ev.Population("DQN", spaces.Box(-1, 1, (3,)), spaces.Discrete(2), 2, network="MPL")
    with pytest.raises(
        TypeError, match=r"network is 3; ev.MLP\(\[64, 64\]\), another network, its name or widths are"
    ):
        ev.Population("DQN", spaces.Box(-1, 1, (3,)), spaces.Discrete(2), 2, network=3)


def test_a_buffer_of_the_user_s_own_is_asked_for_when_its_run_is_loaded(tmp_path):
    """It came back as a ReplayBuffer, and nothing said so."""

    class Own(ev.ReplayBuffer):
        pass

    exp = ev.Experiment("CartPole-v1", "DQN", population=1, num_envs=1, network=[4], buffer=Own(100), seed=1)
    exp.fill(20)
    exp.save(tmp_path / "run")
    with pytest.raises(ValueError, match=r"its own buffer \(Own\)"):
        ev.Experiment.load(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", buffer=Own(100))
    assert (type(again.buffer), len(again.buffer)) == (Own, 20)
    exp.close()
    again.close()
