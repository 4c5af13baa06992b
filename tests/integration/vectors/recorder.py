"""An HTTP server that answers like an empty Qdrant, and keeps what it was asked."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "atalaia-x-4"
_COLLECTION = {
    "status": "green",
    "optimizer_status": "ok",
    "segments_count": 1,
    "payload_schema": {},
    "config": {
        "params": {"vectors": {"size": 4, "distance": "Cosine"}},
        "hnsw_config": {"m": 0, "ef_construct": 100, "full_scan_threshold": 10000},
        "optimizer_config": {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 0,
            "flush_interval_sec": 5,
        },
    },
}
_DONE = {"operation_id": 1, "status": "completed"}
ANSWERS: dict[tuple[str, str], Any] = {
    ("GET", f"/collections/{NAME}/exists"): {"exists": False},
    ("PUT", f"/collections/{NAME}"): True,
    ("GET", f"/collections/{NAME}"): _COLLECTION,
    ("PUT", f"/collections/{NAME}/index"): _DONE,
    ("PUT", f"/collections/{NAME}/points"): _DONE,
    ("POST", f"/collections/{NAME}/points/query"): {"points": []},
    ("POST", f"/collections/{NAME}/points/count"): {"count": 0},
    ("POST", f"/collections/{NAME}/points/scroll"): {"points": []},
    ("POST", f"/collections/{NAME}/points/delete"): _DONE,
}


class Recorder:
    """Answers like an empty Qdrant and keeps what it was asked.

    Attributes:
        answers: the result for a method and a path; without one, it is 404.
        statuses: of those that get another one than 200.
        hanging: those that get no answer until `released`.
    """

    def __init__(self, certificate: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.answers: dict[tuple[str, str], Any] = dict(ANSWERS)
        self.statuses: dict[tuple[str, str], int] = {}
        self.hanging: set[tuple[str, str]] = set()
        self.released = threading.Event()
        self.headers: list[dict[str, str]] = []
        self.queries: list[str] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def _handle(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                path, _, query = self.path.partition("?")
                recorder.requests.append((self.command, path, json.loads(body or b"null")))
                recorder.queries.append(query)
                recorder.headers.append({name.lower(): v for name, v in self.headers.items()})
                asked = (self.command, path)
                if asked in recorder.hanging:
                    recorder.released.wait(60)
                    self.close_connection = True
                    return
                answer = recorder.answers.get(asked)
                content = json.dumps({"result": answer, "status": "ok", "time": 0}).encode()
                self.send_response(recorder.statuses.get(asked, 404 if answer is None else 200))
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = _handle

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate is not None:
            self.server.socket = certificate.wrap_socket(self.server.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}"

    def bodies(self, method: str, end: str) -> list[Any]:
        return [body for verb, path, body in self.requests if verb == method and path.endswith(end)]

    def paths(self, method: str) -> list[str]:
        return [path for verb, path, _ in self.requests if verb == method]


@contextmanager
def recording(certificate: ssl.SSLContext | None = None) -> Iterator[Recorder]:
    """A recorder that answers, until the end."""
    recorder = Recorder(certificate)
    thread = threading.Thread(target=recorder.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        recorder.released.set()
        recorder.server.shutdown()
        recorder.server.server_close()
        thread.join()
