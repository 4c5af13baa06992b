"""The running demo, last of all: no secret of its settings, users, keys and cameras is in a log, an
answer, a metric, a file, Redis, or on a command line. A few private files hold some on purpose."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
import redis

from tests.e2e.conftest import PLANTED, Demo
from tests.planted import Search, command_lines, planted, secret_settings

CAMERA = planted("camera")
PERSON = planted("person")
REASON_TIMEOUT_S = 90.0

GENERATED = {
    "livekit.api_secret": "run/livekit.secret",
    "database.encryption_key": "keys/database.key",
}
"""Secrets that are made at the first start, and the files that keep them."""

ELSEWHERE = {
    "auth.providers.client_secret": "integration/local/test_cli_secrets.py: none there",
    "database.migration_url": "integration/local/test_cli_secrets.py: the demo has SQLite",
    "database.tenant_url": "integration/local/test_cli_secrets.py: the demo has SQLite",
    "database.url": "integration/local/test_cli_secrets.py: the demo has SQLite",
    "redis.passwords": "integration/local/test_cli_secrets.py: the demo starts one without users",
    "redis.url": "integration/api/test_api_secrets.py: the demo starts one without a password",
}

ON_PURPOSE = {
    "run/livekit.secret": {"livekit.api_secret"},
    "run/livekit.yaml": {"livekit.api_secret"},
    "run/go2rtc.yaml": {"gateway.password"},
    "run/relay.json": {"gateway.secret"},
    "keys/database.key": {"database.encryption_key"},
    "run/demo.json": {"a key of the demo", "a password of the demo"},
    "run/demo-keys.json": {"a key of the demo"},
    "run/demo-users.json": {"a password of the demo"},
    # What `atalaia demo` prints for whoever started it.
    "demo.log": {"a key of the demo", "a password of the demo"},
}
"""Files below `data_dir` that hold secrets, and which."""


def test_every_secret_setting_is_planted() -> None:
    known = PLANTED.keys() | GENERATED.keys() | ELSEWHERE.keys()
    # Those of pods are planted in integration/local/test_cli_secrets.py: the demo has none.
    settings = {name for name in secret_settings() if not name.startswith("pods.")}
    assert settings == known, (
        f"{settings ^ known}: plant it in PLANTED of tests/e2e/conftest.py, or say "
        "in GENERATED or ELSEWHERE here where it is looked for"
    )


def _secrets(demo: Demo, data_dir: Path, issued: dict[str, str]) -> dict[str, str]:
    made = {name: (data_dir / path).read_text("utf-8").strip() for name, path in GENERATED.items()}
    keys = {f"a key of the demo, {who}": key.split("_", 2)[2] for who, key in demo.keys.items()}
    people = {
        f"a password of the demo, {tenant} {role}": person["password"]
        for tenant, roles in demo.users.items()
        for role, person in roles.items()
    }
    planted = {f"{name} {n}": one for name, many in PLANTED.items() for n, one in enumerate(many)}
    return made | keys | people | planted | issued | {"camera": CAMERA, "person": PERSON}


def _plain(names: set[str]) -> set[str]:
    """Names of secrets without what tells one of a kind from the next."""
    return {name.partition(",")[0].rpartition(" ")[0] if name[-1:].isdigit() else
            name.partition(",")[0] for name in names}  # fmt: skip


def _data_dir(demo: Demo) -> Path:
    return Path(demo.shell["ATALAIA_DATA_DIR"])


def _use(demo: Demo, seen: list[str]) -> dict[str, str]:
    """Cameras that cannot be read, people and keys; returns the secrets that were given out."""

    def remember(response: httpx.Response) -> None:
        text = response.read().decode("latin-1")
        if response.request.url.path not in ("/v1/auth/login", "/v1/keys"):
            seen.append(f"{response.headers} {text}")

    with demo.client("acme") as client:
        client.event_hooks = {"response": [remember]}
        one = client.get("/v1/cameras").json()["cameras"][0]["url"]
        at = urlsplit(one.replace("***@", "")).netloc
        for id, host in (("wrong-password", at), ("not-there", "10.255.255.254:554")):
            url = f"rtsp://viewer:{quote(CAMERA, safe='')}@{host}/acme-gate"
            assert client.post("/v1/cameras", json={"id": id, "url": url}).status_code == 201
        _wait_for_reason(client, "wrong-password")
        person = {"email": "planted@acme.example", "role": "viewer", "password": PERSON}
        assert client.post("/v1/users", json=person).status_code == 201
        login = {"tenant": "acme", "email": person["email"], "client": "program"}
        tokens = client.post("/v1/auth/login", json=login | {"password": PERSON}).json()
        assert client.post("/v1/auth/login", json=login | {"password": CAMERA}).status_code == 401
        key = client.post("/v1/keys", json={"name": "planted", "role": "viewer"}).json()
        client.get("/v1/cameras", headers={"Authorization": f"Bearer {tokens['refresh_token']}"})
        for path in ("/v1/cameras", "/v1/audit", "/v1/users", "/v1/keys", "/metrics", "/readyz"):
            assert client.get(path).status_code == 200
        for id in ("wrong-password", "not-there"):
            assert client.delete(f"/v1/cameras/{id}").status_code == 204
    # The signature: without it the rest opens nothing, and all tokens begin in the same way.
    tokens_given = {n: str(tokens[n]).rpartition(".")[2] for n in ("access_token", "refresh_token")}
    return {"an issued key": key["key"].split("_", 2)[2], **tokens_given}


def _wait_for_reason(client: httpx.Client, camera: str) -> None:
    deadline = time.monotonic() + REASON_TIMEOUT_S
    while (state := client.get(f"/v1/cameras/{camera}").json()["state"]) != "offline":
        if time.monotonic() > deadline:
            pytest.fail(f"no reason is shown: {state}")
        time.sleep(0.5)


def _in_redis(demo: Demo) -> bytes:
    found: list[Any] = []
    with redis.Redis(port=int(demo.shell["ATALAIA_REDIS__PORT"])) as client:
        for key in client.scan_iter():
            kind = client.type(key)
            if kind == b"stream":
                found += [key, client.xrange(key)]
            elif kind == b"hash":
                found += [key, client.hgetall(key)]
            else:
                found += [key, client.get(key)]
    assert len(found) > 4
    return repr(found).encode()


def _metrics(session: Path) -> bytes:
    """What Ray's exporters show."""
    targets = json.loads((session / "prom_metrics_service_discovery.json").read_text("utf-8"))
    shown = []
    for target in targets[0]["targets"]:
        try:
            shown.append(httpx.get(f"http://{target}/metrics", timeout=30).content)
        except httpx.TransportError:
            continue  # an exporter that has nothing to show does not listen
    assert shown
    return b"\n".join(shown)


def test_no_secret_is_anywhere_but_on_purpose(demo: Demo) -> None:
    data_dir, seen = _data_dir(demo), list[str]()
    issued = _use(demo, seen)
    search = Search(_secrets(demo, data_dir, issued))
    session = (data_dir / "log" / "ray").resolve().parent

    assert search.found_in("\n".join(seen).encode()) == set()
    assert search.found_in(_in_redis(demo)) == set()
    metrics = _metrics(session)
    assert search.found_in(metrics) == set()
    assert not [tenant for tenant in demo.users if tenant.encode() in metrics], "a tenant's name"
    lines = {pid: search.found_in(line) for pid, line in command_lines().items()}
    assert {pid: names for pid, names in lines.items() if names} == {}
    assert (session / "logs").is_dir()
    assert search.found_in_files([session]) == {}
    files = search.found_in_files([data_dir])
    by_name = {str(path.relative_to(data_dir)): _plain(names) for path, names in files.items()}
    assert by_name == {name: names for name, names in ON_PURPOSE.items() if name in by_name}
    assert {"run/livekit.yaml", "run/go2rtc.yaml", "run/relay.json"} <= by_name.keys()
    for path in files:
        if path.name != "demo.log":
            assert path.stat().st_mode & 0o077 == 0, path
