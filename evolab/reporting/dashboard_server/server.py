"""The dashboard's server: this machine alone, a token in its address, and nothing but reading."""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from evolab.reporting.comparison.listing import is_run
from evolab.reporting.dashboard import page
from evolab.reporting.dashboard_server.news import RunNews, RunsNews
from evolab.reporting.dashboard_server.page import html, module

PORT = 8765
"""Where the dashboard listens, or one of the next ports where that is taken."""

HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""Names by which a browser may call it: another one is a page elsewhere whose name was pointed here."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

KEPT = 8
"""Runs whose generations are held for pages that are open."""


class DashboardServer:
    """Serves the runs below a folder, or one run, until it is closed.

    Args:
        folder: that holds runs at any depth, or of one run.
        port: where to listen; None for the first free one from `PORT` on.

    Attributes:
        url: the address, token included.

    Raises:
        FileNotFoundError: there is no such folder.
        OSError: the port is taken.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.token = secrets.token_urlsafe(24)
        self.single = is_run(folder)
        self.runs = RunsNews(folder)
        self._folder = folder
        self._open: dict[str, RunNews] = {}
        self._lock = threading.Lock()
        self._server = _listening(port, type("Handler", (_Handler,), {"dashboard": self}))
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/{self.token}/"

    def serve(self) -> None:
        """Answer until `close` is called from another thread."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, query: dict[str, str]) -> tuple[str, str] | None:
        """Content and its type for a path below the token; None where there is nothing."""
        if path in ("", "run"):
            single = self.single or path == "run"
            return html("run" if single else "runs"), "text/html"
        if path in ("run.js", "runs.js"):
            return module(path.removesuffix(".js")), "text/javascript"
        if path == "style.css":
            return page.style(), "text/css"
        found: Any = None
        if path == "news":
            found = self.runs.since(_whole(query.get("since")))
        elif path == "details":
            found = self.runs.details(query.get("run", ""))
        elif path == "frame":
            run = self._news(query.get("run", ""))
            found = run and run.since(_whole(query.get("epoch")), _whole(query.get("after")))
        return None if found is None else (json.dumps(found, ensure_ascii=False), "application/json")

    def _news(self, name: str) -> RunNews | None:
        """Of one of the runs that the table names; a page cannot name any other folder."""
        place = self._folder if self.single and not name else self.runs.place(name)
        if place is None:
            return None
        with self._lock:
            if name not in self._open:
                self._open[name] = RunNews(place)
            self._open[name] = news = self._open.pop(name)
            while len(self._open) > KEPT:
                del self._open[next(iter(self._open))]
        return news


class _Handler(BaseHTTPRequestHandler):
    """One request; everything but GET is refused by the base class."""

    dashboard: DashboardServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "evolab", ""
    timeout = 60

    def do_GET(self) -> None:
        host = self.headers.get("Host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name.lower() not in HOSTS:
            self._send(
                403, f"This dashboard answers to 127.0.0.1 and localhost only, not to {host!r}.", "text/plain"
            )
            return
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            self._send(403, "Another page may not read this dashboard.", "text/plain")
            return
        parts = urlsplit(self.path)
        token, slash, path = parts.path.removeprefix("/").partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self.dashboard.token.encode()):
            told = "The address lacks its token. Open the whole address that `evolab board` has printed."
            self._send(403, told, "text/plain")
            return
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        try:
            answer = self.dashboard.answer(path, query)
        except Exception as error:  # a request that fails must not end the server: the page is told
            self._send(500, f"{type(error).__name__}: {error}", "text/plain")
            return
        if answer is None:
            self._send(404, "There is nothing at this address.", "text/plain")
        else:
            self._send(200, *answer)

    def _send(self, code: int, content: str, kind: str) -> None:
        body = content.encode()
        with contextlib.suppress(ConnectionError):  # the page is closed
            self.send_response(code)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            for header, value in HEADERS.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is written: addresses hold the token."""


def _listening(port: int | None, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """A server on the loopback interface alone."""
    tried = [port] if port is not None else [*range(PORT, PORT + 20), 0]
    for one in tried:
        try:
            server = ThreadingHTTPServer(("127.0.0.1", one), handler)
        except OSError as error:
            if port is not None:
                raise OSError(
                    f"port {port} cannot be had: {error}. Leave --port out for a free one."
                ) from None
            continue
        server.daemon_threads = True
        return server
    raise OSError("no port is free.")


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 25 else 0
