"""Figures are plain plotly, say what to do when empty, and show everything escaped."""

from __future__ import annotations

import dataclasses

import pytest

from evolab.core.layers import DiagramLayer, linear
from evolab.history.events import Birth
from evolab.history.history import History
from evolab.reporting.figures.layout import hover_text
from evolab.reporting.figures.plot import Plot
from tests.reporting.dashboard.fake import make_history

FIGURES = ("fitness", "hyperparameters", "lineage", "mutations", "losses")


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


def test_a_logarithmic_axis_has_few_whole_labels():
    """They were lone digits: "5", "2", "100", "5"."""
    history = make_history(9)
    known = history.generations
    for i, generation in enumerate(known):
        known[i] = dataclasses.replace(generation, losses={"critic": 3.0 * 2**i})
    plot = Plot(history, 200.0)
    for figure in (plot.losses(), plot()):
        axes = [figure.layout[key] for key in figure.layout if key.startswith("yaxis")]
        labels = [axis.ticktext for axis in axes if axis.type == "log"]
        assert ("5", "10", "50", "100", "500") in labels


def test_fitness_draws_the_target_and_the_winners_line():
    history = make_history(9)
    figure = Plot(history, 200.0).fitness("generations")
    line = next(trace for trace in figure.data if trace.name == "winner's ancestry")
    assert list(line.x) == list(history.lineage()["generation"])
    assert list(line.y) == list(history.lineage()["fitness"])
    assert figure.layout.shapes[0].y0 == 200.0


def test_fitness_draws_what_fresh_episodes_confirmed():
    generations = list(make_history(4))
    generations[2] = dataclasses.replace(generations[2], confirmed=494.0)
    figure = Plot(History(generations), 475.0).fitness("generations")
    ring = next(trace for trace in figure.data if trace.name == "mean of fresh episodes")
    assert (list(ring.x), list(ring.y)) == ([3], [494.0])
    assert "mean of fresh episodes" not in {trace.name for trace in Plot(make_history(4)).fitness().data}


def test_generations_are_whole_on_every_axis():
    """Of four generations the overview's axis said 1.5, 2.5 and 3.5."""
    plot = Plot(make_history(4))
    for chart in (plot(), plot.losses(), plot.hyperparameters(), plot.lineage(), plot.fitness("generations")):
        assert float(chart.layout.xaxis.dtick) == 1
    assert float(Plot(make_history(40)).losses().layout.xaxis.dtick) == 10


def test_a_single_generation_has_an_axis_of_steps_that_begins_at_nothing():
    """Around a single value the ticks were 3,999.5 and 4,000.5; and updates were called environment steps."""
    (only,) = make_history(1, 4).generations
    chart = Plot(History([only])).fitness()
    assert chart.layout.xaxis.range[0] == 0
    assert "environment steps" in chart.layout.xaxis.title.text
    recorded = dataclasses.replace(
        only, evaluations=tuple(dataclasses.replace(e, steps=0) for e in only.evaluations)
    )
    assert Plot(History([recorded])).fitness().layout.xaxis.title.text == "updates of all agents"


def test_fitness_refuses_an_unknown_axis():
    with pytest.raises(ValueError, match="axis is 'hours'"):
        Plot(make_history(2)).fitness("hours")


def test_every_kind_has_its_own_shape_and_no_kind_the_winners_colour():
    from evolab.reporting.figures.colours import KINDS, OTHER, UNCHANGED, WINNER

    mutated = [look for kind, look in KINDS.items() if kind not in ("first", "none", *UNCHANGED)]
    assert len({look.symbol for look in [*KINDS.values(), OTHER]}) == len(KINDS) + 1
    assert len({look.light for look in mutated}) == len(mutated)
    assert WINNER[0] not in {look.light for look in [*KINDS.values(), OTHER]}


def test_the_style_sheet_and_the_figures_agree_on_colours():
    from evolab.reporting.dashboard.page import style
    from evolab.reporting.figures.colours import CLOUD, KINDS, OTHER, UNCHANGED, WINNER

    sheet = style()
    for name, light, dark in [(k, *v[1:3]) for k, v in KINDS.items()] + [
        ("winner", *WINNER),
        ("cloud", *CLOUD),
    ]:
        variable = "none" if name in ("first", *UNCHANGED) else name
        assert f"--ev-{variable}: {light}" in sheet
        assert f"--ev-{variable}: {dark}" in sheet
    assert f"--ev-other: {OTHER.light}" in sheet


def test_losses_are_those_of_the_history_on_an_axis_that_fits():
    history = make_history(60)
    figure = Plot(history).losses()
    assert list(figure.data[0].y) == [g.losses["critic"] for g in history]
    assert list(figure.data[1].y) == [g.best.value for g in history]
    assert list(figure.data[2].y) == [g.best.discounted for g in history]
    assert figure.data[2].line.dash == "dot"
    assert figure.layout.yaxis.type == "log"  # from 1 to 1/60
    assert list(figure.data[3].y) == [g.best.length for g in history]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_stands_on_a_dark_page_as_on_a_white_one(name):
    """Figures stayed white in the dark theme."""
    layout = getattr(Plot(make_history(12), 200.0), name)().layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
    colours = [layout.font.color, *(line.line.color for line in layout.shapes)]
    for colour in (c for c in colours if c and c.startswith("#")):
        for page in ("#ffffff", "#111111"):
            assert contrast(colour, page) > (4.0 if colour == layout.font.color else 2.9)


def test_who_came_from_another_island_is_joined_to_its_home_by_an_arc():
    generations = make_history(3).generations
    first = generations[0]
    births = tuple(
        dataclasses.replace(b, kind="migrated") if i == 1 else b for i, b in enumerate(first.births)
    )
    history = History([dataclasses.replace(first, births=births), *generations[1:]])
    (arcs,) = [trace for trace in Plot(history).lineage().data if trace.name == "migration"]
    ranks = {e.agent: rank + 1 for rank, e in enumerate(generations[1].evaluations)}
    assert arcs.x == (1, 1.5, 2, None)
    assert arcs.y[2] == ranks[births[1].agent]
    assert arcs.y[1] < min(arcs.y[0], arcs.y[2])
    assert "migration" not in {trace.name for trace in Plot(make_history(3)).lineage().data}
    shown = str(Plot(history).mutations().data)
    assert "another island" not in shown  # it brought what it was, and no gain


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_hover_texts_are_escaped():
    history = make_history(3)
    bad = "<b onclick=x>"
    second = history.generations[1]
    births = tuple(Birth(b.generation, b.agent, b.parent, bad, bad) for b in second.births)
    history.generations[1] = dataclasses.replace(second, births=births)
    for name in FIGURES:
        assert "<b onclick" not in getattr(Plot(history), name)().to_json().replace("\\u003c", "<")


def test_a_hover_has_the_layers_of_what_is_no_plain_perceptron_in_words():
    """A network that remembers was two widths: "hidden 64×48"."""
    plain = dataclasses.replace(make_history(1).generations[0].best, hidden=(64, 48))
    seeing = (DiagramLayer("conv", 16, 3, 2), *linear([64]), DiagramLayer("GRU", 48))
    remembering = dataclasses.replace(plain, hidden=(16, 64, 48), layers=seeing)
    assert hover_text(plain).split("<br>")[-1].startswith("hidden 64×48, network size ")
    last = hover_text(remembering).split("<br>")[-1]
    assert last.startswith("layers conv 16 (3×3, stride 2) → 64 → GRU 48, network size ")
