"""A notebook that showed the dashboard is worth looking at without a kernel."""

from __future__ import annotations

import base64
import io
import re

import pytest
from PIL import Image

from tests.reporting.dashboard.fake import FakeExperiment

CELLS = [
    "from tests.reporting.dashboard.fake import FakeExperiment\nfrom evolab.reporting.panels import Dashboard\nimport time\n"
    "exp = FakeExperiment(agents=4, cost=0)\nboard = Dashboard(exp)\nboard",
    "exp.run(5)\nboard.record()\nwhile not board.rollout or board.kept != board.rest:\n    time.sleep(0.1)",
    "exp.history.generations[-1]",
]


@pytest.fixture(scope="module")
def executed():
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    return notebook


def test_the_still_beside_the_widget_follows_the_run(executed):
    outputs = executed.cells[0]["outputs"]
    still = next(o for o in outputs if "text/html" in o["data"])["data"]["text/html"]
    assert still.count("data:image/png") == 2  # chart and episode
    assert "Generation 5" in still
    picture = base64.b64decode(re.findall(r"base64,([^\"]+)", still)[0])
    with Image.open(io.BytesIO(picture)) as image:
        assert image.size[0] == 1520


def test_a_text_reader_gets_words(executed):
    widget = next(
        o for o in executed.cells[0]["outputs"] if "application/vnd.jupyter.widget-view+json" in o["data"]
    )
    # It said "no generation yet" above the picture of generation 5.
    assert widget["data"]["text/plain"] == "Dashboard(FakeLander-v1)"
    still = next(o for o in executed.cells[0]["outputs"] if "text/html" in o["data"])
    assert still["data"]["text/plain"].startswith("5 generations of 4 agents")


def test_a_generation_is_a_table_in_both_worlds(executed):
    data = executed.cells[2]["outputs"][0]["data"]
    assert "<table" in data["text/html"]
    assert "survives as" in data["text/plain"]


def test_nbconvert_shows_the_curves_and_the_episode(executed):
    nbconvert = pytest.importorskip("nbconvert")
    html, _ = nbconvert.HTMLExporter().from_notebook_node(executed)
    assert html.count("data:image/png;base64") >= 2
    assert "Generation 5" in html


def test_the_state_that_a_headless_run_saves_is_the_last_one(executed):
    models = executed.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
    state = next(m["state"] for m in models if "twin" in m["state"])
    assert state["state"]["rows"][-1]["n"] == 5
    assert state["rollout"]["source"].startswith("data:image/")


def test_a_run_that_ends_with_the_last_cell_leaves_no_older_picture():
    """A headless run takes nothing that comes after a cell: the picture was one generation old."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    cells = [CELLS[0], "exp.run(4)", "exp.step()"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    still = next(o for o in notebook.cells[0]["outputs"] if "text/html" in o["data"])["data"]["text/html"]
    assert "Generation 5" in still


def test_the_experiments_own_bundle_is_the_dashboards():
    from evolab.reporting.dashboard.dashboard import Dashboard

    board = Dashboard(FakeExperiment(cost=0))
    assert "No generation yet" in board._repr_mimebundle_()["text/html"]
    board.close()
