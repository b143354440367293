"""The server's pages: the dashboard's own drawing code, fed by requests in the place of a kernel."""

from __future__ import annotations

from evolab.reporting.dashboard import page

_HTML = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>evolab board</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="style.css"><style>
body { margin: 0 auto; max-width: 1240px; padding: 16px; background: #fff; color: #1f2329;
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
nav { margin: 0 8px 8px; font-size: 13px; } nav a { color: inherit; }
@media (prefers-color-scheme: dark) { body { background: #16181c; color: #e6e8ec; } }
</style></head><body><main><h1 style="position:absolute;clip-path:inset(50%);margin:0">evolab board</h1>
<nav id="back" hidden><a href="./">all runs</a> / <span id="name"></span></nav>
<div id="board" class="ev-page"></div></main><noscript>This page draws with JavaScript.</noscript>
<script type="module" src="NAME.js"></script></body></html>"""


def html(name: str) -> str:
    """The page "runs", of all, or "run", of one."""
    return _HTML.replace("NAME", name)


def module(name: str) -> str:
    """The script of such a page."""
    return page.script(f"served {name}")
