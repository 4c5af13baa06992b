"""An HTTP server that answers as MediaMTX 1.20's control API was seen to: paths and their runtime.

It stands in where no MediaMTX can be installed; the same tests run against a real one where there
is one on PATH.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KNOWN_FIELDS = {"source", "rtspTransport", "sourceOnDemand"}
SOURCES = ("rtsp://", "rtsps://", "rtmp://", "rtmps://", "http://", "https://", "publisher")


@dataclass
class ControlApi:
    """State of the server.

    Attributes:
        paths: configuration by name.
        tracks: what the runtime of every path says it carries.
        requests: method and path of each request.
        credentials: the Authorization header that is demanded, or empty.
    """

    paths: dict[str, dict[str, Any]] = field(default_factory=dict)
    tracks: list[str] = field(default_factory=lambda: ["H264", "G711"])
    requests: list[tuple[str, str]] = field(default_factory=list)
    credentials: str = ""
    url: str = ""

    def answer(self, method: str, target: str, body: Any) -> tuple[int, dict[str, Any]]:
        split = urlsplit(target)
        self.requests.append((method, split.path))
        if split.path == "/v3/config/paths/list":
            return self._list(parse_qs(split.query))
        action, _, name = split.path.removeprefix("/v3/config/paths/").partition("/")
        if split.path.startswith("/v3/paths/get/"):
            action, name = "runtime", split.path.removeprefix("/v3/paths/get/")
        match (method, action):
            case ("GET", "get") if name in self.paths:
                return 200, {"name": name, "record": False, **self.paths[name]}
            case ("POST", "add") if name in self.paths:
                return 400, {"error": "path already exists"}
            case ("POST", "add" | "replace"):
                return self._set(name, body)
            case ("DELETE", "delete") if name in self.paths:
                del self.paths[name]
                return 200, {"status": "ok"}
            case ("GET", "runtime") if name in self.paths:
                return 200, {"name": name, "ready": True, "tracks": self.tracks}
        return 404, {"error": "path not found"}

    def _set(self, name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        unknown = set(body) - KNOWN_FIELDS
        if unknown:
            return 400, {"error": f'json: unknown field "{unknown.pop()}"'}
        source = str(body.get("source", "publisher"))
        if not source.startswith(SOURCES) or (source.startswith("http") and ".m3u8" not in source):
            return 400, {"error": f"invalid source: '{source}'"}
        self.paths[name] = {"sourceOnDemand": False, "rtspTransport": "automatic", **body}
        return 200, {"status": "ok"}

    def _list(self, query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        page, size = int(query["page"][0]), int(query["itemsPerPage"][0])
        names = sorted(self.paths)
        items = [{"name": name, **self.paths[name]} for name in names][page * size :][:size]
        return 200, {
            "itemCount": len(names),
            "pageCount": -(-len(names) // size),
            "items": items,
        }


@contextmanager
def serving() -> Iterator[ControlApi]:
    """A server on a free loopback port, in a thread."""
    api = ControlApi()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(size)) if size else None
            if api.credentials and self.headers.get("Authorization") != api.credentials:
                status, answer = 401, {"error": "authentication error"}
            else:
                status, answer = api.answer(self.command, self.path, body)
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
