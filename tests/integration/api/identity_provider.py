"""A small real identity provider, which holds clients to PKCE."""

from __future__ import annotations

import hashlib
import io
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit
from wsgiref.types import StartResponse, WSGIEnvironment

import httpx
import oidc_provider_mock
from werkzeug.serving import make_server
from werkzeug.test import Client

WSGI = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


@dataclass
class IdentityProvider:
    """Attributes:
    issuer: its URL. Below `/impostor` its metadata are found, too.
    challenges: those of the authorization requests that are not redeemed yet.
    tamper: changes each ID token.
    """

    issuer: str
    challenges: set[str] = field(default_factory=set)
    tamper: Callable[[str], str] | None = None

    def knows(self, subject: str, **claims: object) -> None:
        """Add a person, or change their claims."""
        httpx.put(f"{self.issuer}/users/{subject}", json=claims).raise_for_status()

    def sign_in(self, location: str, subject: str, *, deny: bool = False) -> str:
        """What a person does there, and where it sends their browser then."""
        form = {"action": "deny"} if deny else {"sub": subject}
        answer = httpx.post(location, data=form)
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]


class _RequirePkce:
    """The library's provider ignores PKCE; this one refuses to redeem without the verifier
    (RFC 7636, S256)."""

    def __init__(self, app: WSGI, provider: IdentityProvider) -> None:
        self._app = app
        self._provider = provider

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix("/impostor")
        method = environ["REQUEST_METHOD"]
        if path == "/oauth2/authorize" and method == "POST":
            query = parse_qs(environ.get("QUERY_STRING", ""))
            if query.get("code_challenge_method") == ["S256"]:
                self._provider.challenges.update(query["code_challenge"])
        if path == "/oauth2/token":
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            verifier = parse_qs(body.decode()).get("code_verifier", [""])[0]
            digest = hashlib.sha256(verifier.encode()).digest()
            challenge = urlsafe_b64encode(digest).rstrip(b"=").decode()
            if challenge not in self._provider.challenges:
                start("400 Bad Request", [("Content-Type", "application/json")])
                return [b'{"error": "invalid_grant"}']
            self._provider.challenges.remove(challenge)
            if self._provider.tamper is not None:
                return self._tampered(environ, start, self._provider.tamper)
        return self._app(environ, start)

    def _tampered(
        self, environ: WSGIEnvironment, start: StartResponse, tamper: Callable[[str], str]
    ) -> Iterable[bytes]:
        response = Client(self._app).open(environ)
        body = json.loads(response.get_data())
        body["id_token"] = tamper(body["id_token"])
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(body).encode()]


@contextmanager
def identity_provider() -> Iterator[IdentityProvider]:
    """Runs on a free port of loopback."""
    provider = IdentityProvider("")
    app: Any = oidc_provider_mock.app(require_nonce=True)
    server = make_server("127.0.0.1", 0, _RequirePkce(app, provider), threaded=True)
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def query_of(location: str) -> dict[str, str]:
    """The parameters of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
