"""A panel of one's own: a class with one method, examined before it is drawn."""

from __future__ import annotations

from typing import Any

import pytest

from evolab.reporting.dashboard.feed import Feed
from evolab.reporting.dashboard.panel import LARGEST, Panel, Snapshot, checked
from tests.reporting.dashboard.fake import FakeExperiment, make_history


class Given(Panel):
    title = "Mine"

    def __init__(self, data: Any) -> None:
        self.given = data

    def data(self, snapshot: Snapshot) -> dict[str, Any]:
        return self.given


SNAPSHOT = Snapshot(tuple(make_history(4)), 200.0, "FakeLander-v1", "TD3")
FORMS = [
    {"form": "lines", "x": [1, 2, 3], "lines": {"a": [1.0, None, 2.0], "b": [0, 1, 2]}},
    {"form": "bars", "bars": {"relu": 3, "elu": 1.5}},
    {"form": "table", "columns": ["name", "value"], "rows": [["a", 1.0]]},
    {"form": "text", "text": "two\nlines"},
]


@pytest.mark.parametrize("data", FORMS, ids=lambda d: d["form"])
def test_each_form_passes_and_has_a_still_picture(data):
    assert checked(Given(data), SNAPSHOT) == data
    assert Given(data).picture(SNAPSHOT).size[0] > 0


def test_before_the_first_generation_a_panel_says_what_to_do():
    assert "exp.step()" in checked(Given({}), Snapshot(()))["text"]


def test_an_unknown_form_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"form 'pie'; a page can draw lines, bars, table, text"):
        checked(Given({"form": "pie"}), SNAPSHOT)


def test_a_missing_part_is_named():
    with pytest.raises(ValueError, match="'lines' without 'lines'"):
        checked(Given({"form": "lines", "x": []}), SNAPSHOT)


def test_a_panel_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match=f"at most {LARGEST}"):
        checked(Given({"form": "text", "text": "x" * 30_000}), SNAPSHOT)


def test_values_that_are_not_json_are_refused():
    with pytest.raises(TypeError, match=r"Given\.data must give numbers, strings, lists and dicts"):
        checked(Given({"form": "text", "text": object()}), SNAPSHOT)


def test_a_panel_that_fails_says_so_in_its_own_box_and_leaves_the_others():
    experiment = FakeExperiment(cost=0)
    experiment.step()
    feed = Feed(experiment, [Given({"form": "pie"}), Given(FORMS[1])])
    boxes = feed.frame(0)["custom"]
    assert boxes[0]["data"]["text"].startswith("ValueError: Given.data gave form 'pie'")
    assert boxes[1]["data"] == FORMS[1]
