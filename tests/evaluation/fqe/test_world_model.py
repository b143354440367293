from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.data.buffers.offline import buffer_from
from evolab.evaluation.fqe.data import EvaluationData
from evolab.evaluation.fqe.fqe import FQE
from evolab.evaluation.fqe.world_model import WorldModel


def walks(episodes: int = 80, length: int = 12) -> dict[str, np.ndarray]:
    """A position that moves by 0.1 to the left or right; it earns itself, and ends from 0.3 on."""
    generator, rows = np.random.default_rng(0), []
    for _ in range(episodes):
        place = generator.uniform(-0.2, 0.0)
        for step in range(length):
            action = int(generator.integers(2))
            after = place + (0.1 if action else -0.1)
            ended = after >= 0.3
            rows.append((place, action, place, ended, step == length - 1 and not ended, after))
            place = after
            if ended:
                break
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return {
        "observations": columns[0].astype(np.float32)[:, None], "actions": columns[1],
        "rewards": columns[2].astype(np.float32), "terminals": columns[3], "timeouts": columns[4],
        "next_observations": columns[5].astype(np.float32)[:, None],
    }  # fmt: skip


def walkers() -> ev.Population:
    """Agent 0 always goes right, agent 1 always left."""
    space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    population = ev.Population("CQN", space, spaces.Discrete(2), 2, network=[1], seed=0)
    for row, bias in enumerate((1.0, -1.0)):
        state = population.individual(row).tensors["q"]
        for tensor in state.values():
            tensor.zero_()
        state["output.bias"][0, 1] = bias
    return population


def finished(generator):
    """What a generator returns."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


@pytest.fixture(scope="module")
def model() -> WorldModel:
    data = EvaluationData(walkers(), buffer_from(walks())[0], 0.9, 0.2, torch.Generator().manual_seed(0))
    made = WorldModel(data, 2, members=3, generator=torch.Generator().manual_seed(1))
    assert max(done / total for done, total in made.fit()) < 1
    return made


def test_a_simple_world_is_learnt_from_recorded_rows(model):
    assert model.explained > 0.99
    assert model.can_end


def test_imagined_episodes_end_where_recorded_ones_do(model):
    """To the right they earn at most 0.2 and are over within five steps; nobody has seen them ended on the left."""
    total, state, alive = finished(model.imagine(walkers(), 6, 1.0, least=-7.0))
    assert alive[0].max() < 0.2
    assert alive[1].min() > 0.8
    place = state * model.data.std + model.data.mean
    begun = model.data.starts[:64, 0]
    assert torch.allclose(place[1, :, :, 0], (begun - 0.6).expand(3, -1), atol=0.03)
    wanted = sum(begun - 0.1 * step for step in range(6))
    assert torch.allclose(total[1], wanted.expand(3, -1), atol=0.15)


def test_beyond_the_recorded_states_an_episode_is_worth_the_least(model):
    total, _, alive = finished(model.imagine(walkers(), 40, 1.0, least=-70.0))
    assert alive[1].max() < 0.01
    assert total[1].max() < -60  # what it earned on the way, and -70 for what nobody knows


def test_only_short_vectors_of_numbers_are_imagined():
    assert WorldModel.serves(spaces.Box(-1, 1, (8,), np.float32))
    for space in (spaces.Box(0, 255, (8,), np.uint8), spaces.Box(-1, 1, (65,)), spaces.Box(-1, 1, (2, 2)),
                  spaces.Discrete(4), spaces.Dict({"a": spaces.Box(-1, 1, (2,))})):  # fmt: skip
        assert not WorldModel.serves(space)


def test_a_world_that_is_not_understood_is_not_believed():
    """Next observations that have nothing to do with those before: critics alone count."""
    data = walks()
    data["next_observations"] = (
        np.random.default_rng(0).normal(size=data["next_observations"].shape).astype("f4")
    )
    fqe = FQE(first=5)
    *_, values = fqe.estimate(walkers(), buffer_from(data)[0], seed=0)
    assert fqe._world is None
    assert np.isfinite(values).all()
