"""The word game: its rules, its lists, its scripted players, and how it looks."""

from __future__ import annotations

import importlib.resources
import re
from itertools import product

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.envs import WordGame
from evolab.envs.language import word_policies
from evolab.envs.language.word_board import Board
from evolab.envs.language.word_rules import COLOURS, Words, colours, read_words

# What the same players returned on another list of 236 common words.
REFERENCE = {"random": -5.92, "mixture": -3.17, "consistent": -2.12, "information": -1.75}


@pytest.mark.parametrize(
    ("guess", "secret", "answer"),
    [
        ("crane", "crane", "GGGGG"),
        ("light", "money", "BBBBB"),
        ("crane", "nacre", "YYYYG"),
        ("speed", "abide", "BBYBY"),  # one e in the secret: only the first of two is yellow
        ("speed", "erase", "YBYYB"),  # two e: both are yellow
        ("speed", "steal", "GBGBB"),  # a green e uses up the only one
        ("allow", "llama", "YGYBB"),
        ("llama", "allow", "YGYBB"),
        ("eerie", "beech", "YGBBB"),
        ("added", "dread", "YYBYG"),
        ("geese", "eerie", "BGYBG"),  # three e in both: one stays yellow
    ],
)
def test_a_letter_is_coloured_as_often_as_the_secret_has_it(guess, secret, answer):
    assert colours(guess, secret) == answer


def test_the_table_of_answers_is_the_rule_for_every_pair_of_short_words():
    words = Words(["".join(letters) for letters in product("abc", repeat=4)], letters=4, alphabet="abc")
    for guess, secret in product(range(0, 81, 2), range(81)):
        code = int(words.answers[guess, secret])
        answer = "".join(COLOURS[code // 3**place % 3] for place in range(4))
        assert answer == colours(words[guess], words[secret])


def test_our_own_list_is_shipped_and_is_what_it_says():
    words = read_words(None)
    assert 100 <= len(words) <= 250
    assert importlib.resources.files("evolab.envs").joinpath("language/words.txt").is_file()
    assert read_words(100)[:] == words[:100]
    assert WordGame(7).starts == words[:7]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["crane", "cranes"],
            "word 2, 'cranes', has 6 letters; expected 5. Leave it out, or play with letters=6",
        ),
        (["Crane"], "word 1, 'Crane', has 'C', which is not in the alphabet .* Write it in small letters"),
        (["añejo"], "has 'ñ', which is not in the alphabet .* Pass alphabet="),
        (["crane", "react", "crane"], "word 3, 'crane', stands there as word 1 already"),
        ([], "words holds no word"),
        (0, "words is 0; evolab's own list has 236"),
        (1_000, "words is 1000; evolab's own list has 236"),
    ],
)
def test_a_wrong_list_is_told_by_word_and_place(words, message):
    with pytest.raises(ValueError, match=message):
        WordGame(words)


def test_a_user_s_file_is_read(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("# four letters\nääää\n\n öäöä \n", "utf-8")
    game = WordGame(path, letters=4, alphabet="äö")
    assert game.starts == ("ääää", "öäöä")
    assert game.record("information").mean_return == -0.5


def test_a_wrong_file_is_named(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("crane\nsix six\n", "utf-8")
    with pytest.raises(ValueError, match=r"mine.txt: word 2, 'six six', has 7 letters"):
        WordGame(str(path))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"mine.txt is no text in UTF-8"):
        WordGame(path)
    with pytest.raises(FileNotFoundError, match="one word a line"):
        WordGame(tmp_path / "none.txt")


@pytest.mark.parametrize("alphabet", ["", "aa", "aB", "a "])
def test_an_alphabet_that_clashes_is_refused(alphabet):
    with pytest.raises(ValueError, match="expected different letters, none of them a space"):
        WordGame(["aa"], letters=2, alphabet=alphabet)


def test_a_wrong_guess_costs_one_and_the_right_one_nothing():
    game = WordGame(100)
    game.reset(options={"secret": "water"})
    assert game.step("house")[1:4] == (-1.0, False, False)
    _, reward, terminated, truncated, info = game.step("WATER")
    assert (reward, terminated, truncated) == (0.0, True, False)
    assert (info["guesses"], info["answers"]) == (("house", "water"), ("BBBBY", "GGGGG"))
    assert (game.board.solved, game.board.reward, game.board.answers) == (True, -1.0, ("BBBBY", "GGGGG"))


def test_six_wrong_guesses_end_the_game():
    game = WordGame(100)
    game.reset(options={"start": "water"})
    steps = [game.step("house")[1:3] for _ in range(6)]
    assert steps == [(-1.0, False)] * 5 + [(-1.0, True)]
    assert game.board.over
    assert not game.board.solved


@pytest.mark.parametrize("text", ["", "wat", "waters", "wat3r", "añejo"])
def test_what_is_no_guess_costs_one_and_changes_nothing(text):
    game = WordGame(100)
    before = game.reset(options={"start": "water"})[0]
    after, reward, terminated, truncated, _ = game.step(text)
    assert (reward, terminated, truncated) == (-1.0, False, False)
    assert np.array_equal(before, after)
    assert [game.step(text)[2] for _ in range(5)] == [False] * 4 + [True]
    assert game.board.reward == -6


def test_letters_one_by_one_are_the_word():
    one, whole = WordGame(100), WordGame(100)
    for game in (one, whole):
        game.reset(options={"start": "water"})
    steps = [one.step("abcdefghijklmnopqrstuvwxyz".index(letter)) for letter in "house"]
    assert [step[1] for step in steps] == [0, 0, 0, 0, -1]
    observation = whole.step("house")[0]
    assert np.array_equal(steps[-1][0], observation)
    text = whole.tokenizer.decode(observation.tolist())
    assert text == "<start>househBoBuBsBeY"


def test_any_random_play_returns_within_the_range():
    game = WordGame()
    for seed in range(20):
        game.reset(seed=seed)
        game.action_space.seed(seed)
        total, over = 0.0, False
        while not over:
            _, reward, over, truncated, info = game.step(game.action_space.sample())
            assert not truncated
            assert info["legal"].sum() == 26
            total += reward
        assert -6 <= total <= 0


def test_the_same_seed_is_the_same_secret():
    one, other = WordGame(), WordGame()
    secrets = [[game.reset(seed=seed)[1]["start"] for seed in range(8)] for game in (one, other)]
    assert secrets[0] == secrets[1]
    assert len(set(secrets[0])) > 1


def test_scripted_players_return_what_is_known_of_them():
    returns = WordGame().yardsticks(seed=0, repeats=10)
    assert list(returns.values()) == sorted(returns.values()) or returns["repeat"] < returns["random"]
    for name, value in REFERENCE.items():
        assert returns[name] == pytest.approx(value, abs=0.12), name
    assert returns["repeat"] == pytest.approx(-6 * (1 - 1 / 236), abs=0.02)
    assert returns["random"] == pytest.approx(-sum((1 - 1 / 236) ** k for k in range(1, 7)), abs=0.03)


def test_information_gain_takes_the_guess_that_splits_best():
    # After no answer, "abc" tells all six apart; any other guess leaves two or more together.
    words = Words(["abc", "acb", "dbb", "dcc", "dbc", "dda"], letters=3, alphabet="abcd")
    knowledge = word_policies.Knowledge(words, np.arange(6))
    place = word_policies.information(knowledge, np.random.default_rng(0))
    kinds = [len(set(words.answers[guess].tolist())) for guess in range(6)]
    assert kinds[place] == max(kinds)


def test_a_player_of_one_s_own_records_too():
    game = WordGame(100)
    data = game.record(lambda knowledge, generator: int(knowledge.consistent[0]), episodes=50, seed=0)
    assert len(data) == 50
    assert -3 < data.mean_return < -1
    with pytest.raises(ValueError, match=r"Unknown scripted player 'consistant'.*did you mean 'consistent'"):
        game.record("consistant", 1)
    with pytest.raises(ValueError, match="the secret 'zzzzz' is not among the 100 words"):
        game.record("random", secrets=["zzzzz"])


def test_recorded_games_are_games_that_could_have_been_played():
    game = WordGame(100)
    data = game.record("mixture", 200, seed=2).checked()
    assert data.terminated.all()
    assert int(data.length.max()) == game.block == 56
    guesses = {row: board.guesses for row, board in enumerate(game.boards(data))}

    def policy(turn):
        places = [(int(n) - 1) % 10 for n in turn.length]
        rounds = [(int(n) - 1) // 10 for n in turn.length]
        letters = [guesses[int(row)][k][i] for row, k, i in zip(turn.rows, rounds, places, strict=True)]
        return torch.tensor(["abcdefghijklmnopqrstuvwxyz".index(letter) for letter in letters])

    again = game.play_many(policy, data.starts)
    for name in ("tokens", "action_mask", "rewards", "terminated", "length"):
        assert torch.equal(getattr(again, name), getattr(data, name)), name


def test_recording_is_the_same_for_a_seed():
    game = WordGame(50)
    one, same, other = (game.record("mixture", 30, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.tokens, same.tokens)
    assert one.starts == same.starts != other.starts


def test_a_board_is_readable_everywhere():
    board = Board("water", ("house", "eater"), typed="wa")
    assert str(board) == "house ⬛⬛⬛⬛🟨\neater ⬛🟩🟩🟩🟩\nwa\n4 tries left"
    assert "\x1b[30;42m A \x1b[0m" in board.ansi()
    bundle = board._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "image/png"}
    assert bundle["text/html"].count("<span") == 30
    assert "eater" not in str(Board("water", ("eater",), hidden=True))
    assert "E</span>" not in Board("water", ("eater",), hidden=True).html()


def test_render_gives_text_or_a_picture_of_one_size():
    game = WordGame(100, render_mode="rgb_array")
    game.reset(options={"start": "water"})
    first = game.render()
    game.step("house")
    second = game.render()
    assert first.dtype == np.uint8
    assert first.ndim == 3
    assert first.shape == second.shape
    assert (first != second).any()
    text = WordGame(100, render_mode="ansi")
    text.reset(options={"start": "water"})
    text.step("water")
    assert "solved in 1, return 0" in text.render()
    assert WordGame(100).render() is None


def test_html_of_strange_letters_is_escaped():
    game = WordGame(["<<>>"], letters=4, alphabet="<>&")
    html = game.boards(game.record("random", 1)).boards[0].html()
    assert "&lt;</span>" in html
    assert "<</span>" not in html


def test_games_of_other_words_are_refused():
    with pytest.raises(ev.DatasetError, match="WordGame has 14"):
        WordGame(["aa"], letters=2, alphabet="abc").boards(WordGame(10).record("random", 1))


def test_white_letters_can_be_read_on_every_tile():
    """On the yellow ones their contrast was 4.07 to 1, where WCAG 2 asks for 4.5."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    shown = Board("heart", ("happy", "storm")).html()
    fills = set(re.findall(r"background:(#[0-9a-f]{6});color:#ffffff", shown))
    assert len(fills) == 3
    assert min(1.05 / (luminance(fill) + 0.05) for fill in fills) >= 4.5
