"""The documentation as pages: gathers their sources, builds them with Sphinx, and opens them.

Sources are Markdown in `tutorials/pages/`, and the notebooks as they were committed. They lie beside the package in
a clone, and in `share/evolab` where a wheel was installed. Nothing is executed and nothing is fetched.
"""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
import webbrowser
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path
from typing import Any

from evolab.core import checks

SOURCES = ("README.md", "evolab/README.md", "tutorials", "notebooks", "tests/benchmarks/results")
KINDS = {".md", ".py", ".css", ".js", ".svg", ".gif", ".png", ".json", ".jsonl", ".yaml", ".cff", ".ipynb"}
PAGES = Path("tutorials") / "pages"
NEEDS = {"sphinx": "sphinx", "myst_nb": "myst-nb", "pydata_sphinx_theme": "pydata-sphinx-theme"}
WIDGET = "application/vnd.jupyter.widget-view+json"
FIGURE = "application/vnd.plotly.v1+json"


def build(out: str | os.PathLike[str] | None = None, *, strict: bool = False) -> Path:
    """Build the pages, and say where they begin.

    Args:
        out: folder of the pages; None for one in the user's cache.
        strict: fail on the first broken link, missing docstring or other warning.

    Returns:
        The first page, an HTML file.

    Raises:
        ImportError: Sphinx or its companions are not installed; names the extra.
        FileNotFoundError: the sources are not there.
        ValueError: Sphinx found mistakes; they were printed.
    """
    missing = [package for module, package in NEEDS.items() if util.find_spec(module) is None]
    if missing:
        raise ImportError(f'The pages are built with {", ".join(missing)}: pip install "evolab[docs]".')
    root = sources()
    folder = cache() if out is None else checks.path("out", out).resolve()
    staged = folder / "sources"
    gather(root, staged)
    from sphinx.cmd.build import build_main

    options = ["--nitpicky", "--fail-on-warning"] if strict else []
    words = ["-q", "-b", "html", "-c", str(staged / PAGES), "-d", str(folder / "doctrees"), *options]
    if build_main([*words, str(staged), str(folder / "html")]) != 0:
        raise ValueError("the pages were not built: Sphinx says above what is wrong.")
    return folder / "html" / PAGES / "index.html"


def show(page: Path) -> bool:
    """Open a page in the user's browser; False where there is none."""
    try:
        return webbrowser.open(page.as_uri())
    except webbrowser.Error:
        return False


def cache() -> Path:
    """Where pages are built if nobody says where."""
    kept = os.environ.get("XDG_CACHE_HOME")
    return (Path(kept) if kept else Path.home() / ".cache") / "evolab" / "docs"


def sources() -> Path:
    """The folder that holds the sources: the clone, or what a wheel has brought along.

    Raises:
        FileNotFoundError: neither is there.
    """
    beside = Path(__file__).parents[2]  # the clone, or the folder of packages
    places = [beside, beside / "share" / "evolab", Path(sysconfig.get_path("data")) / "share" / "evolab"]
    with suppress(metadata.PackageNotFoundError):
        ending = (PAGES / "conf.py").as_posix()
        files = [file for file in metadata.files("evolab") or [] if file.as_posix().endswith(ending)]
        places += [Path(str(file.locate())).resolve().parents[2] for file in files]
    for place in places:
        if (place / PAGES / "conf.py").is_file():
            return place
    raise FileNotFoundError("The sources of the pages are not installed. They are in a clone of evolab.")


def gather(root: Path, staged: Path) -> None:
    """Copy what the pages are made of; a file that did not change keeps its time, so that a rebuild is quick."""
    wanted = set()
    for name in SOURCES:
        top = root / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            inside = path.relative_to(root)
            hidden = any(part.startswith((".", "__pycache__")) for part in inside.parts)
            if path.suffix not in KINDS or hidden or path.name == "conftest.py" or not path.is_file():
                continue
            wanted.add(inside)
            _copy(path, staged / inside)
    for path in staged.rglob("*"):
        if path.is_file() and path.relative_to(staged) not in wanted:
            path.unlink()


def _copy(path: Path, to: Path) -> None:
    if to.is_file() and to.stat().st_mtime_ns == path.stat().st_mtime_ns:
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".ipynb":
        to.write_text(json.dumps(for_a_page(json.loads(path.read_text("utf-8")))), "utf-8")
        shutil.copystat(path, to)
    else:
        shutil.copy2(path, to)


def for_a_page(notebook: dict[str, Any]) -> dict[str, Any]:
    """A notebook without what needs a kernel, its figures as data that the pages' script draws."""
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [_at_rest(one) for one in cell["outputs"] if not _is_empty_widget(one)]
    return notebook


def _is_empty_widget(output: dict[str, Any]) -> bool:
    return WIDGET in output.get("data", {}) and not {"text/html", "image/png"} & set(output["data"])


def _at_rest(output: dict[str, Any]) -> dict[str, Any]:
    data = output.get("data", {})
    data.pop(WIDGET, None)
    if FIGURE in data:
        figure = json.dumps(data.pop(FIGURE)).replace("<", "\\u003c")
        data["text/html"] = (
            f'<div class="figure-data"><script type="application/json">{figure}</script></div>'
        )
    return output
