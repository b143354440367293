"""Whole utterances: the best of those that a beam finds, by the policy or by values, in games of many."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.algorithms.bc import BC
from evolab.algorithms.ilql import ILQL, heads
from evolab.evaluation.language_returns import LanguageReturns, play
from evolab.networks.gpt.gpt import GPT
from evolab.population.decoding import TokenPolicy
from evolab.population.population import Population
from evolab.population.utterances import UtterancePolicy, actor_in, language_policy

WORLD = ev.envs.WordGame(["abc", "cab", "bca", "acb"], 3, 3, "abc")
EVERY = torch.tensor(list(itertools.product(range(3), repeat=3)))  # [27, 3], all there is to say


def agents(algorithm, world=WORLD, size=3, **settings):
    many = Population(
        algorithm, world.observation_space, world.action_space, size, network=GPT(width=8, layers=1), seed=0,
        device="cpu", dtype=torch.float64, hyperparameters=settings, search_space={},
    )  # fmt: skip
    for name in many.roles:  # loud enough to have opinions
        many.table[name].mul_(8)
        if f"{name}.target" in many.table:
            many.table[f"{name}.target"].mul_(-7)
    return many


def best(many, row, said):
    """The utterance that should follow `said`, every one of them scored without a cache."""
    group = many.table.solo(row)
    whole = torch.cat([torch.tensor(said).expand(len(EVERY), -1), EVERY], 1)[None]
    with torch.no_grad():
        odds = group.network("policy")(whole)[0, :, len(said) - 1 : -1].log_softmax(-1)
        likely = odds.gather(-1, EVERY.unsqueeze(-1)).sum((-1, -2))
        if many.algorithm.name == "BC":
            return EVERY[likely.argmax()].tolist()
        first, second, _ = heads(group.network("value", target=True)(whole)[0, :, -2])
        q = torch.minimum(first, second).gather(-1, EVERY[:, -1:])[:, 0]
        known = many.individuals[row].hyperparameters
        score = likely + known["beta"] * q
        score[likely.exp() < known["support"] * likely.exp().max()] = float("-inf")
    return EVERY[score.argmax()].tolist()


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [(BC(beams=27), {}), (ILQL(beams=27), {"support": 0.3}), (ILQL(beams=27), {"beta": 0.5})],
    ids=["BC", "ILQL-support", "ILQL"],
)
def test_so_many_beams_say_the_best_of_all_utterances(algorithm, settings):
    many = agents(algorithm, **settings)
    data = WORLD.play_many(language_policy(many.table, WORLD), WORLD.starts, agents=3)
    for game, (tokens, chosen) in enumerate(zip(data.tokens.tolist(), data.action_mask, strict=True)):
        places = chosen.nonzero()[:, 0].tolist()
        for begin in places[::3]:
            assert tokens[begin : begin + 3] == best(many, game // len(WORLD.starts), tokens[:begin])


def test_support_keeps_out_what_the_policy_would_hardly_say():
    free, held = (agents(ILQL(beams=27), beta=1e3, support=share) for share in (0.0, 1.0))
    cloned = agents(BC(beams=27))
    games = [play(many[0], WORLD, WORLD.starts) for many in (free, held, cloned)]
    assert not torch.equal(games[0].tokens, games[2].tokens)
    assert torch.equal(games[1].tokens, games[2].tokens)  # only the likeliest is left


@pytest.mark.parametrize("world", [WORLD, ev.envs.RandomWalks(6, 0.4, 5, 1)], ids=repr)
def test_one_beam_speaks_as_token_by_token(world):
    many = agents("BC", world)
    games = [
        world.play_many(made, list(world.starts), agents=3)
        for made in (UtterancePolicy(many.table, world.utterance, 1), TokenPolicy(many.table))
    ]
    assert torch.equal(games[0].tokens, games[1].tokens)


def test_one_of_many_speaks_as_if_alone_and_on_a_board_too():
    many = agents(ILQL(beams=9), support=0.2)
    together = WORLD.play_many(language_policy(many.table, WORLD), WORLD.starts, agents=3)
    assert LanguageReturns(WORLD).estimate(many, None, 0) is not None
    for row in range(3):
        alone = play(many[row], WORLD, WORLD.starts)
        those = slice(row * len(WORLD.starts), (row + 1) * len(WORLD.starts))
        width = alone.tokens.shape[1]
        assert torch.equal(together.tokens[those, :width], alone.tokens)
        shown = WORLD.play(many[row], secret=WORLD.words[1])
        while not shown.its.over:
            shown.watch()
        assert shown.its.guesses == WORLD.boards(alone)[1].guesses
        shown.new(WORLD.words[2]).watch()
        assert shown.its.guesses == WORLD.boards(alone)[2].guesses[:1]


def test_a_rollout_says_whole_utterances_too():
    exp = ev.Experiment(
        WORLD,
        algorithm=BC(beams=27),
        population=2,
        network=GPT(width=8, layers=1),
        steps_per_generation=2,
        seed=1,
    )
    for name in exp.population.roles:
        exp.population.table[name].mul_(8)
    agent = exp.population[1]
    rollout = exp.rollout(3, agent=agent, seed=2)
    for observation in rollout.observations:
        said = [token for token in observation.tolist() if token != WORLD.tokenizer.pad]
        typed = (len(said) - 1) % 6  # a guess of three is answered by three
        begun = said[: len(said) - typed]
        assert best(exp.population, 1, begun)[:typed] == said[len(begun) :]
    world = ev.envs.RandomWalks(6, 0.4, 5, 1)
    walker = agents(BC(beams=2), world)[0]
    observation = world.reset(options={"start": 3})[0]
    anything = np.arange(world.tokenizer.size) != world.tokenizer.pad
    assert actor_in(world, walker, lambda: anything).act(observation) == walker.act(observation)
    assert actor_in(WORLD, "consistent", lambda: anything) == "consistent"
    exp.close()


def test_an_agent_that_diverged_loses_its_games_and_stops_no_other():
    many = agents(ILQL(beams=4))
    for name in many.roles:
        many.table[name][1] = float("nan")
        many.table.get(f"{name}.target", many.table[name])[1] = float("nan")
    games = WORLD.play_many(language_policy(many.table, WORLD), WORLD.starts, agents=3)
    assert len(games) == 3 * len(WORLD.starts)


def test_an_environment_that_fixes_no_length_is_named():
    world = ev.envs.RandomWalks(6, 0.4, 5, 1)
    world.utterance = None
    with pytest.raises(
        ValueError, match=r"BC\(beams=4\) compares whole utterances, whose length RandomWalks"
    ):
        language_policy(agents(BC(beams=4), world).table, world)
    with pytest.raises(ValueError, match="beams is 0; expected a whole number >= 1"):
        BC(beams=0)
