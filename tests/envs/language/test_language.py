"""The contract of language environments, on one that a user could have written."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

import evolab as ev
from evolab.envs import LanguageEnvironment, RandomWalks, Reply, TokenDataset, Tokenizer, WordGame


class Echo(LanguageEnvironment):
    """Say what was said to you, then a full stop; one point for each right letter."""

    def __init__(self, block=12, reply=2):
        super().__init__(Tokenizer(["<pad>", "a", "b", "c", ".", "!"]), block)
        self.reply = reply

    def begin(self, start):
        word = np.random.default_rng(start).integers(1, 4, size=3).tolist()
        return {"left": list(word), "rounds": 0}, word

    def hear(self, state, token):
        if token == 4:
            return Reply(terminated=True)
        right = bool(state["left"]) and state["left"].pop(0) == token
        state["rounds"] += 1
        return Reply([5] * self.reply if state["rounds"] == 2 else [], float(right))


def perfect(turn):
    """Repeats the first three tokens, past the two marks that come after two answers, then stops."""
    order = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2])
    heard = turn.tokens.gather(-1, order[turn.length].unsqueeze(-1)).squeeze(-1)
    return torch.where(turn.length >= 8, torch.full_like(heard, 4), heard)


def full_stop(turn):
    return torch.full_like(turn.length, 4)


@pytest.mark.parametrize(
    "make", [Echo, RandomWalks, WordGame, lambda: WordGame(["ab", "ba"], letters=2, tries=3)]
)
def test_every_language_environment_is_a_gymnasium_environment(make):
    check_env(make(), skip_render_check=True)


def test_an_episode_says_who_chose_what_and_what_it_earned():
    env = Echo()
    heard = env.begin(5)[1]
    data = env.play_many(perfect, [5])
    assert data.tokens[0].tolist() == [*heard, heard[0], heard[1], 5, 5, heard[2], 4]
    assert data.action_mask[0].tolist() == [False] * 3 + [True, True, False, False, True, True]
    assert data.rewards[0].tolist() == [0, 0, 0, 1, 1, 0, 0, 1, 0]
    assert (data.returns.tolist(), data.terminated.tolist(), data.starts) == ([3.0], [True], (5,))


def test_playing_many_equals_playing_one_after_the_other():
    env, starts = Echo(), [3, 1, 4, 1, 5]
    together = env.play_many(perfect, starts)
    for row, start in enumerate(starts):
        alone = env.play_many(perfect, [start])
        size = int(alone.length[0])
        assert together.tokens[row, :size].tolist() == alone.tokens[0].tolist()


def test_playing_many_equals_gymnasium_steps():
    env = Echo()
    data = env.play_many(perfect, [7])
    observation, info = env.reset(options={"start": 7})
    rewards = []
    for token in data.tokens[0][data.action_mask[0]].tolist():
        assert info["legal"][token]
        observation, reward, terminated, truncated, info = env.step(token)
        rewards.append(reward)
    assert observation[: int(data.length[0])].tolist() == data.tokens[0].tolist()
    assert sum(rewards) == data.returns[0]
    assert terminated
    assert not truncated


def test_text_is_said_until_the_environment_replies():
    env = Echo()
    env.reset(options={"start": 2})
    said = env.tokenizer.decode(env.begin(2)[1])
    observation, reward, *_ = env.step(said)
    assert reward == 2.0  # the third letter is dropped: the reply came after two
    assert observation[:7].tolist() == [*env.tokenizer.encode(said), *env.tokenizer.encode(said[:2]), 5, 5]


def test_a_population_plays_the_same_starts_agent_by_agent():
    env = Echo()

    def policy(turn):  # the second agent stops at once
        assert turn.tokens.shape[:2] == turn.legal.shape[:2] == turn.length.shape == turn.rows.shape
        chosen = perfect(turn)
        chosen[1] = 4
        return chosen

    data = env.play_many(policy, [1, 2, 3], agents=2)
    assert data.returns.view(2, 3).tolist() == [[3, 3, 3], [0, 0, 0]]
    assert data.starts == (1, 2, 3, 1, 2, 3)


def test_a_turn_holds_only_games_that_go_on_and_names_them():
    env = Echo()
    seen = []

    def policy(turn):
        seen.append(turn.rows.tolist())
        chosen = perfect(turn)
        chosen[turn.rows == 1] = 4
        return chosen

    env.play_many(policy, [1, 2, 3])
    assert seen[:2] == [[0, 1, 2], [0, 2]]


def test_an_episode_that_fills_the_block_is_cut_and_not_terminated():
    data = Echo(block=5, reply=0).play_many(lambda turn: torch.ones_like(turn.length), [0, 1])
    assert data.length.tolist() == [5, 5]
    assert not data.terminated.any()


def test_a_reply_that_does_not_fit_the_block_is_told():
    with pytest.raises(
        ValueError, match=r"Echo: an episode has grown to 7 tokens; block is 5. Make the block"
    ):
        Echo(block=5).play_many(lambda turn: torch.ones_like(turn.length), [0])


def test_a_prompt_that_leaves_no_room_is_told():
    with pytest.raises(
        ValueError, match=r"Echo.begin\(0\) gave 3 tokens; expected at least 1 and fewer than the block, 3"
    ):
        Echo(block=3).reset(options={"start": 0})


@pytest.mark.parametrize(("token", "name"), [(0, "token 0 \\(<pad>\\)"), (99, "token 99"), (-1, "token -1")])
def test_a_policy_that_chooses_what_is_not_legal_is_told(token, name):
    with pytest.raises(ValueError, match=f"the policy chose {name} in game 1, which is not legal there"):
        Echo().play_many(lambda turn: torch.where(turn.rows == 1, token, 4), [0, 1])


def test_a_policy_that_answers_in_another_shape_is_told():
    with pytest.raises(ValueError, match="the policy gave tokens of shape \\(2, 1\\); expected \\(2,\\)"):
        Echo().play_many(lambda turn: turn.length[:, None], [0, 1])


def test_pad_stands_at_an_end_of_the_vocabulary():
    class Middle(Echo):
        def __init__(self):
            LanguageEnvironment.__init__(self, Tokenizer(["a", "<pad>", "b"]), 4)

    with pytest.raises(
        ValueError, match="pad is token 1 of 3; expected the first name of the vocabulary or the last"
    ):
        Middle()


def test_a_step_before_reset_or_after_the_end_is_told():
    env = Echo()
    with pytest.raises(ResetNeeded, match="Echo: call reset"):
        env.step(1)
    env.reset(seed=0)
    env.step(4)
    with pytest.raises(ResetNeeded, match="Echo: call reset"):
        env.step(1)


def test_pad_is_never_said():
    env = Echo()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="the action is 0; Echo takes a token of Discrete"):
        env.step(0)


@pytest.mark.parametrize(
    "env", [Echo(), RandomWalks(nodes=9, seed=3), WordGame(9), WordGame(), WordGame(["ab"], 2, 3, "abc")]
)
def test_its_options_make_it_anew(env):
    again = type(env)(**json.loads(json.dumps(env.options)))
    assert (again.starts, again.tokenizer, again.block) == (env.starts, env.tokenizer, env.block)
    if isinstance(env, RandomWalks):
        assert np.array_equal(again.edges, env.edges)


def test_unknown_render_mode_is_told():
    with pytest.raises(ValueError, match="render_mode is 'human'; RandomWalks renders ansi"):
        RandomWalks(render_mode="human")


def test_fixed_starts_are_the_same_for_a_seed_and_all_different_where_there_are_enough():
    game = WordGame(20)
    starts = game.fixed_starts(20, seed=3)
    assert starts == game.fixed_starts(20, seed=3) != game.fixed_starts(20, seed=4)
    assert sorted(starts) == sorted(game.starts)
    assert {starts.count(word) for word in game.starts} == {1}
    assert sorted(game.fixed_starts(50)) != sorted(game.starts)
    assert len(set(Echo().fixed_starts(9))) == 9


def test_a_data_set_of_another_vocabulary_is_refused():
    walks = RandomWalks().record(3)
    with pytest.raises(
        ev.DatasetError, match="RandomWalks has a vocabulary of 22 names, WordGame has 106: they differ in"
    ):
        WordGame(10).check(walks)


def test_a_data_set_longer_than_the_block_is_refused():
    long = RandomWalks(longest=20).record(50)
    with pytest.raises(ev.DatasetError, match=r"has an episode of 2\d tokens; RandomWalks has block=11"):
        RandomWalks(longest=10).check(long)


def test_it_goes_where_every_other_environment_goes():
    envs = ev.envs.make(lambda: WordGame(["ab", "ba"], letters=2, tries=2), population=2, num_envs=3, seed=0)
    with envs:
        observation = envs.reset()
        assert observation.shape == (2, 3, 7)
        transition = envs.step(np.zeros((2, 3), dtype=np.int64))
    assert (np.asarray(transition.reward) == 0).all()


def test_data_of_play_is_data_to_learn_from():
    env = Echo()
    data = env.check(env.play_many(full_stop, env.fixed_starts(4)).checked())
    assert isinstance(data, TokenDataset)
    assert (data.environment, len(data), data.mean_return) == ("Echo", 4, 0.0)
