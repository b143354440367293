"""The board to play on: by code, and by its widgets."""

from __future__ import annotations

import numpy as np
import pytest

from evolab.envs import WordGame


class Speller:
    """An agent that types one word again and again, or something that is no letter."""

    def __init__(self, word):
        self.word = word

    def act(self, observation):
        assert observation.shape == (56,)
        assert observation.dtype == np.int64
        filled = int((observation != 105).sum())
        return np.array("abcdefghijklmnopqrstuvwxyz".find(self.word[(filled - 1) % 10]) % 106)


def test_the_agent_follows_and_hides_its_letters_until_the_end():
    play = WordGame(100).play(Speller("house"), secret="water")
    play.guess("Horse ")
    assert "house" not in repr(play)
    assert "horse" in repr(play)
    assert play.its.answers == ("BBBBY",)
    play.guess("water")
    assert "house" in repr(play)
    assert (play.mine.reward, play.its.reward) == (-1, -6)
    assert "1 game: you -1.00, agent -6.00 on average" in repr(play)


def test_an_agent_is_watched_guess_by_guess():
    play = WordGame(100).play(Speller("water"), secret="water").watch()
    assert len(play.boards) == 1
    assert "solved in 1" in repr(play)
    assert "Agent" in repr(play)
    with pytest.raises(ValueError, match="The agent's game is over; new"):
        play.watch()


def test_what_is_no_letter_loses_the_agent_a_try():
    play = WordGame(100).play(Speller("?"), secret="water").watch()
    assert (play.its.reward, play.its.guesses) == (-1, ())


@pytest.mark.parametrize("name", ["random", "mixture", "consistent", "information", "repeat"])
def test_every_scripted_player_plays(name):
    play = WordGame(30).play(name, seed=1)
    while not play.its.over:
        play.watch()
    assert play.its.reward >= -6


def test_a_wrong_guess_is_told_and_costs_nothing():
    play = WordGame(100).play()
    with pytest.raises(ValueError, match="'wat' is no guess; expected 5 letters"):
        play.guess("wat")
    with pytest.raises(ValueError, match="There is no other player; give an agent"):
        play.watch()
    assert play.mine.reward == 0
    play.new("water").guess("water")
    with pytest.raises(ValueError, match=r"The game is over; new\(\) takes another word"):
        play.guess("water")


def test_only_an_agent_can_play():
    with pytest.raises(TypeError, match=r"agent is 3 .*expected a trained agent"):
        WordGame(5).play(3)
    with pytest.raises(ValueError, match="Unknown scripted player 'rndom'"):
        WordGame(5).play("rndom")


def test_the_widgets_do_what_the_code_does():
    pytest.importorskip("ipywidgets")
    play = WordGame(100).play("consistent", secret="water", seed=0)
    bundle = play._repr_mimebundle_()
    assert {"text/plain", "text/html", "image/png", "application/vnd.jupyter.widget-view+json"} <= set(bundle)
    page = play._page
    page.word.value = "<b>"
    assert "&lt;b&gt;" in page.message.value
    assert play.mine.guesses == ()
    page.word.value = "house"
    assert (page.word.value, page.message.value, play.mine.guesses) == ("", "", ("house",))
    page.word.value = "water"
    assert page.word.disabled
    assert "solved in 2" in page.boards.value
    page.next.click()
    assert not page.word.disabled
    assert play.mine.guesses == ()
    page.see.click()
    assert len(play.its.guesses) == 1
