"""Decoding: drawing from scores, and a cache that changes no answer."""

from __future__ import annotations

import itertools

import pytest
import torch

from evolab.envs import RandomWalks, WordGame
from evolab.evaluation.language_returns import play
from evolab.experiment.language import random_episodes
from evolab.networks.gpt.gpt import GPT
from evolab.population.decoding import Decoding, TokenPolicy, filtered
from evolab.population.population import Population


def test_temperature_top_k_and_top_p_leave_what_they_should():
    scores = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()
    assert torch.allclose(filtered(scores, 0.5).exp(), scores.exp().square() / scores.exp().square().sum())
    assert filtered(scores, top_k=2).exp()[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert filtered(scores, top_p=0.6).exp()[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert filtered(scores, top_p=0.1).exp()[0].tolist() == pytest.approx([1, 0, 0, 0])
    assert filtered(scores, top_k=9, top_p=1.0).exp()[0].tolist() == pytest.approx([0.5, 0.25, 0.15, 0.1])
    forbidden = scores.masked_fill(torch.tensor([True, False, False, False]), float("-inf"))
    assert filtered(forbidden, top_k=1).exp()[0].tolist() == pytest.approx([0, 1, 0, 0])


def test_draws_follow_the_odds_and_their_seed():
    odds = torch.tensor([0.6, 0.3, 0.1])
    many = odds.log().expand(20_000, 3)
    drawn = Decoding(temperature=1.0, seed=1)(many)
    assert torch.allclose(drawn.bincount(minlength=3) / 20_000, odds, atol=0.02)
    assert torch.equal(drawn, Decoding(temperature=1.0, seed=1)(many))
    assert not torch.equal(drawn, Decoding(temperature=1.0, seed=2)(many))
    assert set(Decoding(temperature=1.0, top_k=1)(many).tolist()) == {0}
    assert set(Decoding()(many).tolist()) == {0}
    for bad in ({"temperature": -1.0}, {"top_k": 0}, {"top_p": 1.5}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Decoding(**bad)


class Plain:
    """A player without a cache, game by game."""

    def __init__(self, population):
        self.population = population

    def __call__(self, turn):
        chosen = torch.zeros_like(turn.length)
        for agent, column in itertools.product(*map(range, turn.length.shape)):
            said = turn.tokens[agent, column, : int(turn.length[agent, column])]
            group = self.population.table.solo(agent)

            def forward(name, target=False, group=group, said=said):
                return group.network(name, target)(said[None, None])[:, :, -1]

            with torch.no_grad():
                scores = self.population.algorithm.scores(group, forward)[0, 0]
            chosen[agent, column] = scores.masked_fill(~turn.legal[agent, column], float("-inf")).argmax()
        return chosen


@pytest.mark.parametrize("algorithm", ["BC", "ILQL"])
@pytest.mark.parametrize(
    "world", [WordGame(["abc", "cab", "bca"], 3, 3, "abc"), RandomWalks(6, 0.4, 5, 1)], ids=repr
)
def test_a_population_plays_with_a_cache_as_without(algorithm, world):
    many = Population(
        algorithm, world.observation_space, world.action_space, 3, network=GPT(width=8, layers=1), seed=0,
        device="cpu", dtype=torch.float64,
    )  # fmt: skip
    deep = many.individual(0).child(0)
    deep.counts = {name: float(count) for name, count in deep.counts.items()}
    genes = many.network.deeper(deep.genes)
    for kind, state in list(deep.tensors.items()):
        role = many.roles[kind.split(".")[0]]
        deep.tensors[kind] = many.network.deepened(role, deep.genes, state, moment=False)
    deep.genes = genes
    others = [many.individual(row) for row in (1, 2)]
    many.rebuild([*others, deep])
    for name in many.roles:  # loud enough to end games at different times
        many.table[name].mul_(8)
    starts = list(world.starts)
    quick = world.play_many(TokenPolicy(many.table), starts, agents=3)
    plain = world.play_many(Plain(many), starts, agents=3)
    assert torch.equal(quick.tokens, plain.tokens)
    one = play(many[1], world, starts)
    assert torch.equal(one.returns, plain.returns.view(3, -1)[1])
    assert random_episodes(world, 7, 1).returns.tolist() == random_episodes(world, 7, 1).returns.tolist()
