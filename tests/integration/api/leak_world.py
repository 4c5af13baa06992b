"""Two tenants that have everything a tenant can have, each thing marked as its own; and every
credential that one of them could try."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, get_args
from urllib.parse import quote
from uuid import uuid4

import jwt
import numpy as np
from pydantic import SecretStr
from sqlalchemy import Table

from cluster.clips.exports import manifest_key
from cluster.clips.manifest import Manifest
from cluster.core.passwords import hash_password
from cluster.core.roles import Role, TenantRole
from cluster.stores.audit.events import AuditAction, AuditEvent, AuditOutcome
from cluster.stores.bus import CameraStatusBoard
from cluster.stores.db import Principal, RetentionRun, StorageUse, new_key
from cluster.stores.db.models import Base
from pipelines.anonymisation import AnonymisationPolicy, Hide
from pipelines.domain import CameraKey, Segment
from pipelines.erasure import Target
from pipelines.ledger import Cover, Stretch
from pipelines.retention import HeldSpan, RetentionKind, RetentionPolicy
from tests.factories import (
    T0_US,
    make_alarm,
    make_analysed,
    make_camera,
    make_path,
    make_rule,
    make_sighting,
    make_status,
)
from tests.integration.api.leak_ids import Kind
from tests.integration.api.leak_requests import STRETCH, Ids
from tests.integration.api.test_api_search import RED
from tests.integration.api.world import LIVEKIT_SECRET, PASSWORD, World

VICTIM, ATTACKER = "globex", "acme"
MARKS = {VICTIM: "zurbaran", ATTACKER: "quintela"}
"""A word in everything that a tenant has, in each place where a word can stand."""

HOST = "atalaia-host-0"
NOBODYS: Ids = {
    Kind.ACTOR: ["key:nobodyxx"],
    Kind.ALARM: ["00000000-0000-4000-8000-00000000dead"],
    Kind.CAMERA: ["nobodys-gate"],
    Kind.CURSOR: ["nobodys"],
    Kind.EMAIL: ["nobody@example.com"],
    Kind.ERASURE: ["00000000-0000-4000-8000-00000000fade"],
    Kind.ETAG: ['"nobodys"'],
    Kind.EVENT: ["1-1"],
    Kind.EXPORT: ["00000000-0000-4000-8000-00000000beef"],
    Kind.GROUP: ["nobodys-group"],
    Kind.HOLD: ["00000000-0000-4000-8000-00000000feed"],
    Kind.JOB: ["00000000-0000-4000-8000-00000000cafe"],
    Kind.KEY: ["nobodyxx"],
    Kind.LINK: ["nobodys"],
    Kind.PICTURE: ["nobodys/picture.jpg"],
    Kind.REVEAL: ["00000000-0000-4000-8000-00000000face"],
    Kind.RULE: ["nobodys-rule"],
    Kind.TENANT: ["nobody"],
    Kind.TRACK: ["nobodys-track"],
    Kind.USER: ["nobodyxxxxxx"],
}


@dataclass
class Planted:
    """What one tenant has.

    Attributes:
        ids: at least one of each kind.
        words: texts that nobody else may ever read, besides those of its rows.
    """

    tenant: str
    ids: dict[Kind, list[str]] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)


async def plant(world: World, tenant: str) -> Planted:
    """Give a tenant one of everything, in each store."""
    mark = MARKS[tenant]
    planted = Planted(tenant, words={mark, tenant})
    camera = f"{mark}-gate"
    await _plant_records(world, planted, camera)
    await _plant_seen(world, planted, camera)
    await _plant_kept(world, planted, camera)
    await _plant_people(world, planted)
    await _plant_privacy(world, planted, camera)
    planted.ids[Kind.TENANT] = [tenant]
    return planted


async def _plant_records(world: World, planted: Planted, camera: str) -> None:
    tenant, mark = planted.tenant, MARKS[planted.tenant]
    records = world.database.tenant(tenant)
    url = f"rtsp://{mark}-user:{mark}-password@192.0.2.7/{mark}"
    await records.add_camera(
        make_camera(tenant, camera, name=f"{mark} name", url=url, substream_url=f"{url}/sub")
    )
    rule = f"{mark}-rule"
    await records.add_rule(camera, make_rule(rule, name=f"{mark} rule name"))
    await world.database.platform().set_quotas(tenant, {"cameras": 7_654})
    alarms = [
        make_alarm(n, tenant, camera=camera, rule=rule, track=f"{mark}-track-{n}",
                   snapshot=f"alarms/{mark}-{n}.jpg")
        for n in range(4)
    ]  # fmt: skip
    await records.record_alarms(alarms[:3])
    await records.acknowledge(alarms[2].id, f"user:{mark}", T0_US)
    # The last one is in Redis only, as it is before the listener has seen it.
    event = await world.stream(tenant).publish(alarms[3])
    pictures = [f"alarms/{mark}-{n}.jpg" for n in range(4)]
    for key in pictures:
        await world.blobs(tenant).put(key, f"bytes {mark} of an alarm".encode())
    status = make_status(camera, reason=f"{mark} reason")
    await CameraStatusBoard(world.redis, life_s=3_600).put_all(tenant, [status])
    world.hosts.pictures[HOST, CameraKey(tenant, camera)] = f"bytes {mark} of now".encode()
    planted.ids |= {
        Kind.CAMERA: [camera],
        Kind.RULE: [rule],
        Kind.ALARM: [str(alarm.id) for alarm in (alarms[0], alarms[3])],
        Kind.PICTURE: [pictures[0]],
        Kind.EVENT: [str(event)],
    }


async def _plant_seen(world: World, planted: Planted, camera: str) -> None:
    tenant, mark = planted.tenant, MARKS[planted.tenant]
    track, picture = f"{mark}-track", f"objects/{camera}/{mark}.jpg"
    seen = make_sighting(1, tenant, camera=camera, track=track, snapshot=picture)
    await world.database.tracks(tenant).record_objects([seen])
    # A class of its own, which the analytics would name.
    odd = make_sighting(2, tenant, camera=camera, track=f"{track}-2", label=f"{mark} class")
    await world.database.tracks(tenant).record_objects([odd])
    await world.database.tracks(tenant).record_paths(
        [make_path(1, tenant, camera=camera, track=track)]
    )
    red = np.array([RED], np.float32).reshape(-1) + 1
    await world.memory.upsert(tenant, seen, red / np.linalg.norm(red))
    await world.blobs(tenant).put(picture, f"bytes {mark} of an object".encode())
    planted.ids[Kind.TRACK] = [track]
    planted.ids[Kind.PICTURE].append(picture)


async def _plant_kept(world: World, planted: Planted, camera: str) -> None:
    tenant, mark = planted.tenant, MARKS[planted.tenant]
    blob = f"recordings/{camera}/{mark}.mp4"
    for start_us in (T0_US, T0_US + 10**7):
        await world.database.recordings(tenant).add(
            Segment(
                camera=camera, start_us=start_us, end_us=start_us + 10**7, origin_us=start_us,
                codec="h264", width=640, height=360, frames=250, size=99, sha256="0" * 64,
                blob=blob, note=f"{mark} note",
            )
        )  # fmt: skip
    await world.blobs(tenant).put(blob, f"bytes {mark} of a recording".encode() * 9)
    export = uuid4()
    stretch = {"from": STRETCH[0], "to": STRETCH[1]}
    manifest = Manifest.model_validate(
        {
            "id": export, "tenant": tenant, "camera": camera, "asked": stretch, "covered": stretch,
            "gaps": [], "sources": [], "created_at": STRETCH[0], "created_by": f"user:{mark}",
            "file": {"sha256": "0" * 64, "size": 1, "frames": 1, "audio": False},
        }
    )  # fmt: skip
    await world.blobs(tenant).put(manifest_key(export), manifest.model_dump_json().encode())
    job = await world.database.jobs(tenant).add(
        "reprocess", {"camera": camera, "model": f"{mark}.pt"}, submission=f"{mark}-{{id}}"
    )
    retention = world.database.retention(tenant)
    hold = await retention.add_hold(HeldSpan(camera, 0, T0_US), f"{mark} case", f"user:{mark}")
    policy = RetentionPolicy(cameras={camera: {RetentionKind.PATHS: 1}})
    await retention.set_policy(policy, f"user:{mark}")
    await retention.add_run(
        RetentionRun(started_us=1, ended_us=2, complete=False, error=f"{mark} error")
    )
    planted.ids |= {
        Kind.EXPORT: [str(export)], Kind.JOB: [str(job.id)], Kind.HOLD: [str(hold.id)],
        Kind.ETAG: [f'"{(await world.blobs(tenant).stat(blob)).version}"'],
    }  # fmt: skip


async def _plant_privacy(world: World, planted: Planted, camera: str) -> None:
    tenant, mark = planted.tenant, MARKS[planted.tenant]
    anonymisation = world.database.anonymisation(tenant)
    await anonymisation.set_policy(AnonymisationPolicy(cameras={camera: Hide.OFF}), f"user:{mark}")
    admin = (await holder(world, tenant)).actor
    now_us = world.deps.clock.now_us()
    reveal = await anonymisation.add_reveal(
        camera, (0, T0_US), f"{mark} why", admin, minutes=60, now_us=now_us
    )
    # Of an object that nobody has, so that what the others are asked for stays.
    gone = Target(camera, f"{mark}-gone")
    await world.database.tracks(tenant).record_objects(
        [make_sighting(9, tenant, camera=camera, track=gone.track)]
    )
    erasures = world.database.erasures(tenant)
    asked = [await erasures.ask([gone], f"{mark} request", f"user:{mark}") for _ in range(2)]
    await world.database.erasure_work(tenant).erase_object(asked[0].id, gone)
    use = StorageUse(recordings=1, files=2, listed_us=T0_US, measured_us=T0_US)
    await world.database.retention(tenant).set_storage(use)
    await world.database.tracks(tenant).record_analysed([make_analysed(1, tenant, camera=camera)])
    # Each a time of its own, which the totals would show.
    lasted_us = 123_457_000 if tenant == VICTIM else 60_000_000
    gaps = [
        Stretch(begin_us, begin_us + lasted_us, Cover.CAMERA)
        for begin_us in (now_us - 3_600 * 10**6, now_us - 1_800 * 10**6)  # within the last day
    ]
    await world.database.coverage(tenant).add({camera: gaps})
    planted.ids |= {
        Kind.REVEAL: [str(reveal.id)],
        Kind.ERASURE: [str(erasure.id) for erasure in asked],
    }


async def _plant_people(world: World, planted: Planted) -> None:
    tenant, mark = planted.tenant, MARKS[planted.tenant]
    key = await world.database.keys(tenant).issue(f"{mark} key", Role.VIEWER)
    hashed = SecretStr(_HASH)
    user = await world.database.users(tenant).add(
        f"{mark}@example.com", f"{mark} person", Role.VIEWER, hashed
    )
    group = f"{mark}-group"
    await world.database.groups(tenant).add(group, f"{mark} group name", [f"{mark}-gate"])
    await world.database.keys(tenant).issue(f"{mark} key 2", Role.VIEWER, None, [group])
    await world.database.users(tenant).add(
        f"{mark}2@example.com", f"{mark} person 2", Role.VIEWER, hashed, [group]
    )
    event = AuditEvent(
        at_us=T0_US, actor=f"user:{mark}", action=AuditAction.CAMERA_CHANGE, object_kind="camera",
        object_id=f"{mark}-gate", address="203.0.113.77" if tenant == VICTIM else "203.0.113.78",
        outcome=AuditOutcome.DONE, details={"fields": [f"{mark} field"]},
    )  # fmt: skip
    await world.database.audit(tenant).append([event, event])
    planted.ids |= {
        Kind.KEY: [key.id], Kind.USER: [user.id], Kind.EMAIL: [f"{mark}@example.com"],
        Kind.ACTOR: [f"key:{key.id}", f"user:{user.id}"], Kind.GROUP: [group],
    }  # fmt: skip


_HASH = hash_password(PASSWORD)


# ------------------------------------------------------------ credentials


@dataclass(frozen=True)
class Credential:
    """One way to ask.

    Attributes:
        good: the API knows it: the request is judged by what its holder may do.
        platform: it is the platform's, which rules over tenants and keys.
    """

    name: str
    headers: dict[str, str]
    good: bool = False
    platform: bool = False


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def credentials(world: World, theirs: Planted) -> list[Credential]:
    """Every credential of ATTACKER, of the platform, none, and what is no credential here."""
    found = [
        Credential("none", {}),
        Credential("platform", bearer(world.keys["platform"]), True, True),
    ]
    roles: tuple[Role, ...] = get_args(TenantRole)
    for role in roles:
        found.append(Credential(f"{role} key", bearer(world.keys[f"{ATTACKER} {role}"]), good=True))
        access, refresh = await _tokens(world, role)
        found.append(Credential(f"{role} session", bearer(access), good=True))
    limited = await world.database.keys(ATTACKER).issue(
        "limited", Role.ANALYST, None, [f"{MARKS[ATTACKER]}-group"]
    )
    found.append(Credential("analyst key of a group", bearer(limited.secret), good=True))
    return found + await _no_credentials(world, theirs, access, refresh)


async def _tokens(world: World, role: Role) -> tuple[str, str]:
    """Access and refresh token of a user of ATTACKER with this role."""
    email = f"{role}@{ATTACKER}.example"
    await world.database.users(ATTACKER).add(email, str(role), role, SecretStr(_HASH))
    client = await world.client(None)
    body = {"tenant": ATTACKER, "email": email, "password": PASSWORD, "client": "program"}
    tokens = (await client.post("/v1/auth/login", json=body)).raise_for_status().json()
    return tokens["access_token"], tokens["refresh_token"]


async def _no_credentials(
    world: World, theirs: Planted, access: str, refresh: str
) -> list[Credential]:
    claims = jwt.decode(access, options={"verify_signature": False})
    foreign = claims | {"tenant": VICTIM, "sub": theirs.ids[Kind.USER][0]}
    own = world.keys[ATTACKER]
    revoked = await world.database.keys(ATTACKER).issue("revoked", Role.ADMIN)
    await world.database.keys(ATTACKER).revoke_key(revoked.id)
    expired = await world.database.keys(ATTACKER).issue("expired", Role.ADMIN)
    await world.database.keys(ATTACKER).rotate_key(expired.id, 0)
    link = world.state.evidence.links.link(
        ATTACKER, "clips/1.mp4", "video/mp4", by=await holder(world, ATTACKER)
    )
    made = {
        "refresh token": refresh,
        "signed link": link.rpartition("/")[2],
        "token of a room": jwt.encode({"sub": "x", "exp": 2**32}, LIVEKIT_SECRET),
        "token with the other tenant in it": _edited(access, foreign),
        "token without a signature": _unsigned(foreign),
        "token signed with the secret of rooms": jwt.encode(
            foreign, LIVEKIT_SECRET, headers={"kid": jwt.get_unverified_header(access)["kid"]}
        ),
        "key with the id of theirs": f"atk_{theirs.ids[Kind.KEY][0]}_{own.split('_', 2)[2]}",
        "id of a key of theirs": theirs.ids[Kind.KEY][0],
        "key that nobody was given": new_key(),
        "revoked key": revoked.secret,
        "expired key": expired.secret,
    }
    basic = base64.b64encode(f"{ATTACKER}:{own}".encode()).decode()
    wrong = [Credential(name, bearer(token)) for name, token in made.items()]
    return [*wrong, Credential("own key by Basic", {"Authorization": f"Basic {basic}"})]


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def _edited(token: str, claims: dict[str, Any]) -> str:
    """Another content under the same signature."""
    head, _, signature = token.split(".")
    return f"{head}.{_part(claims)}.{signature}"


def _unsigned(claims: dict[str, Any]) -> str:
    return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(claims)}."


async def holder(world: World, tenant: str) -> Principal:
    """Whoever has the key of a tenant's admin."""
    found = await world.database.platform().find_key(world.keys[tenant])
    assert found is not None
    return found


async def forged_links(world: World, theirs: Planted) -> list[str]:
    """Signed links in which a name was changed afterwards: the attacker's with the victim's names,
    and the victim's with another file."""
    links, file = world.state.evidence.links, theirs.ids[Kind.PICTURE][0]
    by = await holder(world, ATTACKER), await holder(world, VICTIM)
    own = links.link(ATTACKER, file, "image/jpeg", by=by[0]).rpartition("/")[2]
    foreign = links.link(VICTIM, "nothing.jpg", "image/jpeg", by=by[1]).rpartition("/")[2]
    claims = jwt.decode(own, options={"verify_signature": False})
    whole = claims | {"tenant": VICTIM, "key": file}
    return [
        _edited(own, whole),
        _edited(foreign, whole),
        _unsigned(whole),
        jwt.encode(whole, LIVEKIT_SECRET),
    ]


# ------------------------------------------------------------ what must not come out


def rows(world: World, tenant: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of a tenant, by table: of every table that has a tenant. As they are in the file,
    past all that keeps tenants apart."""
    path = world.deps.settings.database_url.removeprefix("sqlite+aiosqlite:///")
    found: dict[str, list[dict[str, Any]]] = {}
    with closing(sqlite3.connect(path)) as file:
        file.row_factory = sqlite3.Row
        for table in tables():
            column = "slug" if table.name == "tenants" else "tenant"
            answer = file.execute(f'SELECT * FROM "{table.name}" WHERE {column} = ?', [tenant])
            found[table.name] = sorted((dict(row) for row in answer), key=repr)
    return found


def tables() -> list[Table]:
    """Every table that holds something of a tenant."""
    return [
        table
        for table in Base.metadata.sorted_tables
        if "tenant" in table.c or table.name == "tenants"
    ]


def words_in(value: object) -> Iterator[str]:
    """Every text in a value, however deep."""
    match value:
        case str() if value.startswith(("{", "[")):
            yield from words_in(json.loads(value))
        case str():
            yield value
        case dict():
            for key, member in value.items():
                yield from (*words_in(key), *words_in(member))
        case list() | tuple():
            for member in value:
                yield from words_in(member)


# Shorter ones stand in other words by chance.
_SHORTEST = 6


def telling(theirs: Planted, of_theirs: object, of_others: object) -> set[str]:
    """Texts of one tenant that nobody else has."""
    common = set(words_in(of_others))
    own = {word for word in words_in(of_theirs) if len(word) >= _SHORTEST}
    ids = {id for kind in theirs.ids.values() for id in kind if len(id) >= _SHORTEST}
    return (own - common) | theirs.words | ids


_SIGNED = re.compile(rb"eyJ[\w-]*\.(eyJ[\w-]*)\.")


def searchable(raw: bytes) -> bytes:
    """An answer with all that stands in signed tokens beside it, in lower case."""
    opened = [
        base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)) for part in _SIGNED.findall(raw)
    ]
    return b"\n".join((raw, *opened)).lower()


def spellings(word: str) -> set[bytes]:
    """How a text may stand in an answer."""
    plain = word.lower()
    return {
        plain.encode(),
        quote(plain, safe="").lower().encode(),
        json.dumps(plain)[1:-1].encode(),
    }
