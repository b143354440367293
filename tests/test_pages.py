"""The documentation: it builds without a warning, offline, and what it shows works."""

from __future__ import annotations

import html.parser
import json
import re
import subprocess
import sys
from contextlib import closing
from importlib import util
from pathlib import Path

import pytest

import evolab as ev
from evolab import __main__
from evolab.core import registry
from evolab.reporting import documentation as pages
from tests.browser.axe import grave_faults

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "tutorials" / "pages"

needs_sphinx = pytest.mark.skipif(
    util.find_spec("sphinx") is None, reason="the pages need the extra docs or test"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages, built as `evolab docs --strict` builds them, in a process without a network."""
    out = tmp_path_factory.mktemp("pages")
    program = (
        "import socket, sys\n"
        "def refused(*_): raise OSError('the pages are built without a network')\n"
        "socket.socket.connect = refused\n"
        "from evolab.__main__ import main\n"
        "sys.exit(main(['docs', '--no-open', '--strict', '--out', sys.argv[1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(out)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert Path(done.stdout.strip().splitlines()[-1]).is_file()
    return out / "html"


class Links(html.parser.HTMLParser):
    """Addresses that a page asks for, and the places within it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        if known.get("id"):
            self.places.add(known["id"])
        if tag == "a" and known.get("href"):
            self.asked.append(known["href"])
        if tag in ("img", "script", "link", "iframe", "source") and known.get("rel") != "canonical":
            self.loaded += [known[name] for name in ("src", "href") if known.get(name)]


def read(page: Path) -> Links:
    found = Links()
    found.feed(page.read_text("utf-8"))
    return found


@needs_sphinx
def test_every_link_between_pages_leads_to_a_place(site):
    known = {page.resolve(): read(page) for page in site.rglob("*.html") if "_static" not in page.parts}
    dead = []
    for page, links in known.items():
        for link in [*links.asked, *links.loaded]:
            if re.match(r"[a-z]+:", link):
                continue
            file, _, place = link.partition("?")[0].partition("#")
            target = (page.parent / file).resolve() if file else page
            if not target.is_file() or (place and target in known and place not in known[target].places):
                dead.append(f"{page.relative_to(site)}: {link}")
    assert not dead


@needs_sphinx
def test_pages_load_nothing_from_anywhere(site):
    fetched = [
        f"{page.relative_to(site)}: {link}"
        for page in site.rglob("*.html")
        for link in read(page).loaded
        if re.match(r"(https?:)?//", link)
    ]
    assert not fetched


@needs_sphinx
def test_every_public_name_and_every_algorithm_has_its_place(site):
    folder = site / "tutorials" / "pages"
    places = set().union(*(read(page).places for page in (folder / "reference").glob("*.html")))
    assert {f"evolab.{name}" for name in ev.__all__} - places == {
        "evolab.envs",
        "evolab.panels",
        "evolab.testing",
    }
    for name in ("DQN", "DDPG", "TD3", "SAC", "PPO", "CQN", "TD3BC", "BC", "ILQL"):
        page = (folder / "algorithms" / f"{name.lower()}.html").read_text("utf-8")
        assert "<math" in page
        assert "Source" in page
        assert 'class="chart"' in page
        assert all(f">{one}<" in page for one in getattr(ev, name).hyperparameters)


def test_a_page_that_counts_the_algorithms_counts_those_that_there_are():
    """It said eleven of twelve."""
    row = next(
        line
        for line in (SOURCES / "comparison.md").read_text("utf-8").splitlines()
        if "| algorithms |" in line
    )
    assert int(row.split("|")[2]) == len(registry.PARTS["algorithm"])


@needs_sphinx
def test_a_notebook_s_page_shows_what_was_committed(site):
    page = (site / "tutorials" / "quickstart.html").read_text("utf-8")
    assert "evolab in five minutes" in page
    assert 'type="application/json"' in page  # a figure, as data
    assert "application/vnd.jupyter.widget" not in page


@needs_sphinx
def test_a_broken_link_and_a_missing_docstring_fail_the_build(tmp_path, monkeypatch):
    root = tmp_path / "root"
    folder = root / "tutorials" / "pages"
    folder.mkdir(parents=True)
    for name in ("mathml.py", "reference.py", "charts.py", "directives.py", "drawing.py", "conf.py"):
        (folder / name).write_text((SOURCES / name).read_text("utf-8"))
    (folder / "static").mkdir()
    (folder / "index.md").write_text(
        "# Here\n\n[nowhere](nowhere.md)\n\n```{eval-rst}\n.. autofunction:: silent.f\n```\n"
    )
    (folder / "silent.py").write_text("def f():\n    pass\n")
    program = (
        "import pathlib, sys\nfrom evolab.reporting import documentation as pages\n"
        "root, out = map(pathlib.Path, sys.argv[1:])\n"
        "pages.sources = lambda: root\n"
        "try:\n    pages.build(out, strict=True)\nexcept ValueError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(root), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert "Sphinx says above what is wrong" in done.stdout, done.stderr[-2000:]
    assert "nowhere.md" in done.stderr
    assert "silent.f has no docstring" in done.stderr
    assert "the reference does not list evolab.Experiment" in done.stderr


LOOKED_AT = (
    "tutorials/pages/index",
    "tutorials/pages/how_it_works",
    "tutorials/pages/comparison",
    "tutorials/pages/algorithms/sac",
    "tutorials/pages/howto/own_parts",
    "tutorials/pages/reference/experiment",
    "tutorials/quickstart",
    "notebooks/performance",
)


@needs_sphinx
@pytest.mark.browser
@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (800, "dark")])
def test_pages_fit_their_window_and_nothing_fails_in_a_browser(site, chromium, width, theme):
    trouble = []
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    with closing(context):
        page = context.new_page()
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda m: trouble.append(m.text) if m.type == "error" else None)
        page.on("requestfailed", lambda request: trouble.append(request.url))
        for name in LOOKED_AT:
            page.goto((site / f"{name}.html").as_uri())
            page.wait_for_function("document.documentElement.dataset.theme")
            assert page.evaluate("document.documentElement.dataset.theme") == theme
            if page.locator(".figure-data").count():
                page.wait_for_selector(".figure-data .main-svg", state="attached", timeout=60_000)
            over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert over <= 0, f"{name} is {over} pixels wider than the window"
            trouble += [f"{name}: {fault}" for fault in grave_faults(page)]
    assert not trouble


@pytest.mark.parametrize("name", ["own_environment", "own_network"])
def test_the_classes_of_a_how_to_work_as_they_stand(name, tmp_path):
    text = (SOURCES / "howto" / f"{name}.md").read_text("utf-8")
    (program,) = [
        one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "import evolab" in one
    ]
    if "exp.run" not in program:
        program += "\nexp.run(generations=1)"
    small = "num_envs=1, steps_per_generation=60, progress=False, seed=1"
    program = program.replace("population=2, seed=1", "seed=1").replace("seed=1", f"population=2, {small}")
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_without_sphinx_the_extra_is_named(capsys, monkeypatch):
    monkeypatch.setattr(pages.util, "find_spec", lambda name: None)
    assert __main__.main(["docs", "--no-open"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert 'pip install "evolab[docs]"' in said


def test_where_there_are_no_sources_the_clone_is_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(pages, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    monkeypatch.setattr(pages.metadata, "files", lambda name: [])
    monkeypatch.setattr(pages.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(FileNotFoundError, match="They are in a clone of evolab"):
        pages.sources()


def test_a_notebook_for_a_page_needs_no_kernel():
    figure = {"data": [], "layout": {"title": "</script>"}}
    cells = [
        {
            "cell_type": "code",
            "outputs": [
                {"output_type": "display_data", "data": {pages.WIDGET: {}, "text/plain": "Dashboard()"}},
                {"output_type": "display_data", "data": {pages.FIGURE: figure, "image/png": "x"}},
            ],
        }
    ]
    made = pages.for_a_page({"metadata": {"widgets": {}}, "cells": cells})
    (output,) = made["cells"][0]["outputs"]
    assert made["metadata"] == {}
    assert pages.FIGURE not in output["data"]
    assert output["data"]["text/html"].count("</script>") == 1
    inside = re.search(r"json\">(.*)</script>", output["data"]["text/html"]).group(1)
    assert json.loads(inside) == figure


BLOCK = re.compile(r"```\{code-block\} \w+\n:caption: (\S+)\n\n(.*?)```", re.DOTALL)


def test_the_package_of_the_page_about_own_parts_works_as_it_stands(tmp_path):
    blocks = dict(BLOCK.findall((SOURCES / "howto" / "own_parts.md").read_text("utf-8")))
    assert set(blocks) == {"pyproject.toml", "pole_parts.py", "use.py", "test_pole_parts.py"}
    package, site = tmp_path / "package", tmp_path / "site"
    package.mkdir()
    for name, text in blocks.items():
        (package / name).write_text(text)
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
    ]
    subprocess.run([*install, "--target", str(site), str(package)], check=True, capture_output=True)
    program = (
        (package / "use.py").read_text()
        + "\nassert [type(one).__name__ for one in board._feed.panels] == ['Spread']"
        + "\nassert 'spread' in board._feed.panels[0].data(ev.panels.Snapshot(exp.history.generations))['lines']"
        + "\nfrom evolab.core.registry import part, names"
        + "\nassert 'Residual' in names('network')"
        + "\nnet = ev.Experiment('CartPole-v1', network=part('network', 'Residual')(width=16), population=2, seed=1)"
        + "\nnet.save('net'); assert ev.Experiment.load('net').population.network.width == 16"
        + "\nimport test_pole_parts; test_pole_parts.test_parts_keep_their_contracts()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            "PYTHONPATH": f"{ROOT}:{site}:{package}",
            "PATH": "/usr/bin:/bin",
            "OMP_NUM_THREADS": "1",
            "HOME": str(tmp_path),
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-2:] == ["SoftQ()", "Ladder(window=1, by='mean', warmup=0, interval=1)"]
