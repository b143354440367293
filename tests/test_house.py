"""The habits of the house, kept by machine: small files, few names, no hidden state, honest papers."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import evolab

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "evolab"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TUTORIALS = sorted((ROOT / "tutorials").glob("*.ipynb"))
NOTEBOOKS = TUTORIALS + sorted((ROOT / "notebooks").glob("*.ipynb"))
TEXTS = [
    path
    for path in sorted(ROOT.rglob("*"))
    if path.suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".js", ".css", ".ipynb"}
    and not any(
        part.startswith(".") or part in {"runs", "artifacts", "build"}
        for part in path.relative_to(ROOT).parts
    )
]

LINES = 300
"""A file has fewer, docstrings, comments and blank lines counted."""

ANY = 112
"""Parameters whose type may be `Any`, at most: what is left are objects of libraries without types, and files' content."""

FOREIGN = {
    "core/checks.py": "NumPy's booleans, which need no NumPy to be known",
    "core/device.py": "names in torch",
    "core/experience.py": "what a user's own loop hands over: any object with these fields",
    "core/machine_memory.py": "what the system's mmap can do",
    "core/plain_values.py": "scalars of NumPy and torch",
    "core/shown.py": "functions have a name, other objects have none",
    "data/datasets/d3rlpy.py": "h5py's groups and data sets",
    "data/datasets/mapped.py": "what the system's files and mmap can do, and NumPy's map",
    "data/datasets/minari.py": "h5py's groups and data sets",
    "data/datasets/readers.py": "pandas' frames and NumPy's archives, without importing pandas",
    "data/datasets/token_files.py": "h5py's groups and data sets",
    "envs/device_adapter.py": "a user's own vector environment",
    "envs/given_vectors.py": "a user's own vector environment",
    "envs/envpool.py": "EnvPool's pools",
    "envs/goals.py": "Gymnasium's vector environments",
    "envs/guard.py": "a user's own environment, before it is known to be sound",
    "envs/tensors.py": "arrays of other libraries",
    "envs/stateful_wrappers.py": "whatever a user's own wrapper keeps",
    "evaluation/fitness.py": "a user's own fitness, which need not be a Fitness",
    "evolution/schedules.py": "pandas' frames, without importing pandas",
    "networks/batching/optimizer.py": "names in torch",
    "networks/kernels/core_sharing.py": "what the system can tell of its cores",
    "reporting/dashboard/dashboard.py": "IPython's shell",
    "reporting/notebook_output.py": "IPython's results",
    "reporting/progress.py": "IPython's shell",
    "reporting/trackers/trackers.py": "a user's own tracker, which need not be a Tracker",
}
"""Files that ask an object whether it has an attribute, and whose object that is: never one of evolab's own."""

HEAVY = (
    "gymnasium",
    "h5py",
    "imageio",
    "ipywidgets",
    "anywidget",
    "pandas",
    "plotly",
    "IPython",
    "matplotlib",
)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_a_file_holds_one_idea():
    files = [path for kind in ("py", "js", "css", "c", "h") for path in PACKAGE.rglob(f"*.{kind}")]
    long = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert not {file: lines for file, lines in long.items() if lines >= LINES}


def test_no_function_branches_more_than_a_reader_can_follow():
    rules = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r"^max-complexity = 15$", rules, re.MULTILINE)
    assert not [name(path) for path in SOURCES if "C901" in path.read_text(encoding="utf-8")]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select", "C901", str(PACKAGE)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout


def test_a_function_takes_at_most_seven_arguments():
    makers = {"__init__", "make"}  # what makes an object takes its options
    long = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name not in makers:
                own = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                if len([arg for arg in own if arg not in ("self", "cls")]) > 7:
                    long.append(f"{name(path)}: {node.name}")
    assert not long


def test_no_drawer_for_odds_and_ends():
    drawers = {"utils", "util", "common", "misc", "manager", "helper", "helpers"}
    assert not [name(path) for path in SOURCES if path.stem in drawers]


def test_every_public_definition_says_what_it_is():
    silent = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if tree.body and not ast.get_docstring(tree):
            silent.append(name(path))
        silent += [
            f"{name(path)}: {node.name}"
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
    assert not silent


def test_the_name_of_a_class_means_one_thing():
    homes: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(name(path))
    assert not {kind: files for kind, files in homes.items() if len(files) > 1}


def test_whoever_catches_everything_raises_it_again_or_says_why():
    silent = []
    for path in SOURCES:
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            again = any(isinstance(one, ast.Raise) and one.exc is None for one in ast.walk(node))
            if broad and not again and "#" not in source.splitlines()[node.lineno - 1]:
                silent.append(f"{name(path)}:{node.lineno}")
    assert not silent


def test_any_is_said_of_few_parameters():
    said = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.arg) and node.annotation is not None:
                names = {one.id for one in ast.walk(node.annotation) if isinstance(one, ast.Name)}
                said += [f"{name(path)}:{node.lineno}: {node.arg}"] * ("Any" in names)
    assert len(said) <= ANY, said


def test_only_objects_of_somebody_else_s_are_asked_whether_they_have_an_attribute():
    asking = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and (called.id, len(node.args)) in {
                ("hasattr", 2),
                ("getattr", 3),
            }:
                asking.add(path.relative_to(PACKAGE).as_posix())
    assert asking - FOREIGN.keys() == set(), "a protocol, or a base class with a declared default, says it"
    assert FOREIGN.keys() - asking == set(), "no longer true"


def test_where_experience_comes_from_is_asked_of_the_regime():
    own = {
        "algorithms/base.py",  # says which regime it is
        "population/learner.py",  # holds a buffer against the algorithm
        "reporting/certificate.py",  # a fact of the certificate
    }
    asking = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.If | ast.IfExp):
                names = {one.attr for one in ast.walk(node.test) if isinstance(one, ast.Attribute)}
                if names & {"offline", "on_policy"}:
                    asking.add(path.relative_to(PACKAGE).as_posix())
    assert asking == own


def test_nothing_unpickles_and_no_global_random_state_is_touched():
    forbidden = re.compile(
        r"^\s*(?:import|from) (?:pickle|dill|shelve|joblib)\b"
        r"|torch\.(?:load|save|manual_seed|seed)\(|np\.random\.seed\(|(?<![\w.])random\.seed\(",
        re.MULTILINE,
    )
    found = [
        f"{name(path)}: {hit}"
        for path in SOURCES
        for hit in forbidden.findall(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_public_names_are_few_and_each_says_what_it_is():
    assert len(evolab.__all__) <= 50
    silent = [public for public in evolab.__all__ if not (getattr(evolab, public).__doc__ or "").strip()]
    assert not silent


def test_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'evolab' has no attribute 'Experimint'"):
        evolab.Experimint  # noqa: B018  # the access itself is under test


def test_importing_evolab_is_light():
    program = "import sys, evolab; print([name for name in sys.argv[1:] if name in sys.modules])"
    command = [sys.executable, "-c", program, *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_version_is_written_once():
    packaging = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'version = { attr = "evolab.core.version.VERSION" }' in packaging
    written = re.compile(rf'version["\']?\s*[=:]\s*["\']?{re.escape(evolab.__version__)}\b', re.IGNORECASE)
    places = [name(path) for path in TEXTS if written.search(path.read_text(encoding="utf-8"))]
    assert places == ["evolab/core/version.py"]


def test_no_path_of_somebody_s_machine():
    personal = re.compile(r"(?<![\w./$}-])/(?:home|Users|root|tmp|work)/[\w.-]+")
    found = {name(path): personal.findall(path.read_text(encoding="utf-8")) for path in TEXTS}
    assert not {file: hits for file, hits in found.items() if hits}


@pytest.mark.parametrize("path", [ROOT / "README.md", PACKAGE / "README.md"], ids=name)
def test_links_of_the_readme_lead_somewhere(path):
    links = re.findall(
        r"\]\((?!https?:|#|mailto:)([^)#\s]+)|src=\"(?!https?:)([^\"]+)\"", path.read_text("utf-8")
    )
    dead = [link for pair in links for link in pair if link and not (path.parent / link).exists()]
    assert not dead


def test_the_package_s_readme_maps_every_entry_of_the_package():
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    apart = {"__init__.py", "README.md", "py.typed", "__pycache__"}
    entries = {one.name + "/" * one.is_dir() for one in PACKAGE.iterdir() if one.name not in apart}
    rows = re.findall(r"^\| (`[^|]+) \|", text.split("## The map")[1].split("## ")[0], re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row)} == entries
    assert len(entries) <= 15


def test_folders_that_the_package_s_readme_names_are_there():
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    named = {name for name in re.findall(r"`([a-z_/]+/)`", text)}
    assert not [name for name in named if not [*PACKAGE.rglob(name.rstrip("/"))]]


def test_files_that_the_package_s_readme_names_are_there():
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    named = {one.split(".")[0] for one in re.findall(r"`([a-z_]+(?:/[a-z_]+)+(?:\.\w+)?)`", text)}
    assert len(named) > 8
    assert not [one for one in named if not (PACKAGE / f"{one}.py").exists()]


def test_letters_of_axes_are_declared():
    said = (PACKAGE / "README.md").read_text(encoding="utf-8").split("**Axes.**")[1].split("\n\n")[0]
    declared = set(re.findall(r"\*\*([A-Z])\*\*", said))
    shapes = re.compile(r"\[((?:\.\.\.|[\w +*/]+)(?:, (?:\.\.\.|[\w +*/]+))*)\]")
    used: dict[str, str] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for axes in shapes.findall(node.value):
                    used |= {axis: name(path) for axis in axes.split(", ") if re.fullmatch("[A-Z]", axis)}
    assert used.keys() - declared == set(), used
    assert declared - used.keys() == set()


def test_imports_go_down_the_rooms_and_never_in_a_circle():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout.partition("Broken contracts")[2]


def test_the_package_s_readme_fits_a_screen():
    assert len((PACKAGE / "README.md").read_text(encoding="utf-8").splitlines()) <= 60


def code_cells(path: Path) -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_notebook_is_committed_as_it_ran(path):
    cells = code_cells(path)
    order = [cell["execution_count"] for cell in cells]
    assert order == sorted(order, key=lambda count: count or 0)
    assert all(order), "a cell was never run"
    assert any(cell["outputs"] for cell in cells)
    errors = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert not errors or any("raises-exception" in cell["metadata"].get("tags", []) for cell in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_notebook_shows_pictures_without_a_kernel(path):
    text = path.read_text(encoding="utf-8")
    assert any(kind in text for kind in ("image/svg+xml", "image/png", "data:image/"))
    assert len(text) < 5_000_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_figures_fit_any_page_in_either_theme(path):
    """Some were white in the dark theme and 860 pixels wide at 632; some had nine lines."""
    outputs = [output.get("data", {}) for cell in code_cells(path) for output in cell["outputs"]]
    for data in outputs:
        if (figure := data.get("application/vnd.plotly.v1+json")) is not None:
            assert (
                figure["layout"].get("paper_bgcolor")
                == figure["layout"].get("plot_bgcolor")
                == "rgba(0,0,0,0)"
            )
            assert "width" not in figure["layout"]
            assert "image/png" not in data, (
                "JupyterLab would show it in place of the figure, as wide as it is"
            )
            lines = [
                t.get("name")
                for t in figure["data"]
                if "lines" in t.get("mode", "") and t.get("showlegend", True)
            ]
            assert len(set(lines)) <= 7


@pytest.mark.parametrize("path", TUTORIALS, ids=name)
def test_a_tutorial_has_eight_compared_cells(path):
    compared = [
        cell
        for cell in code_cells(path)
        if cell["outputs"]
        and "nbval-ignore-output" not in cell["metadata"].get("tags", [])
        and "NBVAL_IGNORE_OUTPUT" not in "".join(cell["source"])
    ]
    assert len(compared) >= 8
