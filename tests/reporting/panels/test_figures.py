"""Figures are plain plotly, say what to do when empty, and show everything escaped."""

from __future__ import annotations

import dataclasses

import pytest

from evolab.history.events import Birth
from evolab.history.history import History
from evolab.reporting.panels.panel import Plot
from tests.reporting.panels.fake import make_history

FIGURES = ("fitness", "hyperparameters", "lineage", "mutations")


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_plain_and_needs_no_webgl(name):
    figure = getattr(Plot(make_history(12), 200.0), name)()
    assert type(figure).__name__ == "Figure"
    assert {trace.type for trace in figure.data} == {"scatter"}
    assert len(figure.to_json()) < 200_000


@pytest.mark.parametrize("name", FIGURES)
def test_an_empty_history_gives_a_figure_that_says_what_to_do(name):
    figure = getattr(Plot(History()), name)()
    assert not figure.data
    assert "exp.step()" in figure.layout.annotations[0].text


@pytest.mark.parametrize("name", FIGURES)
def test_one_generation_is_enough_for_no_error(name):
    getattr(Plot(make_history(1)), name)()


def test_fitness_draws_the_target_and_the_winners_line():
    history = make_history(9)
    figure = Plot(history, 200.0).fitness("generations")
    line = next(trace for trace in figure.data if trace.name == "winner's ancestry")
    assert list(line.x) == list(history.lineage()["generation"])
    assert list(line.y) == list(history.lineage()["fitness"])
    assert figure.layout.shapes[0].y0 == 200.0


def test_fitness_refuses_an_unknown_axis():
    with pytest.raises(ValueError, match="axis is 'hours'"):
        Plot(make_history(2)).fitness("hours")


def test_every_kind_has_its_own_shape_and_no_kind_the_winners_colour():
    from evolab.reporting.panels.colours import KINDS, OTHER, WINNER

    mutated = [look for kind, look in KINDS.items() if kind not in ("first", "elite", "none")]
    assert len({look.symbol for look in [*KINDS.values(), OTHER]}) == len(KINDS) + 1
    assert len({look.light for look in mutated}) == len(mutated)
    assert WINNER[0] not in {look.light for look in [*KINDS.values(), OTHER]}


def test_the_style_sheet_and_the_figures_agree_on_colours():
    from evolab.reporting.panels.colours import CLOUD, KINDS, OTHER, WINNER
    from evolab.reporting.panels.page import style

    sheet = style()
    for name, light, dark in [(k, *v[1:3]) for k, v in KINDS.items()] + [
        ("winner", *WINNER),
        ("cloud", *CLOUD),
    ]:
        variable = {"first": "none", "elite": "none", "revived": "none"}.get(name, name)
        assert f"--ev-{variable}: {light}" in sheet
        assert f"--ev-{variable}: {dark}" in sheet
    assert f"--ev-other: {OTHER.light}" in sheet


def test_hover_texts_are_escaped():
    history = make_history(3)
    bad = "<b onclick=x>"
    second = history.generations[1]
    births = tuple(Birth(b.generation, b.agent, b.parent, bad, bad) for b in second.births)
    history.generations[1] = dataclasses.replace(second, births=births)
    for name in FIGURES:
        assert "<b onclick" not in getattr(Plot(history), name)().to_json().replace("\\u003c", "<")
