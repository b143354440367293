"""The report is one page that needs nothing else, with everything escaped."""

from __future__ import annotations

import dataclasses
import re

import pytest

from evolab.core.layers import DiagramLayer, linear
from evolab.reporting.report import write_report
from tests.reporting.dashboard.fake import FakeExperiment


@pytest.fixture
def experiment() -> FakeExperiment:
    made = FakeExperiment(agents=5, cost=0)
    made.run(8)
    return made


def test_it_fetches_nothing(experiment, tmp_path):
    text = write_report(experiment, tmp_path / "run.html").read_text("utf-8")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", text)
    assert "import " not in re.findall(r'<script type="module">(.*?)</script>', text, re.S)[0].replace(
        "import.meta", ""
    )
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}


def test_it_holds_curves_effects_schedule_episode_and_configuration(experiment, tmp_path):
    text = write_report(experiment, tmp_path / "run.html").read_text("utf-8")
    for words in (
        "What mutations brought",
        "schedule",
        "Configuration",
        "data:image/webp",
        '"population": 5',
    ):
        assert words in text.replace("&quot;", '"')


def test_a_schedule_has_layers_in_words_and_no_genes(experiment, tmp_path):
    """The genes, from which a run is replayed, filled the page."""
    remembering = {
        "hidden": (64, 48),
        "layers": (*linear([64]), DiagramLayer("GRU", 48)),
        "genes": {"encoder": {"hidden": [64]}, "units": 48},
    }
    known = experiment.history.generations
    for i, generation in enumerate(known):
        evaluations = (dataclasses.replace(e, **remembering) for e in generation.evaluations)
        known[i] = dataclasses.replace(generation, evaluations=tuple(evaluations))
    text = write_report(experiment, tmp_path / "run.html").read_text("utf-8")
    schedule = re.findall(r"schedule</h2>(.*?)<h2", text, re.S)[0]
    assert ">layers</th>" in schedule
    assert schedule.count("64 → GRU 48") == len(experiment.history.schedule())
    for raw in ("genes", "encoder", "64x48"):
        assert raw not in schedule


def test_everything_is_escaped(experiment, tmp_path):
    bad = "</script><script>alert(1)</script>"
    experiment.name, experiment.config = bad, {"env": bad}
    text = write_report(experiment, tmp_path / "run.html").read_text("utf-8")
    assert "<script>alert" not in text
    assert text.count("</script>") == 2


def test_a_run_without_generations_still_has_a_page(tmp_path):
    text = write_report(FakeExperiment(), tmp_path / "run.html").read_text("utf-8")
    assert "exp.step()" in text


def test_an_environment_without_pictures_still_has_a_report(experiment, tmp_path, monkeypatch):
    def fail(**_: object) -> None:
        raise ValueError("no pictures")

    monkeypatch.setattr(experiment, "rollout", fail)
    assert write_report(experiment, tmp_path / "run.html").stat().st_size > 20_000


def test_it_lies_in_the_runs_folder(experiment, tmp_path, monkeypatch):
    """It landed in the working directory though the run had a folder."""
    monkeypatch.chdir(tmp_path)
    assert write_report(experiment).resolve() == tmp_path / "report.html"
    experiment.kept = tmp_path / "run"
    assert write_report(experiment).resolve() == tmp_path / "report.html"  # nothing is kept there yet
    experiment.kept.mkdir()
    assert write_report(experiment) == tmp_path / "run" / "report.html"


def test_a_missing_folder_is_named(experiment, tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        write_report(experiment, tmp_path / "nowhere" / "run.html")
