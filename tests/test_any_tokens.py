"""Languages of every kind: vocabularies, lengths, prompts, replies and rules; BC and ILQL take them all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import evolab as ev
from evolab.algorithms.search_space import algorithm_named
from evolab.core.registry import PARTS
from evolab.networks.gpt.gpt import GPT
from tests.experiment.toy_runs import same

READERS = ["BC", "ILQL"]


class Talk(ev.envs.LanguageEnvironment):
    """Says a prompt, hears `turns` tokens, answers each with a reply; tokens by turn may be forbidden.

    Args:
        size: of the vocabulary, pad included.
        first: whether pad is its first name.
        prompt: tokens of it.
        reply: tokens of each answer.
        turns: tokens that the agent says.
        strict: whether half of the tokens are forbidden, others in every turn.
        starts: how many there are; None for seeds.
    """

    utterance = 1

    def __init__(self, size=5, first=False, prompt=1, reply=0, turns=2, strict=False, starts=3):
        self.size, self.first, self.prompt, self.reply = size, first, prompt, reply
        self.turns, self.strict = turns, strict
        names = [f"<{number}>" for number in range(size - 1)]
        names = ["<pad>", *names] if first else [*names, "<pad>"]
        block = prompt + turns + (turns - 1) * reply  # nothing follows the last token
        super().__init__(ev.envs.Tokenizer(names), block, None if starts is None else range(starts))

    def begin(self, start):
        said = [int(self.first) + (start + place) % (self.size - 1) for place in range(self.prompt)]
        return {"turn": 0}, said

    def legal(self, state):
        if not self.strict or self.size < 4:
            return self._all_but_pad
        return self._all_but_pad & (np.arange(self.size) % 2 == state["turn"] % 2)

    def hear(self, state, token):
        reward = float(self.legal(state)[token]) * token / self.size
        state["turn"] += 1
        over = state["turn"] >= self.turns
        return ev.envs.Reply([] if over else [token] * self.reply, reward, over)


LANGUAGES = st.builds(
    Talk, st.integers(3, 12), st.booleans(), st.integers(1, 3), st.integers(0, 2), st.integers(1, 4), st.booleans(),
    st.sampled_from([None, 1, 5]),
)  # fmt: skip


def test_every_algorithm_that_reads_tokens_is_tried():
    assert set(READERS) == {name for name in PARTS["algorithm"] if algorithm_named(name).reads_tokens}


@pytest.mark.parametrize("algorithm", READERS)
@settings(max_examples=4, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_an_algorithm_takes_every_language(algorithm, data, tmp_path_factory):
    world, folder = data.draw(LANGUAGES), tmp_path_factory.mktemp("any")
    exp = ev.Experiment(
        world, algorithm, population=data.draw(st.integers(1, 2)), steps_per_generation=2, seed=0, device="cpu",
        network=GPT(layers=1, width=8, heads=1, min_units=8), hyperparameters={"batch_size": 4}, eval_episodes=2,
        mutations=ev.Mutations(none=0.0, architecture=1.0), search_space={}, progress=False,
    )  # fmt: skip
    exp.fill(6)
    exp.step()
    assert np.isfinite(exp.history.fitness["fitness"]).all()
    played = world.play_many(exp.best, world.fixed_starts(5, 1))
    assert played.length.tolist() == [world.block] * 5
    said = played.tokens[played.action_mask]
    assert not (said == world.tokenizer.pad).any()
    assert (played.rewards[played.action_mask] >= 0).all()
    (total,) = exp.rollout(episodes=1).returns
    assert 0 <= total <= world.turns
    exp.best.save(folder / "agent")
    loaded = ev.Agent.load(folder / "agent")
    assert torch.equal(world.play_many(loaded, world.fixed_starts(5, 1)).tokens, played.tokens)
    exp.save(folder / "run")
    again = ev.Experiment.load(folder / "run", environment=world)
    assert torch.equal(world.play_many(again.best, world.fixed_starts(5, 1)).tokens, played.tokens)
    world.play_many(exp.best, world.fixed_starts(6, 2)).save(folder / "data.h5")
    exp.fill(folder / "data.h5")
    again.fill(folder / "data.h5")
    exp.step()
    again.step()
    same(exp, again)
    with pytest.raises(ValueError, match=r"reads tokens"):
        exp.best.export(folder / "agent.pt2")
    exp.close()
    again.close()
