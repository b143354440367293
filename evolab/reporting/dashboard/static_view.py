"""What a dashboard shows where no widget can live: a picture, a table, the newest episode."""

from __future__ import annotations

import base64
from html import escape
from typing import Any

from evolab.reporting.dashboard.live_run import LiveRun
from evolab.reporting.dashboard.picture import png_bytes, run_picture
from evolab.reporting.dashboard.store import Store


def bundle(store: Store, experiment: LiveRun, film: bytes, name: str) -> dict[str, Any]:
    """The representations by mime type: HTML, PNG and text.

    Args:
        store: brought up to date here.
        experiment: whose state is shown.
        film: the newest episode as animated PNG, or nothing.
        name: the element's id in the page.
    """
    picture = _picture(store, experiment)
    return {
        "text/html": _html(store, experiment, picture, film, name),
        "image/png": base64.b64encode(picture).decode(),
        "text/plain": repr(experiment.history),
    }


def _picture(store: Store, experiment: LiveRun) -> bytes:
    store.absorb(list(experiment.history.generations))
    return png_bytes(run_picture(store, experiment.target, _title(experiment)))


def _title(experiment: LiveRun) -> str:
    return f"{experiment.algorithm.name} on {experiment.name}"


def _html(store: Store, experiment: LiveRun, picture: bytes, film: bytes, name: str) -> str:
    images = [_image(picture, f"Fitness and lineage of {_title(experiment)}", 760)]
    if film:
        images.append(_image(film, "The newest recorded episode", 300))
    history = experiment.history
    # JupyterLab saves no widgets unless it is told to: above the picture it then says "model not found".
    unsaved = f".jp-OutputArea-child:has(+ .jp-OutputArea-child #{escape(name)})"
    hide = f"<style>{unsaved}:has(.jupyter-widgets:not(:has(*))) {{ display: none !important; }}</style>"
    table = history.generations[-1].show(most=10)[1] if history.generations else history._repr_html_()
    return (
        f'<div id="{escape(name)}" class="evolab-still">{hide}{"".join(images)}{table}'
        f"<p><small>{escape(_title(experiment))}: a still picture; "
        "run the cell again for a live dashboard.</small></p></div>"
    )


def _image(data: bytes, text: str, width: int) -> str:
    source = base64.b64encode(data).decode()
    size = f'width="{width}" style="max-width:100%"'
    return f'<img alt="{escape(text)}" {size} src="data:image/png;base64,{source}"><br>'
