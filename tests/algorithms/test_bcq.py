"""Batch-constrained Q-learning: against torch by hand, and never beyond what the data do."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium import spaces

import evolab as ev
from evolab.algorithms.bcq import BCQ, ConstrainedError
from tests.mixed import DISCRETE, OBSERVATIONS, experience

LINE = spaces.Box(-1, 1, (1,), np.float64)


def known(algorithm=None, **values):
    """One agent whose outputs are its biases: values 1, 2, 3 and logits 0, -1, -3; its target's values 10, 5, 12."""
    population = ev.Population(
        algorithm or BCQ(), LINE, DISCRETE, 1, network=[1], seed=0, dtype=torch.float64, search_space={}, device="cpu",
        hyperparameters={"discount": 0.5, "batch_size": 2, "lr": 0.1, "tau": 0.5, "threshold": 0.3, **values},
    )  # fmt: skip
    state = population.individual(0).tensors
    for kind, biases in (("q", [1.0, 2, 3, 0, -1, -3]), ("q.target", [10.0, 5, 12, -9, -9, -9])):
        state[kind]["output.weight"].zero_()
        state[kind]["output.bias"].copy_(torch.tensor([biases]))
    return population


def one_batch(**fields):
    x = torch.zeros(1, 2, 1, dtype=torch.float64)
    batch = {
        "observation": x, "action": torch.tensor([[0, 2]]), "reward": torch.ones(1, 2, dtype=torch.float64),
        "next_observation": x, "terminated": torch.tensor([[False, True]]), **fields,
    }  # fmt: skip
    return SimpleNamespace(**batch)


@pytest.mark.parametrize(
    ("threshold", "likely", "following"), [(0.0, 2, 12.0), (0.3, 1, 5.0), (1.0, 0, 10.0)]
)
def test_targets_and_actions_by_hand(threshold, likely, following):
    """Chances as shares of the likeliest are 1, 0.37 and 0.05; the target's own logits decide nothing."""
    population = known(threshold=threshold)
    (group,) = population.groups
    seen = torch.zeros(1, 1, 1, dtype=torch.float64)
    assert population.algorithm.act(group, seen).item() == likely
    assert population.algorithm.value(group, seen).item() == likely + 1
    batch = one_batch()
    told = ev.core.experience.Batch(
        **vars(batch) | {"terminated": batch.terminated.double()}, weight=torch.full((1, 2), 0.5)
    )
    assert population.algorithm.target(group, told).tolist() == [[1 + 0.5 * following, 1.0]]


def test_without_double_the_target_itself_chooses_among_what_is_likely():
    population = known(BCQ(double=False))
    (group,) = population.groups
    batch = one_batch(terminated=torch.zeros(1, 2, dtype=torch.float64))
    told = ev.core.experience.Batch(**vars(batch), weight=torch.full((1, 2), 0.5))
    assert population.algorithm.target(group, told).tolist() == [[6.0, 6.0]]  # 10 and 5 are likely, 12 is not


def test_the_loss_by_hand():
    losses = known(BCQ(penalty=0.1, huber=1.5)).learn(one_batch())
    logits = torch.tensor([0.0, -1, -3])
    imitation = -(logits.log_softmax(0)[0] + logits.log_softmax(0)[2]) / 2
    far, near = 1 - (1 + 0.5 * 5), 3 - 1  # both are beyond 1.5
    squared = (1.5 * (2 * abs(far) - 1.5) + 1.5 * (2 * near - 1.5)) / 2 / 2
    assert float(losses["imitation"][0]) == pytest.approx(float(imitation), abs=1e-6)
    expected = squared + float(imitation) + 0.1 * 10 / 3
    assert float(losses["q"][0]) == pytest.approx(expected, abs=1e-6)


def test_the_gradient_is_that_of_the_formula():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    out, weight = 2 * normal(2, 7, 6), torch.rand(2, 7, generator=generator, dtype=torch.float64)
    action = torch.randint(3, (2, 7), generator=generator)
    loss = ConstrainedError(normal(2, 7), weight, action, 0.3, 0.8)
    leaf = out.clone().requires_grad_()
    wanted = loss(leaf)
    losses, slope = loss.gradient(out)
    torch.testing.assert_close(losses, wanted.detach())
    torch.testing.assert_close(slope, torch.autograd.grad(wanted.sum(), leaf)[0])
    logit = out[..., 3:]
    chances = F.cross_entropy(logit.flatten(0, 1), action.flatten(), reduction="none").view(2, 7)
    error = F.huber_loss(out.gather(-1, action[..., None])[..., 0], loss.target, reduction="none", delta=0.8)
    by_torch = (weight * (error + chances + 0.3 * logit.square().mean(-1))).sum(-1)
    torch.testing.assert_close(losses, by_torch)


def test_what_is_unlikely_is_taken_where_all_else_is_forbidden():
    population = known()
    seen = np.zeros((1, 1, 1))
    for mask, action in (([0, 0, 1], 2), ([1, 0, 1], 0), ([0, 1, 1], 1)):
        assert population.act(seen, explore=False, action_mask=np.array([[mask]], bool)).item() == action
    population = known(threshold=1.0)
    population.individual(0).tensors["q"]["output.bias"][0, 3:] = torch.tensor([0.0, -3, -1])
    rest = np.array([[[0, 1, 1]]], bool)
    assert population.act(seen, explore=False, action_mask=rest).item() == 2  # the likelier one of the two


def bandit(count=512):
    """One step: action 0 earns 0, action 1 earns 1, and action 2, which is in one of 64 samples, earns 1 by a mistake."""
    stream = np.random.default_rng(0)
    action = np.where(np.arange(count) % 64 == 0, 2, stream.integers(0, 2, count))
    observation = stream.uniform(-1, 1, (count, 5))
    return SimpleNamespace(
        observation=observation, action=action, reward=np.choose(action, [0.0, 1.0, 3.0]),
        next_observation=observation, terminated=np.ones(count, bool), truncated=np.zeros(count, bool), valid=None,
    )  # fmt: skip


@pytest.mark.parametrize(("threshold", "taken"), [(0.0, 2), (0.3, 1)])
def test_actions_that_the_data_hardly_have_are_not_taken_however_good_they_look(threshold, taken):
    buffer = ev.ReplayBuffer(512)
    buffer.add(bandit())
    population = ev.Population(
        "BCQ", OBSERVATIONS, DISCRETE, 2, network=[24], seed=0, search_space={}, device="cpu",
        hyperparameters={"lr": 5e-3, "threshold": threshold},
    )  # fmt: skip
    population.learn(buffer, updates=400)
    acted = population.act(np.random.default_rng(1).uniform(-1, 1, (2, 200, 5)))
    assert (acted == taken).mean() > 0.9


def test_agents_evolve_go_on_and_are_exported_each_with_its_own_threshold(tmp_path):
    data = ev.collect("CartPole-v1", steps=400, seed=0)
    exp = ev.Experiment(
        "CartPole-v1", "BCQ", data=data, population=3, network=[8], steps_per_generation=20, seed=4, device="cpu",
        hyperparameters={"batch_size": 16}, eval_steps=20, fitness="return", progress=False,
        mutations=ev.Mutations(none=0.0, hyperparameters=1.0, new_layer=0.5),
    )  # fmt: skip
    exp.run(generations=2)
    assert exp.history.hyperparameters["threshold"].nunique() > 1
    exp.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", data=data, progress=False)
    exp.step()
    again.step()
    for name, value in exp.population.table.items():
        assert torch.equal(value, again.population.table[name]), name
    seen = np.stack([exp.population.observation_space.sample() for _ in range(64)])
    for threshold in (0.05, 1.0):
        agent = exp.population[0].copy()
        agent.table.hyper["threshold"].fill_(threshold)
        agent.table.individuals[0].hyperparameters["threshold"] = threshold
        program = torch.export.load(agent.export(tmp_path / f"{threshold}.pt2")).module()
        assert np.array_equal(program(torch.as_tensor(seen)).numpy(), agent.act(seen))
        assert np.array_equal(agent.module()(torch.as_tensor(seen)).argmax(-1), agent.act(seen))


def test_an_update_never_asks_the_device():
    population = ev.Population("BCQ", OBSERVATIONS, DISCRETE, 2, device="meta", dtype=torch.float64)
    batch = experience(2, 16, 0, discrete=True)
    moved = type(batch)(**{name: value.to("meta") for name, value in vars(batch).items()})
    assert all(loss.device.type == "meta" for loss in population.learn(moved).values())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BCQ(penalty=-1.0), r"BCQ: penalty is -1\.0"),
        (lambda: BCQ(huber=0.0), r"BCQ: huber is 0\.0"),
        (lambda: BCQ(double=2), "BCQ: double is 2"),
        (lambda: known(threshold=1.5), r"threshold is 1\.5"),
        (lambda: known(action_flexibility=0.3), "evolab calls it threshold"),
        (
            lambda: ev.Population("BCQ", OBSERVATIONS, spaces.Box(-1, 1, (2,)), 1),
            "BCQ needs Discrete or MultiDiscrete actions.*Use TD3BC",
        ),
    ],
)
def test_what_cannot_be_is_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
