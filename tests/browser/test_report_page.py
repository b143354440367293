"""The drawing code on a page of its own: what is drawn where, what is saved, what a click pins."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from evolab.core.layers import DiagramLayer
from evolab.history.events import Fault
from evolab.reporting.report import write_report
from tests.browser.axe import grave_faults
from tests.browser.lab import PATIENCE
from tests.reporting.dashboard.fake import FakeExperiment, make_history

pytestmark = pytest.mark.browser

CHECKS = (Path(__file__).parent / "looks.js").read_text("utf-8")


@pytest.fixture
def page_of(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens the report of an experiment; the test fails on any error of the page."""
    contexts, errors = [], []

    def open_page(experiment: FakeExperiment, width: int = 1280, scheme: str = "light") -> Any:
        path = write_report(experiment, tmp_path / "run.html")
        context = chromium.new_context(viewport={"width": width, "height": 2400}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.goto(path.as_uri())
        page.wait_for_selector(".ev-fitness canvas")
        page.wait_for_timeout(400)  # panels are drawn one a task, then the columns are evened out
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors


def run(generations: int = 20, agents: int = 6) -> FakeExperiment:
    made = FakeExperiment(agents=agents)
    made.history = make_history(generations, agents)
    return made


def saved(page: Any, panel: str, form: str) -> str:
    """What a panel's menu saves."""
    page.locator(f".ev-{panel} .ev-save").click()
    with page.expect_download() as waiting:
        page.locator(f".ev-{panel} .ev-menu button").filter(has_text=form).click()
    path = waiting.value.path()
    return path.read_bytes().decode("latin-1" if form == "PNG" else "utf-8")


def test_confirmed_values_above_every_fitness_are_drawn_whole(page_of):
    """9.5 was a sliver at the edge, and 288 was absent."""
    experiment = run()
    highest = max(e.fitness for g in experiment.history for e in g.evaluations)
    known = experiment.history.generations
    known[6] = dataclasses.replace(known[6], confirmed=highest + 400)
    known[9] = dataclasses.replace(known[9], confirmed=12.0)
    drawing = saved(page_of(experiment), "fitness", "SVG")
    rings = re.findall(r'<path d="M([-\d.]+) ([-\d.]+)A3.8', drawing)
    assert len(rings) == 2 * 2  # filled, so that the line does not hide them, and outlined
    assert all(float(y) > 22 for _, y in rings)
    levels = {v for v in re.findall(r">(\d+)</text>", drawing)}
    assert str(600) in levels or str(800) in levels or str(500) in levels


def test_the_labels_of_the_family_tree_never_touch(page_of):
    """They said "15in training"."""
    for generations in (8, 15, 41, 120):
        drawing = saved(page_of(run(generations, 5)), "lineage", "SVG")
        labels = re.findall(
            r'<text x="([\d.]+)" y="[\d.]+" text-anchor="middle"[^>]*>([^<]+)</text>', drawing
        )
        boxes = sorted((float(x) - 3.1 * len(text), float(x) + 3.1 * len(text)) for x, text in labels)
        assert any(text == "next" for _, text in labels)
        assert all(before[1] < after[0] for before, after in zip(boxes, boxes[1:]))


def test_a_long_run_that_is_reopened_has_every_generation(page_of):
    """Its line was thinned, the older rings and the tree's slider were gone."""
    experiment = run(700, 12)
    known = experiment.history.generations
    for i in range(0, 700, 50):
        known[i] = dataclasses.replace(known[i], confirmed=known[i].fitness)
    page = page_of(experiment)
    slider = page.get_by_role("slider", name="Last generation shown")
    slider.wait_for()
    page.wait_for_function("() => Number(document.querySelector('.ev-range').min) < 60")
    drawing = saved(page, "fitness", "SVG")
    longest = max(re.findall(r'd="([^"]+)" fill="none"[^>]*stroke-width="2.2"', drawing), key=len)
    assert len(re.findall("[ML]", longest)) == len(experiment.history.lineage())
    assert len(re.findall(r"A3.8 3.8 0 1 1 [^A]+A", drawing)) == 14 * 2
    slider.focus()
    page.keyboard.press("Home")
    labels = re.findall(r'text-anchor="middle"[^>]*>(\d+)</text>', saved(page, "lineage", "SVG"))
    assert min(map(int, labels)) <= 3
    rows = list(csv.reader(io.StringIO(saved(page, "lineage", "CSV"))))
    assert {int(row[0]) for row in rows[1:]} == set(range(1, 701))


def test_the_winners_line_stays_in_its_chart_where_the_oldest_generations_have_no_room(page_of, monkeypatch):
    """It began left of the axis, across the labels."""
    monkeypatch.setattr("evolab.reporting.dashboard.store.PAST", 3_000)
    drawing = saved(page_of(run(700, 12)), "fitness", "SVG")
    longest = max(re.findall(r'd="([^"]+)" fill="none"[^>]*stroke-width="2.2"', drawing), key=len)
    assert min(float(x) for x in re.findall(r"[ML]([-\d.]+) ", longest)) >= 52


def test_a_figure_is_saved_as_picture_drawing_and_table(page_of):
    experiment = run()
    page = page_of(experiment)
    assert saved(page, "fitness", "PNG")[1:4] == "PNG"
    assert saved(page, "fitness", "SVG").startswith("<svg xmlns=")
    rows = list(csv.reader(io.StringIO(saved(page, "fitness", "CSV"))))
    assert rows[0] == [
        "generation",
        "environment steps of all agents (training + evaluation)",
        "agent",
        "fitness",
    ]
    assert len(rows) == 1 + 20 * 6
    first = experiment.history.generations[0].best
    assert rows[1][2] == str(first.agent)
    assert float(rows[1][3]) == pytest.approx(first.fitness, rel=1e-4)
    for panel in ("mutations", "hyper", "learning", "population", "lineage"):
        assert len(saved(page, panel, "CSV").splitlines()) > 3


def test_figures_of_several_charts_are_saved_as_pictures_and_drawings_too(page_of):
    """They could be saved as tables alone."""
    page = page_of(run())
    for panel, words in {
        "mutations": ("tried", "parameters", "ancestry"),
        "hyper": ("lr_actor", "network size", "hidden units"),
        "learning": ("critic loss", "expected \u2504 earned", "updates per step"),
    }.items():
        assert saved(page, panel, "PNG")[1:4] == "PNG"
        drawn = ElementTree.fromstring(saved(page, panel, "SVG"))
        texts = [node.text for node in drawn.iter("{http://www.w3.org/2000/svg}text")]
        assert all(any(word in str(text) for text in texts) for word in words), (panel, texts)
        assert "NaN" not in ElementTree.tostring(drawn, "unicode")


def test_the_tree_has_room_for_generations_that_were_larger(page_of):
    """The default begins with eight agents and goes on with four: half of the first ones lay below the tree."""
    experiment = run(12, 8)
    known = experiment.history.generations
    for i in range(4, 12):
        known[i] = dataclasses.replace(known[i], evaluations=known[i].evaluations[:4])
    drawing = saved(page_of(experiment), "lineage", "SVG")
    height = float(re.findall(r'height="([\d.]+)" viewBox', drawing)[0])
    rows = {float(y) for y in re.findall(r'd="[^"]+" transform="translate\([\d.]+ ([\d.]+)\)', drawing)}
    assert len(rows) == 8
    assert max(rows) < height - 30 - 20  # above the numbers of the generations


def test_a_click_pins_an_agent_with_what_it_was(page_of):
    experiment = run()
    page = page_of(experiment)
    best = experiment.history.generations[-1].best
    page.get_by_role("button", name=str(best.agent), exact=True).first.click()
    card = page.get_by_role("article", name=f"Agent {best.agent} in generation 20")
    words = card.inner_text()
    for part in (
        "fitness",
        "born by",
        "lr_actor",
        "hidden",
        "network size",
        "trained steps",
        "compared with",
        "expected return",
        "earned return",
        "critic loss",
        "actor loss",
    ):
        assert part in words
    with page.expect_download() as waiting:
        card.get_by_role("button", name=re.compile("^Save")).click()
    record = json.loads(waiting.value.path().read_text())
    assert record["agent"] == best.agent
    assert record["critic loss"] == pytest.approx(best.losses["critic"], rel=1e-3)
    line = f"of the line of agent {best.agent} over generations"
    for name in ("critic loss", "actor loss", "expected return"):
        assert card.get_by_role("img", name=f"{name} {line}").is_visible()
    assert record["fitness"] == pytest.approx(best.fitness, rel=1e-4)
    parent = card.get_by_title("Pin the parent")
    if parent.count():
        parent.click()
        assert page.locator(".ev-card").count() == 2
    for _ in range(page.locator(".ev-card").count()):
        page.locator(".ev-card").first.get_by_role("button", name=re.compile("^Drop")).click()
    assert page.locator(".ev-pins").is_hidden()


def test_the_table_of_a_generation_fits_a_notebook_800_pixels_wide(chromium):
    """It scrolled sideways: the last column, what became of each agent, was out of sight. An output has 632 pixels."""
    names = {"lr_actor": 8.3e-4, "lr_critic": 1.2e-3, "batch_size": 128, "discount": 0.9964}
    last = make_history(6, 4).generations[-1]
    known = [
        dataclasses.replace(
            e, hyperparameters={n: v * (1 + i / 10) for n, v in names.items()}, hidden=(64, 64 + 16 * i)
        )
        for i, e in enumerate(last.evaluations)
    ]
    page = chromium.new_page(viewport={"width": 632, "height": 400})
    table = dataclasses.replace(last, evaluations=tuple(known))._repr_html_()
    page.set_content(f"<body style='margin:0;font-family:DejaVu Sans,sans-serif'>{table}</body>")
    assert page.evaluate("() => document.querySelector('table').getBoundingClientRect().width") <= 632
    assert page.locator("th").all_inner_texts()[-2:] == ["hidden", "survives as"]
    page.close()


@pytest.mark.parametrize("width", [1280, 800])
def test_a_card_draws_stages_blocks_and_what_remembers(page_of, artifacts, width):
    """Residual blocks and pooling were not drawn, and a GRU stood there as one more hidden layer."""
    stage = [DiagramLayer("conv", 16, 3), DiagramLayer("max-pool", 16, 3, 2)]
    layers = (
        *stage,
        *2 * [DiagramLayer("residual block", 16, 3)],
        DiagramLayer("conv", 32, 5, 2, "no padding"),
    )
    layers = (*layers, DiagramLayer("linear", 256), DiagramLayer("GRU", 48))
    experiment = run(3, 4)
    for i, one in enumerate(experiment.history.generations):
        seeing = [
            dataclasses.replace(e, layers=layers if e.agent % 2 else layers[4:]) for e in one.evaluations
        ]
        experiment.history.generations[i] = dataclasses.replace(one, evaluations=tuple(seeing))
    page = page_of(experiment, width)
    best = experiment.history.generations[-1].evaluations
    agent = next(e for e in best if e.layers == layers)
    page.get_by_role("button", name=str(agent.agent), exact=True).first.click()
    card = page.get_by_role("article", name=f"Agent {agent.agent} in generation 3")
    drawn = card.get_by_role("img", name=agent.architecture)
    assert [unit.inner_text().split("\n") for unit in drawn.locator(".ev-unit").all()] == [
        ["16", "conv 3×3", "max-pool 3×3, stride 2", "2 residual blocks"],
        ["32", "conv 5×5, stride 2", "no padding"],
        ["256", "linear"],
        ["48", "GRU"],
    ]
    assert drawn.locator(".ev-pool").count() == 1
    assert drawn.locator(".ev-skip").count() == 2 + 1
    assert agent.architecture in card.inner_text()
    assert agent.architecture in page.locator(".ev-population").inner_text()
    assert "winner\u2019s layers" in page.locator(".ev-hyper").inner_text()
    assert page.get_by_text("residual blocks").first.is_visible()
    page.screenshot(path=artifacts / f"report-layers-{width}.png")
    assert page.evaluate(f"() => eval({json.dumps(CHECKS)})") == {
        "sideways": [], "overlaps": [], "clipped": [], "contrast": [],
    }  # fmt: skip
    assert not grave_faults(page)


def test_the_family_tree_pins_by_mouse_and_by_keyboard(page_of):
    page = page_of(run())
    chart = page.locator(".ev-lineage .ev-chart")
    chart.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert page.locator(".ev-card").count() == 1
    chart.click(position={"x": 20, "y": 20})
    assert page.locator(".ev-card").count() == 2


def test_the_family_tree_zooms_and_is_dragged(page_of):
    page = page_of(run(80, 6))
    chart, slider = page.locator(".ev-lineage .ev-chart"), page.locator(".ev-range")

    def shown() -> list[int]:
        drawing = saved(page, "lineage", "SVG")
        return [int(n) for n in re.findall(r'text-anchor="middle"[^>]*>(\d+)</text>', drawing)]

    before = shown()
    page.get_by_role("button", name="More generations, smaller").click()
    assert min(shown()) < min(before)
    chart.focus()
    page.keyboard.press("+")
    assert shown() == before
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 480, box["y"] + 60, steps=4)
    page.mouse.up()
    assert max(shown()) < max(before)
    assert int(slider.input_value()) < 80
    assert page.locator(".ev-card").count() == 0  # a drag is no click


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800])
def test_large_numbers_and_long_names_stay_inside_their_cards(page_of, artifacts, width, scheme):
    """At three digits "in line" left its card; at 800 pixels the population's last column was cut."""
    experiment = run(40, 12)
    experiment.name = "ALE/SpaceInvadersNoFrameskip-v4 with a long name"
    names = (
        "entropy_coefficient",
        "clip_range",
        "target_entropy_scale",
        "polyak",
        "learn_step",
        "policy_delay",
    )
    known = experiment.history.generations
    for i, generation in enumerate(known):
        evaluations = tuple(
            dataclasses.replace(
                e,
                fitness=1234.5 * e.fitness,
                hidden=(*e.hidden, *e.hidden),
                hyperparameters={
                    **e.hyperparameters,
                    **{n: 1e-4 * (j + 1 + e.agent % 3) for j, n in enumerate(names)},
                },
            )
            for e in generation.evaluations
        )
        known[i] = dataclasses.replace(generation, evaluations=evaluations, confirmed=evaluations[0].fitness)
    page = page_of(experiment, width, scheme)
    page.locator(".ev-population .ev-link").nth(0).click()
    page.locator(".ev-population .ev-link").nth(2).click()
    page.wait_for_timeout(300)
    page.screenshot(path=artifacts / f"report-large-{scheme}-{width}.png")
    assert page.evaluate(f"() => eval({json.dumps(CHECKS)})") == {
        "sideways": [], "overlaps": [], "clipped": [], "contrast": [],
    }  # fmt: skip
    cut = """() => { const box = document.querySelector(".ev-population .ev-scroll").getBoundingClientRect();
        return [...document.querySelectorAll(".ev-population td")].filter(n => n.checkVisibility()
            && n.getBoundingClientRect().right > box.right + 1).length; }"""
    assert page.evaluate(cut) == 0
    assert not grave_faults(page)


def test_values_stand_beside_returns_with_updates_and_faults(page_of):
    experiment = run(20, 6)
    page = page_of(experiment)
    words = page.locator(".ev-learning").inner_text()
    for part in (
        "critic loss",
        "episode length",
        "expected \u2504 earned",
        "updates per step",
        "No faults",
    ):
        assert part in words
    rows = list(csv.reader(io.StringIO(saved(page, "learning", "CSV"))))
    last, best = dict(zip(rows[0], rows[-1])), experiment.history.generations[-1].best
    assert float(last["expected return"]) == pytest.approx(best.value, rel=1e-3)
    assert float(last["earned return"]) == pytest.approx(best.discounted, rel=1e-3)


def test_the_columns_end_together(page_of):
    page = page_of(run(40, 12))
    page.wait_for_timeout(600)  # the film's picture comes later and moves the right column
    ends = page.evaluate(
        "() => ['.ev-left', '.ev-right'].map(s => document.querySelector(s).lastChild.getBoundingClientRect().bottom)"
    )
    assert abs(ends[0] - ends[1]) < 4


def test_hyperparameters_are_drawn_in_one_way_and_say_which(page_of):
    """Bars became dots in the middle of a chart, unexplained."""
    few = page_of(run(10, 6)).locator(".ev-hyper .ev-side").inner_text()
    assert few.endswith("grey: every agent")
    many = page_of(run(200, 12)).locator(".ev-hyper .ev-side").inner_text()
    assert many.endswith("grey: lowest to highest agent")


def test_totals_count_evaluation_with_the_split_beside_it(page_of):
    tiles = page_of(run(20, 6)).locator(".ev-tiles").inner_text()
    assert "environment steps" in tiles
    assert "132k" in tiles
    assert "120k training + 12k evaluation" in tiles


def test_survived_faults_are_counted(page_of):
    experiment = run()
    known = experiment.history.generations
    known[3] = dataclasses.replace(
        known[3], faults=(Fault(4, 1, "timeout", "slow"), Fault(4, 2, "timeout", "slow"))
    )
    assert "2 \u00d7 timeout" in page_of(experiment).locator(".ev-learning .ev-foot").inner_text()


def test_a_run_without_generations_says_what_will_be_there(page_of, tmp_path, chromium):
    path = write_report(FakeExperiment(), tmp_path / "empty.html")
    page = chromium.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector(".ev-empty")
    words = page.locator(".ev-empty:visible").all_inner_texts()
    page.close()
    assert len(words) >= 6
    assert len(set(words)) == len(words)
    assert sum(text.startswith("Here will be") for text in words) >= 6


def test_a_slider_goes_back_through_the_generations(page_of):
    experiment = run(generations=30)
    then = experiment.history.generations[11]
    page = page_of(experiment)
    slider = page.get_by_label("Generation shown", exact=True)
    effects = page.locator(".ev-effects").inner_text()
    slider.fill("12")
    page.wait_for_timeout(500)
    assert page.locator(".ev-back output").inner_text() == "12 of 30"
    assert page.locator(".ev-population .ev-side").inner_text() == "generation 12"
    first = page.locator(".ev-population tbody tr").first.inner_text()
    assert first.split()[0] == str(then.best.agent)
    assert page.locator(".ev-tiles b").first.inner_text() == "12"
    assert page.locator(".ev-effects").inner_text() != effects
    slider.press("ArrowLeft")
    page.wait_for_timeout(500)
    assert page.locator(".ev-population .ev-side").inner_text() == "generation 11"
    page.get_by_role("button", name="Newest").click()
    page.wait_for_timeout(500)
    assert page.locator(".ev-population .ev-side").inner_text() == "generation 30"
    assert page.locator(".ev-effects").inner_text() == effects


def test_a_card_says_what_changed_along_the_line_and_what_the_agent_was_compared_with(page_of):
    experiment = run(generations=30)
    page = page_of(experiment)
    page.locator(".ev-population tbody button").first.click()
    card = page.locator(".ev-card").inner_text()
    assert "5 others of its generation: best" in card
    births = [birth for _, birth in experiment.history.ancestry() if birth]
    line = [birth for birth in births if birth.agent != birth.parent and birth.kind != "none"]
    told = page.locator(".ev-steps li").all_inner_texts()
    assert [int(text.split()[0]) for text in told[:8]] == [birth.generation + 1 for birth in line[::-1][:8]]
