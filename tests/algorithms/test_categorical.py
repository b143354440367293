"""Several choices at once, against torch's own distributions, and what becomes of them in an agent's life."""

from __future__ import annotations

from contextlib import closing
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.distributions import Categorical, Independent

import evolab as ev
from evolab.algorithms.categorical import drawn, likelihood, logits_of
from evolab.core.composite_actions import together
from evolab.core.plain_values import to_plain
from tests.any_env import Env

PARTS = {"one": (), "alike": (3, 3), "uneven": (2, 5, 1, 3)}


def random_logits(parts, *lead):
    generator = torch.Generator().manual_seed(1)
    return 3 * torch.randn(*lead, sum(parts) or 6, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_log_probabilities_and_entropies_are_torchs(parts):
    out = random_logits(parts, 4, 50).requires_grad_()
    each = [Categorical(logits=own) for own in out.split(list(parts) or [6], -1)]
    action = torch.stack([one.sample() for one in each], -1)
    found = likelihood(logits_of(out, parts), action if parts else action[..., 0], bool(parts))
    expected = sum(one.log_prob(taken) for one, taken in zip(each, action.unbind(-1), strict=True))
    assert torch.allclose(found[0], expected, atol=1e-12)
    assert torch.allclose(found[1], sum(one.entropy() for one in each), atol=1e-12)
    for ours, theirs in ((found[0], expected), (found[1], sum(one.entropy() for one in each))):
        gradients = [torch.autograd.grad(x.sum(), out, retain_graph=True)[0] for x in (ours, theirs)]
        assert torch.allclose(*gradients, atol=1e-12)


def test_choices_that_are_alike_are_one_independent_distribution_of_torchs():
    out = random_logits((3, 3), 7)
    whole = Independent(Categorical(logits=out.unflatten(-1, (2, 3))), 1)
    action = whole.sample()
    log_prob, entropy = likelihood(logits_of(out, (3, 3)), action, several=True)
    assert torch.allclose(log_prob, whole.log_prob(action))
    assert torch.allclose(entropy, whole.entropy())


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_what_a_mask_forbids_has_no_probability(parts):
    out = random_logits(parts, 40).requires_grad_()
    mask = torch.rand(out.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    for own in mask.split(list(parts) or [6], -1):
        own[~own.any(-1), 0] = True
    each = []
    for logits, allowed in zip(
        out.split(list(parts) or [6], -1), mask.split(list(parts) or [6], -1), strict=True
    ):
        probability = torch.where(allowed, logits.softmax(-1), 0.0)  # renormalised by hand
        each.append(Categorical(probs=probability / probability.sum(-1, keepdim=True)))
    action = torch.stack([one.sample() for one in each], -1)
    logits = logits_of(out, parts, mask)
    log_prob, entropy = likelihood(logits, action if parts else action[..., 0], bool(parts))
    expected = sum(one.log_prob(taken) for one, taken in zip(each, action.unbind(-1), strict=True))
    # torch clamps probabilities of 0 to a tiny number.
    assert torch.allclose(log_prob, expected, atol=1e-9)
    assert torch.allclose(entropy, sum(one.entropy() for one in each), atol=1e-9)
    (slope,) = torch.autograd.grad((log_prob + entropy).sum(), out)
    assert torch.isfinite(slope).all()
    assert not slope[~mask].any(), "nothing is learned about what was forbidden"


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), float("inf")])
def test_an_agent_that_has_diverged_keeps_to_what_there_is(value):
    out = torch.full((200, 7), value)
    mask = torch.ones(7, dtype=torch.bool)
    mask[0] = mask[2] = False
    logits = logits_of(out, (2, 5), mask)
    stream = torch.Generator().manual_seed(0)
    for action in (logits.argmax(-1), drawn(logits, several=True, masks=True, generator=stream)):
        assert (action[:, 0] == 1).all()
        assert ((action[:, 1] > 0) & (action[:, 1] < 5)).all()


def test_every_choice_is_drawn_as_often_as_its_own_probability_says():
    out = random_logits((2, 5, 3))
    logits = logits_of(out.expand(40_000, -1), (2, 5, 3))
    action = drawn(logits, several=True, masks=False, generator=torch.Generator().manual_seed(3))
    for index, own in enumerate(out.split([2, 5, 3], -1)):
        share = torch.bincount(action[:, index], minlength=len(own)) / len(action)
        assert torch.allclose(share.double(), own.softmax(-1), atol=0.01)


# In an agent's life -------------------------------------------------------------------------------

RIGHT = (2, 0, 1, 3)


def earn(action, time):
    """A different reward for every choice, which none of the others changes."""
    return float(sum(0.5**place for place, right in enumerate(RIGHT) if action[place] == right))


def test_every_choice_learns_its_own_best_value():
    """The best combination of 3 x 2 x 4 x 5 is one in 120; each choice alone finds its own. Its value is known."""
    make = partial(Env, act=spaces.MultiDiscrete([3, 2, 4, 5]), obs=spaces.Discrete(1), reward=earn, length=1)
    exp = ev.Experiment(
        make, "PPO", population=1, num_envs=16, network=[16], seed=3, device="cpu", buffer=16, evolving=False,
        hyperparameters={"lr": 0.02, "entropy_coefficient": 0.0, "batch_size": 64}, search_space={},
        steps_per_generation=4_096, eval_episodes=1,
    )  # fmt: skip
    exp.step()
    assert exp.best.act(0).tolist() == list(RIGHT)
    with torch.no_grad():
        value = exp.population.groups[0].network("critic")(torch.zeros(1, 1, dtype=torch.int64))
    assert float(value) == pytest.approx(1 + 0.5 + 0.25 + 0.125, abs=0.1)
    exp.close()


@pytest.mark.parametrize(
    "space",
    [
        spaces.MultiDiscrete([8] * 8),
        spaces.MultiDiscrete([[2, 9], [3, 4]], start=[[1, 0], [-1, 5]]),
        spaces.MultiBinary(30),
        spaces.MultiBinary([2, 20]),
        spaces.Tuple([spaces.Discrete(300, start=-7), spaces.Dict({"a": spaces.MultiDiscrete([50, 60])})]),
    ],
    ids=["8^8", "2D", "MultiBinary", "MultiBinary 2D", "Tuple"],
)
def test_millions_of_combinations_are_acted_in_learned_from_saved_and_exported(space, tmp_path):
    exp = ev.Experiment(
        partial(Strict, act=space), "PPO", population=2, num_envs=2, seed=0, device="cpu", buffer=8, network=[8],
        steps_per_generation=32, hyperparameters={"batch_size": 8}, search_space={}, eval_episodes=1,
    )  # fmt: skip
    exp.run(generations=2)
    agent, seen = exp.best, np.random.default_rng(0).normal(size=(9, 3)).astype("f")
    acted = exp.best.act(seen)
    agent.save(tmp_path / "agent")
    for other in (ev.Agent.load(tmp_path / "agent"), again(exp, tmp_path, space)):
        assert repr(other.act(seen)) == repr(acted)
    program = torch.export.load(agent.export(tmp_path / "agent.pt2")).module()
    found = program(torch.from_numpy(seen))
    assert np.array_equal(found.reshape(9, -1), np.reshape(together(agent_space(exp), acted), (9, -1)))
    exp.close()


class Strict(Env):
    """Refuses what is not in its space."""

    def step(self, action):
        assert self.action_space.contains(action), action
        return super().step(action)


def agent_space(exp):
    return exp.population.action_space


def again(exp, tmp_path, space):
    exp.save(tmp_path / "run")
    return ev.Experiment.load(tmp_path / "run", environment=partial(Strict, act=space)).best


def test_without_a_word_so_many_combinations_are_ppos():
    make = partial(Env, act=spaces.MultiDiscrete([8] * 8))
    with closing(ev.Experiment(make, population=2, seed=0, device="cpu")) as exp:
        assert exp.algorithm == ev.PPO()
    with closing(ev.Experiment(partial(Env, act=spaces.MultiDiscrete([8] * 4)), population=2, seed=0)) as exp:
        assert exp.algorithm.name == "DQN"
    for many in ([8] * 8, [2] * 64):  # the second's number wraps round to 0 in 64 bits
        with pytest.raises(
            ValueError, match=r"combinations; at most 4096 .* as in DQN\. PPO makes each choice apart"
        ):
            ev.Experiment(partial(Env, act=spaces.MultiDiscrete(many)), "DQN")
        with pytest.raises(ValueError, match=r"combinations; at most 4096"):
            ev.Experiment(partial(Env, act=spaces.MultiDiscrete(many)), ev.PPO(factored=False))


def test_agents_that_were_saved_with_one_choice_of_combinations_are_read_as_they_are(tmp_path, monkeypatch):
    """Earlier versions gave PPO an output for each combination and did not say so."""

    def as_before(value):
        told = to_plain(value)
        return {k: v for k, v in told.items() if k != "factored"} if isinstance(value, ev.PPO) else told

    monkeypatch.setattr("evolab.population.serialisation.to_plain", as_before)
    monkeypatch.setattr("evolab.experiment.config.config.to_plain", as_before)
    exp = ev.Experiment(
        partial(Env, act=spaces.MultiDiscrete([2, 3])), ev.PPO(factored=False), population=2, num_envs=2, seed=0,
        device="cpu", buffer=8, network=[8], steps_per_generation=32, search_space={},
    )  # fmt: skip
    exp.step()
    exp.best.save(tmp_path / "agent")
    exp.save(tmp_path / "run")
    assert "factored" not in (tmp_path / "agent" / "agent.json").read_text()
    seen = np.random.default_rng(0).normal(size=(20, 3)).astype("f")
    run = ev.Experiment.load(tmp_path / "run", environment=partial(Env, act=spaces.MultiDiscrete([2, 3])))
    for agent in (ev.Agent.load(tmp_path / "agent"), run.best):
        assert agent.algorithm == ev.PPO(factored=False)
        assert np.array_equal(agent.act(seen), exp.best.act(seen))
        assert agent.module()(torch.from_numpy(seen)).shape == (20, 6)
    run.step()
    assert run.algorithm == ev.PPO(factored=False)
    run.close(), exp.close()
