"""Every route, with every id of another tenant, in the name of everybody who could ask.

All of it is derived: routes and places for ids from the OpenAPI document, credentials from the
roles, what must not come out from the other tenant's rows. What is new and not covered fails here,
and the message says where to add it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import quote

import httpx
import jwt
import pytest
import pytest_asyncio

from cluster.core.roles import Role
from cluster.stores.db import Principal
from tests.factories import make_alarm
from tests.integration.api.in_process import BASE, Answer, InProcess
from tests.integration.api.leak_ids import Kind, Operation, operations, undeclared
from tests.integration.api.leak_requests import Case, Draft, Ids, cases, widest
from tests.integration.api.leak_world import (
    ATTACKER,
    MARKS,
    NOBODYS,
    VICTIM,
    Credential,
    Planted,
    bearer,
    credentials,
    forged_links,
    plant,
    rows,
    searchable,
    spellings,
    tables,
    telling,
)
from tests.integration.api.world import World, make_settings, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAM = "GET /v1/alarms/stream"
AUDIT = "GET /v1/audit"
# The platform's key is for these: it sees whose tenants and keys there are, and nothing in them.
OF_THE_PLATFORM = {"tenant.manage", "key.manage"}
# Change with every answer, by what the asker itself has used.
VOLATILE = {"ratelimit", "ratelimit-policy", "date", "content-length"}


@dataclass
class Scene:
    """Two tenants, and who asks."""

    world: World
    app: InProcess
    operations: list[Operation]
    own: Planted
    theirs: Planted
    asking: list[Credential]
    secrets: set[str]
    own_words: set[str]
    tried: Counter[str] = field(default_factory=Counter)
    known: dict[tuple[str, str], Answer] = field(default_factory=dict)


@asynccontextmanager
async def opened(folder: Path, valkey: str, migrated: Path) -> AsyncIterator[Scene]:
    async with open_world(make_settings(folder, valkey), migrated) as world:
        theirs, own = await plant(world, VICTIM), await plant(world, ATTACKER)
        both = rows(world, VICTIM), rows(world, ATTACKER)
        secrets = telling(theirs, both[0], [both[1], own.ids])
        own_words = telling(own, both[1], [both[0], theirs.ids])
        theirs.ids[Kind.LINK] = await forged_links(world, theirs)
        own.ids[Kind.LINK] = ["nobodys"]
        app = InProcess(world.app)
        found = operations(world.app.openapi())
        asking = await credentials(world, theirs)
        theirs.ids[Kind.CURSOR] = await _cursors(world, app, found)
        own.ids[Kind.CURSOR] = ["nobodys"]
        yield Scene(world, app, found, own, theirs, asking, secrets, own_words)


async def _cursors(world: World, app: InProcess, found: list[Operation]) -> list[str]:
    """Where the victim would page on, in each of its lists."""
    cursors = []
    for operation in found:
        names = {parameter["name"] for parameter in operation.parameters}
        if operation.method == "GET" and "cursor" in names and operation.permission:
            request = httpx.Request("GET", f"{BASE}{operation.path}", params={"limit": 1})
            request.headers.update(bearer(world.keys[VICTIM]) | {"Host": "127.0.0.1"})
            cursor = httpx.Response(200, content=(await app.ask(request)).body).json()[
                "next_cursor"
            ]
            assert cursor, f"{operation.name}: give the victim two of them in `plant`"
            cursors.append(cursor)
    return cursors


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(
    tmp_path_factory: pytest.TempPathFactory, valkey: str, migrated: Path
) -> AsyncIterator[Scene]:
    async with opened(tmp_path_factory.mktemp("leaks"), valkey, migrated) as scene:
        yield scene


# ------------------------------------------------------------ what is covered


async def test_every_place_for_a_text_is_declared(scene: Scene) -> None:
    assert not undeclared(scene.operations), "\n".join(undeclared(scene.operations))


async def test_every_kind_of_id_is_planted(scene: Scene) -> None:
    """A new kind of thing must exist in both tenants, and in neither."""
    for whose, ids in (("plant", scene.theirs.ids), ("NOBODYS", NOBODYS)):
        missing = set(Kind) - {kind for kind, some in ids.items() if some}
        assert not missing, f"leak_world.py: {whose} has no id of the kinds {sorted(missing)}"


async def test_the_victim_has_a_row_in_every_table(scene: Scene) -> None:
    found = rows(scene.world, VICTIM)
    empty = [table.name for table in tables() if not found[table.name]]
    # Sessions are those of who asks: the victim's would be another credential of its own.
    assert set(empty) <= {"sessions"}, (
        f"{empty}: let `plant` in leak_world.py write a row into each of these tables, with the "
        "tenant's mark in every text of it"
    )


async def test_every_part_of_a_caller_has_its_credentials(scene: Scene) -> None:
    """A caller that differs in more than its role needs a credential for each difference."""
    assert {part.name for part in fields(Principal)} == {
        *("tenant", "role", "actor", "session", "groups"),
    }, (
        "Principal has a new part: let `credentials` in leak_world.py make a key and a session for "
        "each of its values, then add it here"
    )
    roles = {name.split()[0] for name in (c.name for c in scene.asking if c.good)}
    assert roles == set(Role)


# ------------------------------------------------------------ what would be found


def _operation(scene: Scene, name: str) -> Operation:
    return next(operation for operation in scene.operations if operation.name == name)


async def test_an_unknown_place_is_named_with_what_to_do(scene: Scene) -> None:
    """As a new route has it: in an address, a query, a list in a body, a key of a mapping."""
    text = {"type": "string"}
    members = {"doors": {"type": "array", "items": text}, "n": {"type": "integer"}}
    mapping = {"type": "object", "additionalProperties": text}
    body = {"properties": members | {"by_gate": mapping}}
    schema = {
        "parameters": [{"in": "path", "name": "door", "required": True, "schema": text}],
        "requestBody": {"content": {"application/json": {"schema": body}}},
    }
    new = Operation("POST", "/v1/doors/{door}", schema, scene.operations[0].document)
    told = undeclared([*scene.operations, new])
    assert [line.partition(" is in no table")[0] for line in told] == [
        f"POST /v1/doors/{{door}}: {place}"
        for place in ("path `door`", "body `doors.*`", "body `by_gate.{}`")
    ]
    assert all("leak_ids.py" in line and "SLOTS" in line for line in told)


@pytest.mark.parametrize("where", ["body", "header", "address", "token", "picture"])
async def test_what_leaks_is_found_wherever_it_stands(scene: Scene, where: str) -> None:
    word = f"{MARKS[VICTIM]} reason"
    signed = jwt.encode({"tenant": VICTIM, "by": word}, "k" * 32)
    texts = {"body": f'{{"a": "{word}"}}', "address": quote(word), "token": f'"/media/{signed}"',
             "picture": f"\x00\xff{word}"}  # fmt: skip
    headers = {"location": quote(word)} if where == "header" else {}
    answer = Answer(200, headers, texts.get(where, "").encode("latin-1"))
    draft = widest(_operation(scene, "GET /v1/cameras"), scene.own.ids)
    assert _leaked(scene, draft, scene.asking[0], answer)
    assert not _leaked(scene, draft, scene.asking[0], Answer(200, {}, b"nothing"))


@pytest.mark.parametrize(
    ("theirs", "same"),
    [
        (Answer(404, {}, b"There is no camera 'zurbaran-gate'."), True),
        (Answer(403, {}, b"There is no camera 'zurbaran-gate'."), False),
        (Answer(404, {}, b"The camera 'zurbaran-gate' is not yours."), False),
        (Answer(404, {"etag": "x"}, b"There is no camera 'zurbaran-gate'."), False),
    ],
)
async def test_an_answer_that_tells_what_exists_is_found(
    scene: Scene, theirs: Answer, same: bool
) -> None:
    operation = _operation(scene, "GET /v1/cameras/{camera}")
    [case] = cases(operation, scene.own.ids, scene.theirs.ids, NOBODYS)
    nobodys = Answer(404, {}, b"There is no camera 'nobodys-gate'.")
    assert (_difference(case, theirs, nobodys) == "") is same


# ------------------------------------------------------------ nothing comes out


@pytest.mark.timeout(900)
async def test_nobody_gets_anything_of_another_tenant(scene: Scene) -> None:
    """Neither a word of it, nor whether it exists; and nothing of it changes."""
    # When the victim's own key was used is written each minute, so maybe while others ask.
    await scene.world.state.authenticator._uses.flush()
    before = _state(scene.world)
    leaks: list[str] = []
    for operation in sorted(scene.operations, key=_order):
        for credential in _askers(scene, operation):
            leaks += await _tried(scene, operation, credential)
    sys.stdout.write(
        f"{sum(scene.tried.values())} requests {dict(scene.tried)}, {len(leaks)} leaks\n"
    )
    assert not leaks, "\n".join(leaks[:20])
    after = _state(scene.world)
    assert [name for name in before if before[name] != after[name]] == []


def _order(operation: Operation) -> tuple[bool, int, str]:
    """What shows things comes before what makes some; the log of it all is the very first."""
    methods = ("GET", "HEAD", "PUT", "PATCH", "DELETE", "POST")
    return operation.name != AUDIT, methods.index(operation.method), operation.path


def _state(world: World) -> dict[str, object]:
    """All that the victim has: rows, files, and what was told to other parts about it. Without what
    strangers may add: refused sign-ins are in the log of the tenant that they name."""
    found: dict[str, object] = {**rows(world, VICTIM)}
    del found["audit"]
    folder = Path(world.deps.settings.blob_url.removeprefix("file://")) / VICTIM
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    found["files"] = {path: path.read_bytes() for path in files}
    found["told"] = [told for told in world.controller.told if told[0] == VICTIM]
    found["jobs"] = (dict(world.jobs.started), list(world.jobs.stopped))
    return found


def _askers(scene: Scene, operation: Operation) -> list[Credential]:
    """Who asks. Where no key is read, two who differ are enough: a sign-in takes 0.1 s."""
    if operation.permission is None:
        return [c for c in scene.asking if c.name in ("none", "admin key")]
    return scene.asking


async def _tried(scene: Scene, operation: Operation, credential: Credential) -> list[str]:
    if credential.platform and operation.permission in OF_THE_PLATFORM:
        return await _platform_tried(scene, operation, credential)
    found: list[str] = []
    if operation.method == "GET":
        found += await _wide_tried(scene, operation, credential)
    for case in cases(operation, scene.own.ids, scene.theirs.ids, NOBODYS):
        found += await _case_tried(scene, case, credential)
    return found


async def _wide_tried(scene: Scene, operation: Operation, credential: Credential) -> list[str]:
    """All that there is, at the time of all that the victim has."""
    draft = widest(operation, scene.own.ids)
    scene.tried["widest"] += 1
    return _leaked(scene, draft, credential, await _asked(scene, draft, credential))


async def _platform_tried(scene: Scene, operation: Operation, credential: Credential) -> list[str]:
    """It may name tenants and keys, and read of them what is in no tenant's hands."""
    if operation.method != "GET":
        return []
    draft = widest(operation, scene.theirs.ids)
    answer = await _asked(scene, draft, credential)
    scene.tried["platform"] += 1
    known = {word for table in ("tenants", "keys", "quotas") for word in _words(scene, table)}
    known |= {scene.theirs.tenant, *scene.theirs.ids[Kind.KEY]}
    return _leaked(scene, draft, credential, answer, known)


def _words(scene: Scene, table: str) -> set[str]:
    return telling(Planted(""), rows(scene.world, VICTIM)[table], [])


async def _case_tried(scene: Scene, case: Case, credential: Credential) -> list[str]:
    theirs = await _asked(scene, case.theirs, credential)
    found = _leaked(scene, case.theirs, credential, theirs)
    await _forget(scene, theirs)
    scene.tried["of another"] += 1
    nobodys = await _of_nobody(scene, case.nobodys, credential)
    told = _difference(case, theirs, nobodys)
    if told and not _is_position(case):
        found.append(f"{credential.name}: {case.theirs}: tells whether it exists: {told}")
    return found


async def _of_nobody(scene: Scene, draft: Draft, credential: Credential) -> Answer:
    """The answer where nobody has such a thing; one that was only read is the same each time."""
    name = credential.name, str(draft)
    if name not in scene.known:
        answer = await _asked(scene, draft, credential)
        await _forget(scene, answer)
        scene.tried["of nobody"] += 1
        if draft.operation.method != "GET":
            return answer
        scene.known[name] = answer
    return scene.known[name]


async def _asked(scene: Scene, draft: Draft, credential: Credential) -> Answer:
    request = draft.request(credential.headers)
    if draft.operation.name != STREAM or not _may(draft.operation, credential):
        return await scene.app.ask(request)
    return await _followed(scene, request)


def _may(operation: Operation, credential: Credential) -> bool:
    return credential.good and not credential.platform and operation.permission is not None


async def _followed(scene: Scene, request: httpx.Request) -> Answer:
    """A stream of alarms until the attacker's own comes, before which the victim had one."""
    number = 1_000 + scene.tried["stream"]
    scene.tried["stream"] += 1
    own = make_alarm(number, ATTACKER, camera=scene.own.ids[Kind.CAMERA][0])

    async def happen() -> None:
        theirs = make_alarm(number, VICTIM, track=f"{scene.theirs.ids[Kind.TRACK][0]}-{number}")
        await scene.world.stream(VICTIM).publish(theirs)
        await scene.world.stream(ATTACKER).publish(own)

    return await scene.app.stream(request, lambda body: str(own.id).encode() in body, happen)


async def _forget(scene: Scene, answer: Answer) -> None:
    """Take back what the attacker made, so that the next request finds its world as it was."""
    location = answer.headers.get("location", "")
    if location.startswith("/v1/") and answer.status in (201, 202):
        request = httpx.Request("DELETE", f"{BASE}{location}")
        request.headers.update(bearer(scene.world.keys[ATTACKER]) | {"Host": "127.0.0.1"})
        assert (await scene.app.ask(request)).status in (200, 204, 404, 405), location


def _leaked(
    scene: Scene,
    draft: Draft,
    credential: Credential,
    answer: Answer,
    known: set[str] = frozenset(),  # type: ignore[assignment]
) -> list[str]:
    """What of the victim's stands in an answer, but for what the request itself named."""
    raw = "\n".join([*(f"{n}: {v}" for n, v in answer.headers.items())]).encode() + answer.body
    text = searchable(raw)
    for sent in sorted({*draft.sent, *known}, key=len, reverse=True):
        for spelling in spellings(sent):
            text = text.replace(spelling, b"<sent>")
    return [
        f"{credential.name}: {draft}: the answer ({answer.status}) holds {word!r}"
        for word in scene.secrets
        if any(spelling in text for spelling in spellings(word))
    ]


def _is_position(case: Case) -> bool:
    """A cursor and an event's id are places in one's own list: each has its own answer."""
    kinds = {Kind.CURSOR: case.theirs.query.get("cursor")}
    return bool(kinds[Kind.CURSOR]) or case.theirs.operation.name == STREAM


def _difference(case: Case, theirs: Answer, nobodys: Answer) -> str:
    """By what an answer tells that somebody has the thing; empty: by nothing."""
    shown = [_shown(case.theirs, theirs), _shown(case.nobodys, nobodys)]
    return "" if shown[0] == shown[1] else f"{shown[0]} against {shown[1]}"


def _shown(draft: Draft, answer: Answer) -> tuple[int, list[str], bytes]:
    """An answer but for the ids in it; of what was made, only which fields it has."""
    text = answer.body.lower()
    for sent in sorted(draft.sent, key=len, reverse=True):
        for spelling in spellings(sent):
            text = text.replace(spelling, b"<id>")
    json = answer.headers.get("content-type") == "application/json"
    if answer.status < 300 and json and answer.body:
        made = httpx.Response(200, content=answer.body).json()
        text = repr(sorted(made)).encode() if draft.operation.method != "GET" else text
    headers = sorted(set(answer.headers) - VOLATILE)
    return answer.status, headers, text


# ------------------------------------------------------------ afterwards


async def test_metrics_name_nobody(scene: Scene) -> None:
    """After all of the above: neither tenants nor what they have is in a label."""
    request = httpx.Request("GET", f"{BASE}/metrics", headers={"Host": "127.0.0.1"})
    text = searchable((await scene.app.ask(request)).body).decode()
    words = scene.own_words | scene.secrets
    assert sum(scene.tried.values()) > 1_000
    assert [word for word in words if word.lower() in text and not _of_the_api(scene, word)] == []


def _of_the_api(scene: Scene, word: str) -> bool:
    """Whether a text of a tenant is also a word of the API, as in the template of a route."""
    return any(word.lower() in operation.path for operation in scene.operations)


async def test_pages_of_others_may_read_nothing(scene: Scene) -> None:
    """Neither an answer nor a preflight names an origin that a browser would let read."""
    origin = {"Host": "127.0.0.1", "Origin": "https://evil.example"}
    asked = origin | {"Access-Control-Request-Headers": "authorization"}
    for operation in scene.operations:
        url = f"{BASE}{operation.path.replace('{', '').replace('}', '')}"
        for method in {"GET", "OPTIONS", operation.method} - (
            {"GET"} if operation.name == STREAM else set()
        ):
            preflight = {**asked, "Access-Control-Request-Method": operation.method}
            credential = bearer(scene.world.keys[f"{ATTACKER} viewer"])
            headers = credential | (preflight if method == "OPTIONS" else origin)
            answer = await scene.app.ask(httpx.Request(method, url, headers=headers))
            assert not [name for name in answer.headers if name.startswith("access-control-")]


# ------------------------------------------------------------ the requests are good ones


async def test_the_owner_reaches_what_others_do_not(
    tmp_path: Path, valkey: str, migrated: Path
) -> None:
    """So that a 404 above means "not yours", and not "not a good request"."""
    async with opened(tmp_path / "owner", valkey, migrated) as scene:
        wrong = [
            told
            for operation in sorted(scene.operations, key=_of_the_owner)
            for told in await _owner_tried(scene, operation)
        ]
    assert not wrong, "\n".join(wrong)


# Where even the owner is refused, and why.
REFUSED_TO_THE_OWNER = {
    "GET /v1/recordings/export": "needs a real file, which test_api_recordings.py has",
    "GET /media/{token}": "the links are forged",
    "HEAD /media/{token}": "the links are forged",
    "POST /v1/auth/login": "the password is wrong",
    "POST /v1/keys": "only the platform names a tenant",
}
_MISSED = {400, 401, 403, 404, 415, 422}


def _of_the_owner(operation: Operation) -> tuple[bool, int]:
    """What removes things comes last, inner things first."""
    return operation.method == "DELETE", -operation.path.count("/")


async def _owner_tried(scene: Scene, operation: Operation) -> list[str]:
    if operation.name in REFUSED_TO_THE_OWNER or operation.name == STREAM:
        return []
    who = "platform" if operation.permission in ("tenant.manage", "model.manage") else VICTIM
    theirs: Ids = scene.theirs.ids
    told = []
    good = [c for c in cases(operation, theirs, theirs, NOBODYS) if "cursor" not in c.theirs.query]
    for case in good[:1]:
        answer = await scene.app.ask(case.theirs.request(bearer(scene.world.keys[who])))
        if answer.status in _MISSED:
            told.append(
                f"{case.theirs} is answered with {answer.status} {answer.body[:300]!r}: the "
                "request made of the schema is not a good one. Add what it lacks to BESIDE in "
                "leak_requests.py, or let `plant` make what it needs, or say in "
                "REFUSED_TO_THE_OWNER why it cannot work"
            )
    return told
