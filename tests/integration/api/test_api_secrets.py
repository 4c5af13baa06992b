"""Secrets in every place that takes one, then everything that can go wrong; nothing of them comes
out: in no answer, log, metric, file or row, however it is written."""

from __future__ import annotations

import asyncio
import io
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from cluster.core.settings import AuditSettings, AuthSettings, DatabaseSettings, Settings
from pipelines.domain import CameraKey
from tests.factories import RECORD_KEY
from tests.integration.api.world import (
    LIVEKIT_SECRET,
    World,
    logged,
    make_settings,
    open_world,
)
from tests.integration.conftest import ValkeyServer
from tests.planted import Search, planted, secret_bodies

BODIES = {
    "NewCamera.url": "rtsp://viewer:{it}@192.0.2.1/1?password={it}",
    "NewCamera.substream_url": "rtsp://viewer:{it}@192.0.2.1/2",
    "CameraPatch.url": "rtsp://viewer:{it}@192.0.2.1/3",
    "CameraPatch.substream_url": "rtsp://viewer:{it}@192.0.2.1/4",
    "NewUser.password": "{it}",
    "UserPatch.password": "{it}",
    "Credentials.password": "{it}",
    "RefreshToken.refresh_token": "{it}",
    "PasswordChange.current": "{it}",
    "PasswordChange.new": "{it}",
}
"""Every secret of a body, and what is sent in its place."""

SENT = {name: planted(name) for name in BODIES}
OWN = {
    "redis.url": planted("redis"),
    "gateway.password": planted("gatewaypassword"),
    "gateway.secret": planted("gatewaysecret"),
    "qdrant.api_key": planted("qdrant"),
    "api.media_secret": planted("media"),
    "auth.keys": planted("authfirst"),
    "auth.keys, former": planted("authformer"),
    "audit.secret": planted("audit"),
    "audit.former_secrets": planted("auditformer"),
    "database.decryption_keys": planted("decryption"),
    "database.encryption_key": RECORD_KEY.get_secret_value(),
    "livekit.api_secret": LIVEKIT_SECRET,
}
RAISED = planted("raised")


def of(name: str) -> str:
    """What is sent as a secret of a body."""
    secret = SENT[name]
    return BODIES[name].format(it=quote(secret, safe="") if "://" in BODIES[name] else secret)


def with_secrets(settings: Settings) -> Settings:
    """`settings` with a secret of each kind that the API reads."""

    def secret(name: str) -> SecretStr:
        return SecretStr(OWN[name])

    return settings.model_copy(
        update={
            "gateway": settings.gateway.model_copy(
                update={
                    "username": "operator",
                    "password": secret("gateway.password"),
                    "secret": secret("gateway.secret"),
                }
            ),
            "qdrant": settings.qdrant.model_copy(update={"api_key": secret("qdrant.api_key")}),
            "api": settings.api.model_copy(update={"media_secret": secret("api.media_secret")}),
            "auth": AuthSettings(keys=(secret("auth.keys"), secret("auth.keys, former"))),
            "audit": AuditSettings(
                secret=secret("audit.secret"), former_secrets=(secret("audit.former_secrets"),)
            ),
            "database": DatabaseSettings(
                encryption_key=RECORD_KEY, decryption_keys=(secret("database.decryption_keys"),)
            ),
        }
    )


@dataclass
class Watched:
    """A running API with all answers that it gave.

    Attributes:
        issued: tokens and keys, by their kind; the answers that hand them out are not in `seen`.
    """

    world: World
    redis: ValkeyServer
    folder: Path
    seen: list[str] = field(default_factory=list)
    issued: dict[str, str] = field(default_factory=dict)

    async def client(self, who: str | None) -> httpx.AsyncClient:
        return await self.world.client(who, event_hooks={"response": [self._remember]})

    async def _remember(self, response: httpx.Response) -> None:
        text = (await response.aread()).decode("latin-1")
        path = response.request.url.path
        if response.is_success and path in ("/v1/auth/login", "/v1/auth/refresh", "/v1/keys"):
            self.issued |= {
                f"{name} of {path} {len(self.issued)}": str(value)
                for name, value in response.json().items()
                if name in ("access_token", "refresh_token", "key") and value
            }
            return
        self.seen.append(f"{response.status_code} {response.headers} {text}")


@pytest.fixture
async def watched(tmp_path: Path, start_valkey: Callable[[], ValkeyServer], migrated: Path) -> Any:
    redis = start_valkey()
    url = f"redis://:{quote(OWN['redis.url'], safe='')}@127.0.0.1:{redis.port}/0"
    async with Redis(port=redis.port) as admin:
        await admin.config_set("requirepass", OWN["redis.url"])
    folder = tmp_path / "world"
    async with open_world(with_secrets(make_settings(folder, url)), migrated) as world:
        yield Watched(world, redis, folder)


@pytest.fixture
def all_logs(logs: io.StringIO) -> Iterator[io.StringIO]:
    """What libraries log, too."""
    handler = logging.StreamHandler(logs)
    logging.getLogger().addHandler(handler)
    yield logs
    logging.getLogger().removeHandler(handler)


async def test_every_secret_of_a_body_is_planted(world: World) -> None:
    found = secret_bodies(world.app.openapi())
    assert found == BODIES.keys(), (
        f"{found ^ BODIES.keys()}: say in BODIES what is sent there, and send it in `_good` and "
        "`_wrong` below"
    )


async def test_nothing_that_is_secret_comes_out(
    watched: Watched, all_logs: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    acme = await watched.client("acme")
    await _good(watched, acme)
    await _wrong(watched, acme)
    await _broken(watched, acme)
    in_redis = await _redis_contents(watched)
    await logged(watched.world, "acme")
    await _without_redis(watched, acme)
    await _without_tables(watched, acme)
    for path in ("/readyz", "/metrics", "/openapi.json", "/docs", "/"):
        await acme.get(path)

    keys = {f"key of {who}": _tail(key) for who, key in watched.world.keys.items()}
    issued = {name: _tail(token) for name, token in watched.issued.items()}
    assert len(issued) >= 5
    search = Search(SENT | OWN | keys | issued | {"raised": RAISED})
    printed = capfd.readouterr()
    assert len(watched.seen) > 100
    assert all_logs.getvalue().count("cannot open rtsp://***@192.0.2.1/") >= 2, "they failed"
    for where, text in {
        "answers": "\n".join(watched.seen), "logs": all_logs.getvalue(), "Redis": in_redis,
        "stdout": printed.out, "stderr": printed.err,
    }.items():  # fmt: skip
        lines = [line for line in text.splitlines() if search.found_in(line.encode())]
        assert lines == [], where
    assert search.found_in_files([watched.folder]) == {}


def _tail(token: str) -> str:
    """The part of a key or of a signed token without which it opens nothing."""
    return token.split("_", 2)[2] if token.startswith("atk_") else token.rpartition(".")[2]


# ------------------------------------------------------------ what is done


async def _good(watched: Watched, acme: httpx.AsyncClient) -> None:
    """Every secret in its own place."""
    camera = {
        "id": "gate",
        "url": of("NewCamera.url"),
        "substream_url": of("NewCamera.substream_url"),
    }
    assert (await acme.post("/v1/cameras", json=camera)).status_code == 201
    change = {"url": of("CameraPatch.url"), "substream_url": of("CameraPatch.substream_url")}
    assert (await acme.patch("/v1/cameras/gate", json=change)).status_code == 200
    user = {"email": "ana@acme.example", "role": "viewer", "password": of("NewUser.password")}
    made = await acme.post("/v1/users", json=user)
    assert made.status_code == 201
    anybody = await watched.client(None)
    for client in ("program", "browser"):
        who = {"tenant": "acme", "email": user["email"], "password": user["password"]}
        answer = await anybody.post("/v1/auth/login", json=who | {"client": client})
        assert answer.status_code == 200
    access = next(t for name, t in watched.issued.items() if name.startswith("access"))
    for current, status in ((of("PasswordChange.current"), 403), (user["password"], 204)):
        answer = await anybody.post(
            "/v1/auth/password",
            json={"current": current, "new": of("PasswordChange.new")},
            headers={"Authorization": f"Bearer {access}"},
        )
        assert answer.status_code == status, answer.text
    token = next(t for name, t in watched.issued.items() if name.startswith("refresh"))
    # Used, used again, and as what it is not.
    for _ in range(2):
        await anybody.post("/v1/auth/refresh", json={"refresh_token": token})
    await anybody.get("/v1/cameras", headers={"Authorization": f"Bearer {token}"})
    changed = {"password": of("UserPatch.password")}
    await acme.patch(made.headers["location"], json=changed)
    await acme.post("/v1/keys", json={"name": "program", "role": "viewer"})
    for path in ("/v1/cameras", "/v1/users", "/v1/keys", "/v1/audit", "/v1/session"):
        assert (await acme.get(path)).status_code == 200


async def _wrong(watched: Watched, acme: httpx.AsyncClient) -> None:
    """Every secret in bodies that are refused, in each way, and where it does not belong."""
    anybody = await watched.client(None)
    at = {
        "NewCamera": ("POST", "/v1/cameras"),
        "CameraPatch": ("PATCH", "/v1/cameras/gate"),
        "NewUser": ("POST", "/v1/users"),
        "UserPatch": ("PATCH", "/v1/users/zzzzzzzzzzzz"),
        "Credentials": ("POST", "/v1/auth/login"),
        "RefreshToken": ("POST", "/v1/auth/refresh"),
        "PasswordChange": ("POST", "/v1/auth/password"),
    }
    for name, secret in SENT.items():
        schema, _, key = name.partition(".")
        method, path = at[schema]
        client = anybody if path.startswith("/v1/auth") else acme
        for body in _refused(key, of(name), secret):
            answer = await client.request(method, path, json=body)
            assert 400 <= answer.status_code < 500, (name, body, answer.text)
        await client.request(method, path, content=f'{{"{key}": "{secret}')
        await client.request(method, path, content=of(name), headers={"Content-Type": of(name)})
    for secret in SENT.values():
        there = quote(secret, safe="")
        await acme.get(f"/v1/cameras/{there}")
        await acme.get(f"/v1/{there}")
        await acme.get("/v1/alarms", params={"camera": secret, "cursor": secret})
        await acme.get(f"/media/{there}")
        await anybody.get("/v1/cameras", headers={"Authorization": f"Bearer {secret}"})
        await anybody.get("/v1/cameras", headers={"Authorization": f"Basic {secret}"})
        await anybody.post("/v1/auth/refresh", headers={"Cookie": f"atalaia_refresh={there}"})


def _refused(key: str, value: str, secret: str) -> Iterator[dict[str, Any]]:
    """Bodies that no schema accepts, around a secret."""
    yield {key: {secret: value}}
    yield {key: [value]}
    yield {key: value * 90}
    yield {key: value, "nonsense": value}
    yield {key: value, "id": value, "email": value, "tenant": value, "role": value}
    yield {key: f"gopher://{quote(secret, safe='')}:{quote(secret, safe='')}@h:99999/", "id": 1,
           "email": 1}  # fmt: skip


async def _broken(watched: Watched, acme: httpx.AsyncClient) -> None:
    """Parts behind the API that fail, with a secret in what they say."""
    world = watched.world
    url = f"rtsp://viewer:{quote(RAISED, safe='')}@192.0.2.1/"

    async def fails(*_: object, **__: object) -> Any:
        raise RuntimeError(f"cannot open {url} with {url!r}")

    world.controller.away = True
    await acme.patch("/v1/cameras/gate", json={"url": of("CameraPatch.url")})
    world.controller.changed = fails  # type: ignore[method-assign]
    await acme.patch("/v1/cameras/gate", json={"name": "other"})
    world.hosts.snapshot = fails  # type: ignore[method-assign]
    world.hosts.pictures["atalaia-host-0", CameraKey("acme", "gate")] = b"x"
    await acme.get("/v1/cameras/gate/snapshot")
    world.detector.info = fails  # type: ignore[method-assign]
    world.jobs.submit = fails  # type: ignore[method-assign]
    await acme.post("/v1/jobs", json={"kind": "reprocess", "camera": "gate"})
    rule = {"kind": "zone_entry", "polygon": [[0, 0], [1, 0], [1, 1]], "classes": ["person"]}
    await acme.post("/v1/cameras/gate/rules", json=rule)
    platform = await watched.client("platform")
    await platform.get("/v1/model")


async def _redis_contents(watched: Watched) -> str:
    """Every key with all that it holds."""
    redis = watched.world.redis
    found = [f"{key!r} {await _value(redis, key)!r}" async for key in redis.scan_iter()]
    assert found
    return "\n".join(found)


async def _value(redis: Redis, key: Any) -> object:
    match await redis.type(key):
        case b"stream":
            return await redis.xrange(key)
        case b"hash":
            return await redis.hgetall(key)
        case _:
            return await redis.get(key)


async def _without_redis(watched: Watched, acme: httpx.AsyncClient) -> None:
    """Redis takes another password now, and all connections are gone."""
    async with Redis(port=watched.redis.port, password=OWN["redis.url"]) as admin:
        await admin.config_set("requirepass", "another-one")
        await admin.client_kill_filter(_type="normal", skipme=True)
    for path in ("/v1/cameras", "/v1/quotas", "/v1/alarms/stream", "/readyz"):
        await acme.get(path)
    assert (await acme.get("/v1/cameras/gate")).status_code == 503


async def _without_tables(watched: Watched, acme: httpx.AsyncClient) -> None:
    """The database refuses what is written: the statement has the secrets in it."""
    path = watched.world.deps.settings.database_url.removeprefix("sqlite+aiosqlite:///")

    def break_it() -> None:
        with closing(sqlite3.connect(path)) as file:
            for table in ("cameras", "users", "sessions"):
                file.execute(f"ALTER TABLE {table} RENAME TO {table}_gone")
            file.commit()

    await asyncio.to_thread(break_it)
    statuses = set()
    for _ in range(2):
        camera = {"id": "yard", "url": of("NewCamera.url")}
        statuses.add((await acme.post("/v1/cameras", json=camera)).status_code)
        user = {"email": "eva@acme.example", "role": "viewer", "password": of("NewUser.password")}
        statuses.add((await acme.post("/v1/users", json=user)).status_code)
        who = {
            "tenant": "acme",
            "email": "ana@acme.example",
            "password": of("Credentials.password"),
        }
        statuses.add((await acme.post("/v1/auth/login", json=who)).status_code)
    assert statuses <= {500, 503}
