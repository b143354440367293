"""A real JupyterLab and a real Chromium, nothing else: no network, no settings of the machine's user.

`Server` starts `jupyter lab` on a folder with a home of its own. `Notebook` is one open
notebook in a page: it runs cells, waits for the kernel, saves and looks at outputs. Each
method waits for a fact on the page, never for an amount of time, and bears that JupyterLab
redraws while it looks: an element may be there, gone, and there again.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
]
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "doNotDisturbMode": True},
    "@jupyter-widgets/jupyterlab-manager/plugin": {"saveState": True},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}


PATIENCE = 240.0  # seconds; a busy machine is not a defect


def until(page: Any, predicate: str, arg: Any = None, patience: float = PATIENCE) -> None:
    """Wait until a JavaScript function of the page is true; while it throws, it is not true yet.

    Raises:
        AssertionError: with what the function threw last, if it never was.
    """
    from playwright.sync_api import TimeoutError as NeverTrue

    guarded = f"""a => {{ try {{ window.untilThrew = ""; return ({predicate})(a); }}
        catch (error) {{ window.untilThrew = String(error); return false; }} }}"""
    try:
        page.wait_for_function(guarded, arg=arg, timeout=1000 * patience)
    except NeverTrue:
        threw = page.evaluate(
            "() => [window.untilThrew, document.querySelector('.ev-banner')?.textContent].filter(Boolean).join('; ')"
        )
        raise AssertionError(
            f"never true within {patience:.0f} s: {predicate} of {arg!r}; {threw or 'it was false'}"
        ) from None


def eventually(fact: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait until something asked from Python (the kernel, a saved file) is true."""
    deadline = time.monotonic() + patience
    while not fact():
        assert time.monotonic() < deadline, f"never true within {patience:.0f} s: {what}"
        time.sleep(0.05)


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    """A notebook of code cells."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.write_text(
        json.dumps(
            {
                "nbformat": 4,
                "nbformat_minor": 5,
                "metadata": {"kernelspec": kernel},
                "cells": [
                    {"cell_type": "code", "id": f"cell-{i}", "metadata": {}, "source": source, "outputs": [],
                     "execution_count": None}
                    for i, source in enumerate(cells)
                ],
            }
        )
    )  # fmt: skip


class Server:
    """`jupyter lab` on a free port, serving one folder."""

    def __init__(self, folder: Path, packages: Path) -> None:
        self.folder = folder
        self.token = secrets.token_hex(8)
        self.home = Path(tempfile.mkdtemp(prefix="lab-home-"))
        for name, values in SETTINGS.items():
            file = self.home / "config/lab/user-settings" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))
        self.environment = os.environ | {
            "HOME": str(self.home), "JUPYTER_CONFIG_DIR": str(self.home / "config"),
            "JUPYTER_DATA_DIR": str(self.home / "data"), "JUPYTER_RUNTIME_DIR": str(self.home / "run"),
            "IPYTHONDIR": str(self.home / "ipython"), "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1", "SDL_VIDEODRIVER": "dummy",
            "EVOLAB_ROOT": str(packages),
        }  # fmt: skip
        self.log = (self.home / "server.log").open("wb")
        for _ in range(3):  # another program may take the port between looking and listening
            self._start()
            if self._answers():
                return
        raise RuntimeError(f"jupyter lab did not start:\n{(self.home / 'server.log').read_text()[-3000:]}")

    def _start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
                f"--port={self.port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}",
                f"--ServerApp.root_dir={self.folder}", "--LabApp.expose_app_in_browser=True",
                "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            ],
            env=self.environment, stdout=self.log, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def _answers(self) -> bool:
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.address}/api?token={self.token}", timeout=5).close()
                return True
            except OSError:
                time.sleep(0.1)
        self._end()
        return False

    def _end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """Stop the server, its kernels with it, and remove its home."""
        self._end()
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield chromium
        chromium.close()


class Notebook:
    """One notebook, open in a page of its own; every request to another host is refused and counted."""

    def __init__(
        self, chromium: Any, server: Server, name: str, width: int = 1280, height: int = 1000
    ) -> None:
        self.server, self.name = server, name
        self.context = chromium.new_context(viewport={"width": width, "height": height})
        self.refused: list[str] = []
        self.errors: list[str] = []
        self.context.route("**/*", self._gate)
        self.page = self.context.new_page()
        self.page.set_default_navigation_timeout(1000 * PATIENCE)
        self.page.set_default_timeout(1000 * PATIENCE)
        self.page.on("dialog", lambda dialog: dialog.accept())  # leaving a page with unsaved changes is meant
        self.page.on("pageerror", self._note)
        self.page.on("console", lambda m: self.errors.append(m.text) if "evolab:" in m.text else None)
        self.open()

    def _note(self, error: Any) -> None:
        """Keep what our module threw: it is loaded from a blob. What JupyterLab throws at itself is not ours."""
        if "blob:" in (text := f"{error}\n{getattr(error, 'stack', '')}"):
            self.errors.append(text)

    def _gate(self, route: Any) -> None:
        if route.request.url.startswith((self.server.address, "data:", "blob:")):
            route.continue_()
        else:
            self.refused.append(route.request.url)
            route.abort()

    def open(self) -> None:
        """(Re)load the page and wait for a kernel that answers."""
        self.page.goto(f"{self.server.address}/doc/tree/{self.name}?reset&token={self.server.token}")
        self.page.wait_for_selector(".jp-NotebookPanel .jp-Notebook")
        # The toolbar says idle before a kernel exists, so the session is asked instead.
        self.until(
            """() => { const c = window.jupyterapp.shell.currentWidget.sessionContext;
                return c.isReady && c.session.kernel.status === "idle"; }"""
        )

    def until(self, predicate: str, arg: Any = None, patience: float = PATIENCE) -> None:
        """Wait until a JavaScript function of the page is true."""
        until(self.page, predicate, arg, patience)

    def shows(self, selector: str, patience: float) -> bool:
        """True once an element is visible, False if it is not within so many seconds."""
        deadline = time.monotonic() + patience
        while not self.page.locator(selector).first.is_visible():
            if time.monotonic() > deadline:
                return False
            self.page.wait_for_timeout(100)
        return True

    def run_all(self, wait: bool = True) -> None:
        """Run all cells. The command's promise ends with the last cell, without a timeout: never await it."""
        self.page.evaluate(
            """() => { const w = window.jupyterapp.shell.currentWidget;
                for (const c of w.content.widgets) if (c.model.type === "code") c.model.executionCount = null;
                window.jupyterapp.commands.execute('notebook:run-all-cells'); }"""
        )
        if wait:
            self.wait_for_cells()

    def wait_for_cells(self, patience: float = 1.5 * PATIENCE) -> None:
        """Until every code cell has a number, or one has failed, and the kernel rests."""
        self.until(
            """() => { const w = window.jupyterapp.shell.currentWidget;
                const cells = [...w.content.widgets].filter(c => c.model.type === "code");
                const prompts = [...document.querySelectorAll(".jp-InputPrompt")];
                const running = prompts.some(p => p.textContent.includes("*"));
                const failed = cells.some(c => c.model.outputs.toJSON().some(o => o.output_type === "error"));
                return !running && (failed
                    || cells.every(c => c.model.executionCount || !c.model.sharedModel.source.trim())); }""",
            patience=patience,
        )

    def run_cell(self, index: int) -> None:
        """Run one cell and wait for it."""
        self.start_cell(index)
        self.until(
            """i => { const w = window.jupyterapp.shell.currentWidget, c = w.content.widgets[i];
                return c.model.executionCount && !c.node.querySelector(".jp-InputPrompt").textContent.includes("*"); }""",
            index,
        )

    def start_cell(self, index: int) -> None:
        """Run one cell without waiting."""
        self.page.evaluate(
            """i => { const w = window.jupyterapp.shell.currentWidget; w.content.activeCellIndex = i;
                w.content.widgets[i].model.executionCount = null;
                window.jupyterapp.commands.execute("notebook:run-cell"); }""",
            index,
        )

    def value(self, expression: str) -> str:
        """The repr of an expression in the kernel, asked for without touching the notebook."""
        return self.page.evaluate(
            """async code => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({ code: "", silent: false, store_history: false,
                    user_expressions: { it: code } });
                const content = (await future.done).content, reply = (content.user_expressions || {}).it;
                if (!reply) return `no answer: ${content.status}`;
                if (reply.status === "ok") return reply.data["text/plain"];
                return `${reply.ename}: ${reply.evalue}`; }""",
            expression,
        )

    def theme(self, name: str) -> None:
        """Switch to "JupyterLab Dark" or "JupyterLab Light"."""
        self.page.evaluate(
            "t => { window.jupyterapp.commands.execute('apputils:change-theme', { theme: t }); }", name
        )
        dark = "false" if "Dark" in name else "true"
        self.until("v => document.body.dataset.jpThemeLight === v", dark)

    def save(self) -> dict[str, Any]:
        """Save, and give back what the file now holds."""
        self.page.evaluate("async () => { await window.jupyterapp.commands.execute('docmanager:save'); }")
        return json.loads((self.server.folder / self.name).read_text())

    def shut_down_kernel(self) -> None:
        """End the kernel and leave the page open."""
        self.page.evaluate(
            "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.session.shutdown(); }"
        )

    def close(self) -> None:
        """Close the page."""
        self.context.close()
