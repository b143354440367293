"""Committed notebooks as they run today: in full, top to bottom, with what they show written back into them.

    python tests/browser/rerun.py notebooks/stepping.ipynb ...

Each runs in a folder of its own that is thrown away. Figures get a still picture beside plotly's, for pages that draw
none, such as GitHub. Progress that was cleared leaves nothing, and warnings are for whoever runs it: the text says what
came of a run, so read it again afterwards. `--pictures` runs nothing and only adds these pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat
import plotly
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.browser.lab import browser  # noqa: E402

FIGURE, STILL = "application/vnd.plotly.v1+json", "image/svg+xml"
# A picture as PNG would stand in JupyterLab too, cut where the page is narrower, until the mouse comes upon it.
WIDTH = 860
DRAWN = """([figure, width, height]) => Plotly.newPlot(document.body, figure.data, figure.layout)
    .then(() => Plotly.toImage(document.body, { format: "svg", width, height }))"""


def run(notebook: dict[str, Any]) -> None:
    """Execute every cell of a notebook, as JSON has it, and keep its outputs, and the state of its widgets."""
    bare = {**notebook, "metadata": {"kernelspec": notebook["metadata"]["kernelspec"]}}
    fresh = nbformat.reads(json.dumps(bare), as_version=4)
    os.environ |= {"EVOLAB_ROOT": str(ROOT), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    with tempfile.TemporaryDirectory() as place:
        NotebookClient(
            fresh, timeout=None, record_timing=False, resources={"metadata": {"path": place}}
        ).execute()
    done = json.loads(nbformat.writes(fresh))
    for cell, new in zip(notebook["cells"], done["cells"], strict=True):
        if cell["cell_type"] == "code":
            cell["execution_count"], cell["outputs"] = new["execution_count"], tidy(new["outputs"])
    notebook["metadata"].pop("widgets", None)
    if "widgets" in done["metadata"] and any(
        "application/vnd.jupyter.widget-view+json" in output.get("data", {})
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
    ):
        notebook["metadata"]["widgets"] = done["metadata"]["widgets"]


def tidy(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what was cleared or said on standard error, and lines of one stream in one piece."""
    kept: list[dict[str, Any]] = []
    for output in outputs:
        cleared = "data" in output and not any("".join(text) for text in output["data"].values())
        if cleared or output.get("name") == "stderr":
            continue
        if kept and output["output_type"] == "stream" and kept[-1].get("name") == output["name"]:
            kept[-1]["text"] += output["text"]
        else:
            kept.append(output)
    return kept


def add_pictures(notebook: dict[str, Any], page: Any) -> None:
    """Give each figure of a notebook its still picture."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            figure = output.get("data", {}).get(FIGURE)
            if figure is not None:
                size = [WIDTH, figure["layout"].get("height", 450)]
                address = page.evaluate(DRAWN, [figure, *size])
                output["data"].pop("image/png", None)
                output["data"][STILL] = unquote(address.partition(",")[2])


def main() -> None:
    """Run the notebooks that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--pictures", action="store_true")
    options = parser.parse_args()
    script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    for path in options.notebooks:
        notebook = json.loads(path.read_text("utf-8"))
        if not options.pictures:
            run(notebook)
        with browser() as chromium:
            page = chromium.new_page()
            page.add_script_tag(path=str(script))
            add_pictures(notebook, page)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(path, f"{path.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
