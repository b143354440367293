"""The four laws of a population as a table, in float64, against plain PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evolab.algorithms.ddpg import DDPG
from evolab.algorithms.dqn import DQN
from evolab.algorithms.qr_dqn import QRDQN
from evolab.algorithms.sac import SAC
from evolab.algorithms.td3 import TD3
from evolab.algorithms.tqc import TQC
from evolab.core.experience import DRAWN, Batch
from evolab.data.buffers.base import Buffer
from evolab.evolution.evolve import evolve
from evolab.evolution.mutation.mutations import Mutations
from evolab.evolution.selection.base import Selected, Selection
from tests import plain
from tests.mixed import compare, experience, mixed, modules_of, own, padding, singles

UPDATES = 50
DISTRIBUTIONS = [QRDQN(quantiles=3, huber=0.4), TQC(quantiles=4, critics=3)]
LENGTH = 16  # the longest batch size is 16, the shortest 6


def noise_of(algorithm, seed):
    """The noise of one update of all agents, None where an algorithm takes none."""
    soft = (8, LENGTH, 2, 2)
    shape = {"TD3": (8, LENGTH, 2), "SAC": soft, "TQC": soft}.get(algorithm.name)
    if shape is None:
        return None
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_update(algorithm, agent, one, noise):
    """The same update of a plain agent; its critic's loss and that loss's name."""
    if algorithm.name == "DQN":
        return plain.dqn(agent, one, algorithm.double), "q"
    if algorithm.name == "QRDQN":
        return plain.qrdqn(agent, one, algorithm.double, algorithm.quantiles, algorithm.huber), "q"
    if algorithm.name == "TQC":
        return plain.tqc(agent, one, noise, algorithm.huber), "critic"
    if algorithm.name == "DDPG":
        return plain.ddpg(agent, one), "critic"
    return getattr(plain, algorithm.name.lower())(agent, one, noise), "critic"


def teach(algorithm, updates=UPDATES, layer_norm=False):
    """A mixed population after so many updates, and eight plain agents after the same ones."""
    population = mixed(algorithm, layer_norm=layer_norm)
    agents = singles(population)
    for update in range(updates):
        batch = experience(8, LENGTH, seed=update, discrete="DQN" in algorithm.name)
        noise = noise_of(algorithm, update)
        losses = population.learn(batch, noise=noise)
        for row, agent in enumerate(agents):
            size = agent.settings["batch_size"]
            own_noise = None if noise is None else noise[row, :size]
            loss, name = plain_update(algorithm, agent, own(batch, row, size), own_noise)
            assert abs(float(losses[name][row]) - loss) < 1e-9
    return population, agents


@pytest.mark.parametrize("layer_norm", [False, True], ids=["bare", "layer_norm"])
@pytest.mark.parametrize(
    "algorithm", [DQN(), DQN(double=False), DDPG(), TD3(), SAC(), *DISTRIBUTIONS], ids=repr
)
def test_one_of_many_learns_as_if_alone(algorithm, layer_norm):
    population, agents = teach(algorithm, updates=10 if layer_norm else UPDATES, layer_norm=layer_norm)
    assert len(population.groups) > 1, "the population must be cut into groups for this test to mean much"
    compare(population, agents)


@pytest.mark.parametrize("layer_norm", [False, True], ids=["bare", "layer_norm"])
@pytest.mark.parametrize("algorithm", [DQN(), DDPG(), TD3(), SAC(), *DISTRIBUTIONS], ids=repr)
def test_sleeping_units_never_move(algorithm, layer_norm):
    population, _ = teach(algorithm, updates=8, layer_norm=layer_norm)
    sleeping = padding(population)
    assert sum(int(mask.sum()) for mask in sleeping.values()) > 0
    for name, mask in sleeping.items():
        assert torch.equal(population.table[name][mask], torch.zeros(int(mask.sum()), dtype=torch.float64)), (
            name
        )


@pytest.mark.parametrize("algorithm", [DQN(), DDPG(), TD3(), SAC(), *DISTRIBUTIONS], ids=repr)
def test_an_agent_that_learns_alone_learns_as_one_of_many(algorithm):
    population = mixed(algorithm)
    agents = singles(population)
    for update in range(6):
        batch = experience(8, LENGTH, seed=update, discrete="DQN" in algorithm.name)
        noise = noise_of(algorithm, update)
        for row, agent in enumerate(agents):
            size = agent.settings["batch_size"]
            mine = type(batch)(**{name: value[row] for name, value in vars(batch).items()})
            population[row].learn(mine, noise=None if noise is None else noise[row])
            own_noise = None if noise is None else noise[row, :size]
            plain_update(algorithm, agent, own(batch, row, size), own_noise)
    compare(population, agents)
    for name, mask in padding(population).items():
        assert not population.table[name][mask].any(), f"padding of {name} moved"


class Feed(Buffer):
    """A buffer that hands every agent a batch of its own, keyed by how many it has had."""

    def __init__(self, discrete):
        self.discrete, self.taken = discrete, [0] * 8

    def __len__(self):
        return 1000

    def add(self, transition):
        raise NotImplementedError

    def batches(self, rows, size, updates, generator):
        for _ in range(updates):
            parts = [self.batch(row, self.taken[row], size) for row in range(8)[rows]]
            for row in range(8)[rows]:
                self.taken[row] += 1
            yield Batch(**{name: torch.stack([getattr(part, name) for part in parts]) for name in DRAWN})

    def batch(self, row, turn, size):
        whole = experience(1, LENGTH, seed=1000 * row + turn, discrete=self.discrete)
        return type(whole)(**{name: value[0, :size] for name, value in vars(whole).items()})


@pytest.mark.parametrize("algorithm", [DQN(), DDPG()], ids=repr)
def test_every_agent_updates_once_per_learn_step_of_its_own_steps(algorithm):
    population = mixed(algorithm)
    agents, feed = singles(population), Feed(algorithm.name == "DQN")
    observation = torch.zeros(8, 2, 5, dtype=torch.float64)
    population.learn(feed, updates=0)
    for _ in range(9):
        population.act(observation)
        population.learn(feed)
    for row, agent in enumerate(agents):
        expected = 18 // agent.settings["learn_step"]
        assert feed.taken[row] == population.individuals[row].updates == expected
        for turn in range(expected):
            size = agent.settings["batch_size"]
            one = feed.batch(row, turn, size)
            one = own(type(one)(**{name: value[None] for name, value in vars(one).items()}), 0, size)
            plain.dqn(agent, one, True) if algorithm.name == "DQN" else plain.ddpg(agent, one)
    compare(population, agents)


class Scripted(Selection):
    """Every slot's parent is given."""

    parents: tuple[int, ...] = ()

    def choose(self, fitness, generator, generation):
        return Selected(tuple(self.parents), None, frozenset())


def scripted(*parents):
    selection = Scripted()
    object.__setattr__(selection, "parents", parents)
    return selection


@pytest.mark.parametrize("algorithm", [DQN(), DDPG(), TD3(), SAC(), *DISTRIBUTIONS], ids=repr)
def test_a_gather_moves_every_row(algorithm):
    population = mixed(algorithm)
    ids = population.ids
    for row, id in enumerate(ids):
        individual = population.individual(row)
        for kind, (_, state) in enumerate(sorted(individual.tensors.items())):
            for tensor in state.values():
                tensor.fill_(100.0 * (kind + 1) + id)
        for name in population.roles:
            population.table[f"{name}.count"][row] = 1000.0 + id
        known = population.individuals[row]
        population.table.hyper["steps"][row] = known.steps = 2000 + id
        known.updates, known.fitness = 3000 + id, [float(id)]
    genes = {individual.id: individual.genes for individual in population.individuals}
    values = {individual.id: dict(individual.hyperparameters) for individual in population.individuals}
    rows = [3, 3, 0, 7, 5, 5, 5, 1]

    births = evolve(
        population,
        np.arange(8.0),
        scripted(*rows),
        Mutations(none=1, architecture=0, parameters=0, activation=0, hyperparameters=0),
    )

    assert sorted(birth.parent for birth in births) == sorted(ids[row] for row in rows)
    assert len(set(population.ids)) == 8
    assert not set(population.ids) & set(ids)
    for row, (birth, individual) in enumerate(zip(births, population.individuals, strict=True)):
        source = birth.parent
        assert (individual.id, individual.parent) == (birth.agent, source)
        assert individual.genes == genes[source]
        assert individual.hyperparameters == values[source]
        assert individual.fitness == [], "a clone must not inherit its parent's history"
        assert (individual.steps, individual.updates) == (2000 + source, 3000 + source)
        assert float(population.table["steps"][row]) == 2000 + source
        for name, value in values[source].items():
            assert float(population.table[name][row]) == pytest.approx(value, abs=1e-12)
            assert (
                float(population.table.group_of(row).hyper[name][row - population.table.group_of(row).start])
                == value
            )
        for name in population.roles:
            assert float(population.table[f"{name}.count"][row]) == 1000 + source
        moved = population.individual(row)
        for kind, (key, state) in enumerate(sorted(moved.tensors.items())):
            for name, tensor in state.items():
                assert (tensor == 100.0 * (kind + 1) + source).all(), f"{key} {name} of row {row}"
        moved.tensors = {}
    for name, mask in padding(population).items():
        assert not population.table[name][mask].any(), f"padding of {name} is not zero"


@pytest.mark.parametrize("layer_norm", [False, True], ids=["bare", "layer_norm"])
@pytest.mark.parametrize("algorithm", [DQN(), DDPG(), TD3(), SAC(), *DISTRIBUTIONS], ids=repr)
def test_an_exported_agent_answers_as_its_row(algorithm, layer_norm):
    population, _ = teach(algorithm, updates=3, layer_norm=layer_norm)
    observation = torch.randn(8, 32, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together = population.act(observation, explore=False)
    for row in range(8):
        agent = population[row]
        alone, taken = agent.act(observation[row]), agent.copy()
        assert torch.allclose(alone.double(), together[row].double(), atol=1e-12)
        assert torch.allclose(taken.act(observation[row]).double(), together[row].double(), atol=1e-12)
        out = agent.module()(observation[row])
        if "DQN" in algorithm.name:
            values = modules_of(population, row)["q"](observation[row]).unflatten(-1, (3, -1)).mean(-1)
            assert torch.equal(out.argmax(-1), together[row])
            assert torch.allclose(out, values, atol=1e-12)
        else:
            assert torch.allclose(out, together[row], atol=1e-12)


def test_an_exported_agent_is_a_plain_unpadded_module_that_nothing_else_changes():
    population = mixed(TD3())
    row = next(r for r in range(8) if population.individuals[r].genes.hidden == (8,))
    module, taken = population[row].module(), population[row].copy()
    shapes = [tuple(p.shape) for p in module.parameters()]
    assert shapes == [(8, 5), (8,), (2, 8), (2,)]
    observation = torch.randn(3, 5, dtype=torch.float64)
    before = module(observation).detach().clone()
    population.learn(experience(8, LENGTH, 0, discrete=False))
    population.learn(experience(8, LENGTH, 1, discrete=False))
    assert torch.equal(module(observation), before)
    assert torch.allclose(taken.act(observation), before, atol=1e-12)
    taken.learn(
        type(experience(1, 1, 0, False))(**{k: v[0] for k, v in vars(experience(1, 16, 0, False)).items()})
    )
    assert torch.equal(module(observation), before)
