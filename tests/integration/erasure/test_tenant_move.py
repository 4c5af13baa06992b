"""A tenant moves from one complete set of real stores into another: SQLite, files, Valkey and the
vectors of two clusters."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from pydantic import SecretStr
from typer.testing import CliRunner

from cluster.cli.main import app
from cluster.core.settings import ENV_PREFIX
from cluster.portability.drain import Drain
from cluster.portability.move import Side, TenantMove
from cluster.stores.audit.chain import ChainCheck, Finding
from cluster.stores.audit.events import AuditAction, AuditEvent
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import AlarmStream
from cluster.stores.db import Database
from cluster.stores.db.encryption import RecordCipher
from cluster.stores.vectors.tenant import (
    TenantVectors,
    VectorClient,
    ensure_collection,
    open_vectors,
)
from pipelines.clock import ManualClock
from pipelines.domain import JobState
from pipelines.erasure import Target
from pipelines.errors import ConfigError, ConflictError, NotFoundError, UnavailableError
from pipelines.moving import MovePhase, TenantMovingError
from pipelines.retention import HeldSpan
from tests.factories import RECORD_KEY, T0_US, make_alarm, make_camera, make_sighting
from tests.integration.erasure.place import Killed, Killing, Place, killed_at
from tests.integration.erasure.test_erasure_tenant import fill, rows_of

COLLECTION, DIM = "atalaia-test-4", 4
OTHER_KEY = RecordCipher(SecretStr("another-key-for-the-database-of-the-pod"))


@dataclass
class Told:
    """What a move told."""

    steps: list[str] = field(default_factory=list)
    files: int = 0
    size: int = 0

    def step(self, text: str) -> None:
        self.steps.append(text)

    def rows(self, kind: str, lines: int) -> None: ...

    def found(self, files: int, size: int) -> None:
        self.files, self.size = files, size

    def copied(self, size: int) -> None: ...


@dataclass
class Pair:
    """Two clusters. `kill`: what to call at each call of a store."""

    place: Place
    folder: Path
    pod: Database
    pod_blobs: TenantBlobs
    told: Told = field(default_factory=Told)
    runs: int = 0

    @property
    def clock(self) -> ManualClock:
        return self.place.site.clock

    def vectors(self, pod: bool) -> VectorClient:
        folder = self.folder if pod else self.place.site.folder
        try:
            return open_vectors(path=folder / "qdrant")
        except ConfigError as error:  # as `connect` does
            raise UnavailableError(error.message, hint=error.hint) from error

    async def remembered(self, pod: bool) -> int:
        client = self.vectors(pod)
        try:
            await ensure_collection(client, COLLECTION, DIM)
            return await TenantVectors(client, COLLECTION, "acme").count()
        finally:
            await client.close()

    def files(self) -> set[str]:
        root = self.folder / "blobs" / "acme"
        return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}

    def move(self, tick: Callable[[], None] | None = None, **options: Any) -> TenantMove:
        self.runs += 1
        site = self.place.site
        blobs: Any = (site.blobs["acme"], self.pod_blobs)
        if tick is not None:
            blobs = tuple(Killing(one, tick) for one in blobs)
        made = TenantMove(
            "acme",
            Side("shared", site.database, blobs[0], partial(self.vectors, False)),
            Side("acme_pod", self.pod, blobs[1], partial(self.vectors, True)),
            open_drain=self._drain,
            folder=self.folder / "moves",
            run=f"run-{self.runs}",
            settle_s=180.0,
            clock=self.clock,
            sleep=self._sleep,
            progress=self.told,
            **options,
        )
        if tick is not None:
            for name in ("_leaving", "_arriving", "_from", "_into"):
                setattr(made, name, Killing(getattr(made, name), tick))
        return made

    @asynccontextmanager
    async def _drain(self) -> AsyncIterator[Drain]:
        yield Drain(self.place.redis, self.place.redis, self.place.site.database, "acme")

    async def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds * 10)
        await asyncio.sleep(0.01)


@pytest.fixture
async def pair(place: Place, tmp_path: Path, migrated: Path) -> AsyncIterator[Pair]:
    folder = tmp_path / "pod"
    folder.mkdir()
    await asyncio.to_thread(shutil.copy, migrated, folder / "atalaia.db")
    client = place.site.vectors
    await ensure_collection(client, COLLECTION, DIM)
    for tenant in ("acme", "globex"):
        vectors = TenantVectors(client, COLLECTION, tenant)
        seen = [(make_sighting(n, tenant), [1.0, n, 0.5, 0.25]) for n in range(3)]
        await vectors.upsert(seen)
    url = f"sqlite+aiosqlite:///{folder}/atalaia.db"
    async with AsyncExitStack() as stack:
        pod = Database(url, clock=place.site.clock, cipher=OTHER_KEY)
        await stack.enter_async_context(pod)
        blobs = await stack.enter_async_context(TenantBlobs(f"file://{folder}/blobs", "acme"))
        yield Pair(place, folder, pod, blobs)


async def full(pair: Pair) -> None:
    """Something of every kind that may move, and the source's vectors closed."""
    place = pair.place
    for tenant in ("acme", "globex"):
        await fill(place, tenant)
    database = place.site.database
    await end_jobs(pair)
    held = HeldSpan("gate", T0_US, T0_US + 1)
    await database.retention("acme").add_hold(held, "case 7", "key:k1")
    sighting, _ = await place.object(5)
    erasure = await place.ask(Target("gate", sighting.track))
    await place.finish("acme", erasure)
    await place.site.vectors.close()


async def end_jobs(pair: Pair) -> None:
    jobs = pair.place.site.database.jobs("acme")
    for job in await jobs.under_way():
        await jobs.finish(job.id, JobState.CANCELLED)


async def chain(database: Database) -> tuple[int, list[Finding]]:
    """Entries of acme's audit log, and what is wrong with it."""
    check, count, wrong = ChainCheck("acme"), 0, list[Finding]()
    async for page in database.audit("acme").entries():
        count += len(page)
        wrong += [found for entry in page if (found := check.feed(entry))]
    return count, wrong


async def pod_rows(pair: Pair) -> dict[str, int]:
    return await pair.pod.handover("acme").counts()


LEFT = {"tenants", "sessions", "storage_use", "erasure_items"}


async def test_everything_arrives_and_nothing_stays(pair: Pair) -> None:
    await full(pair)
    site = pair.place.site
    key = await site.database.platform().create_key("acme", "gate")
    late = make_alarm(900)
    await AlarmStream(pair.place.redis, "acme").publish(late)  # no listener has read it yet
    before = {t: n for t, n in (await rows_of(pair.place, "acme")).items() if t not in LEFT}
    files = {k for k in site.files("acme") if ".half" not in k}
    theirs = await rows_of(pair.place, "globex"), site.files("globex")

    report = await pair.move().run()

    arrived = await pod_rows(pair)
    assert arrived == before | {"alarms": before["alarms"] + 1, "audit": before["audit"] + 1}
    assert pair.files() == files
    for name in files:
        there = site.folder / "blobs" / "acme" / name
        assert (pair.folder / "blobs" / "acme" / name).read_bytes() == there.read_bytes()
    assert await pair.remembered(pod=True) == 3
    pod = pair.pod
    camera = await pod.tenant("acme").camera("gate")
    assert camera.url.get_secret_value() == make_camera().url.get_secret_value()
    stored = (pair.folder / "atalaia.db").read_bytes()
    assert b"s3cr" not in stored
    holder = await pod.platform().find_key(key.secret)
    assert holder is not None
    assert holder.tenant == "acme"
    assert [hold.reason for hold in await pod.retention("acme").holds()] == ["case 7"]
    assert [plan.key.tenant for plan in await pod.platform().plans()] == ["acme", "acme"]
    entries, wrong = await chain(pod)
    assert (entries, wrong) == (arrived["audit"], [])
    await works_there(pair, before["objects"])
    await goes_here(pair, report.erasure, theirs)
    assert pair.files() == files


async def works_there(pair: Pair, objects: int) -> None:
    """What was erased stays so, and the tenant works in the pod."""
    await pair.pod.tracks("acme").record_objects([make_sighting(5, camera="gate")])
    await pair.pod.tenant("acme").record_alarms([make_alarm(901)])
    assert (await pod_rows(pair))["objects"] == objects


async def goes_here(pair: Pair, erasure: UUID, theirs: tuple[dict[str, int], set[str]]) -> None:
    """At the source nothing of the tenant is written any more; then all of it goes."""
    site = pair.place.site
    with pytest.raises(TenantMovingError):
        await site.database.tenant("acme").record_alarms([make_alarm(902)])
    assert {plan.key.tenant for plan in await site.database.platform().plans()} == {"globex"}
    site.vectors = pair.vectors(pod=False)
    record = await pair.place.finish("acme", erasure)
    assert record.receipt is not None
    assert set(await rows_of(pair.place, "acme")) == {"erasures", "audit"}
    assert site.files("acme") == set()
    assert (await chain(site.database))[1] == []
    assert (await rows_of(pair.place, "globex"), site.files("globex")) == theirs
    assert [d["to"] for d in await site.audited("", "tenant.move")] == ["acme_pod"]


async def small(pair: Pair) -> None:
    """One object, one recording, an entry of the audit log."""
    await pair.place.object(0)
    await pair.place.recording(0)
    event = AuditEvent(at_us=1, actor="key:k1", action=AuditAction.SEARCH)
    await pair.place.site.database.audit("acme").append([event])
    await pair.place.site.vectors.close()


Phase = MovePhase | str | None


async def phases(pair: Pair) -> tuple[Phase, Phase]:
    """Of acme, in both clusters; "none": there is no such tenant."""
    return await phase_in(pair.place.site.database), await phase_in(pair.pod)


async def phase_in(database: Database) -> Phase:
    known = await database.moves().find("acme")
    if known is None:
        return "none"
    return known[2].phase if known[2] else None


async def test_killed_anywhere_it_lives_in_one_cluster_and_goes_on(pair: Pair) -> None:
    await small(pair)
    before = await pair.place.site.database.handover("acme").counts()
    at_call, kills = 1, 0
    while True:
        try:
            await pair.move(killed_at(at_call)).run()
        except Killed:
            kills += 1
        else:
            break
        here, there = await phases(pair)
        lives_here, lives_there = here is not MovePhase.MOVED, there is None
        assert not (lives_here and lives_there)
        if not lives_there:
            assert await pair.place.site.database.handover("acme").counts() == before
        at_call += 17
        assert at_call < 2_000
    assert kills > 5
    after = await pod_rows(pair)
    extra = after.pop("audit") - before.pop("audit")
    assert after == before
    assert extra in (1, 2)  # logged twice rather than never
    assert await pair.remembered(pod=True) == 3
    assert pair.files() == pair.place.site.files("acme")


async def test_a_pod_that_differs_gets_nothing_and_the_tenant_stays(pair: Pair) -> None:
    await small(pair)
    database = pair.place.site.database
    before = await database.handover("acme").counts()

    def spoil(text: str) -> None:
        if text == "comparing":
            with sqlite3.connect(pair.folder / "atalaia.db") as file:
                file.execute("UPDATE objects SET label = 'cat'")
            picture = next(iter(sorted(pair.files())))
            (pair.folder / "blobs" / "acme" / picture).write_bytes(b"more than there was before")

    pair.told.step = spoil  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match=r"rows of objects, \S+/"):
        await pair.move().run()
    assert await phases(pair) == (MovePhase.CLOSED, MovePhase.ARRIVING)
    with pytest.raises(TenantMovingError):
        await database.tenant("acme").record_alarms([make_alarm(5)])
    with pytest.raises(TenantMovingError):
        await pair.pod.tenant("acme").record_alarms([make_alarm(5)])

    await pair.move().abort()
    assert await phases(pair) == (None, "none")
    assert await database.handover("acme").counts() == before
    assert await database.tenant("acme").record_alarms([make_alarm(5)]) == 1
    # The audit log cannot be removed; the next move continues it.
    assert await pod_rows(pair) == {"audit": 1}
    assert pair.files() == set()
    assert await pair.remembered(pod=True) == 0
    with pytest.raises(NotFoundError, match="not being moved"):
        await pair.move().abort()

    pair.told.step = lambda text: None  # type: ignore[method-assign]
    await pair.move().run()
    assert await phases(pair) == (MovePhase.MOVED, None)
    with pytest.raises(ConflictError, match="lives in acme_pod already"):
        await pair.move().abort()


async def test_what_is_in_the_way_is_said_and_nothing_changed(pair: Pair) -> None:
    await fill(pair.place, "acme")
    await pair.place.site.vectors.close()
    before = await rows_of(pair.place, "acme"), pair.place.site.files("acme")
    await pair.pod.platform().ensure_tenant("acme", "Somebody")
    plan = await pair.move().plan()
    assert plan.obstacles == ("1 jobs are under way", "the pod has a tenant acme")
    assert (plan.phase, plan.vectors, plan.rows["alarms"]) == (None, 3, 3)
    with pytest.raises(ConflictError, match="1 jobs are under way"):
        await pair.move().run()
    assert (await rows_of(pair.place, "acme"), pair.place.site.files("acme")) == before
    assert await phases(pair) == (None, None)


async def test_while_the_engine_is_in_use_it_waits_and_can_go_on(pair: Pair) -> None:
    """With the embedded engine the clusters have to be stopped for the vectors."""
    await small(pair)
    running = pair.vectors(pod=False)
    with pytest.raises(UnavailableError, match="shared: another process uses the vectors") as away:
        await pair.move().run()
    assert "it goes on" in away.value.hint
    assert await phases(pair) == (MovePhase.CLOSED, MovePhase.ARRIVING)
    await running.close()
    await pair.move().run()
    assert await phases(pair) == (MovePhase.MOVED, None)


async def test_of_two_commands_the_later_one_moves(pair: Pair) -> None:
    await small(pair)
    first, second = pair.move(), pair.move()
    step = pair.told.step
    begun: list[str] = []

    def take_over(text: str) -> None:
        step(text)
        if text == "vectors" and not begun:
            begun.append(text)
            with sqlite3.connect(pair.folder / "atalaia.db") as file:
                file.execute("UPDATE tenants SET move_run = 'run-2'")

    pair.told.step = take_over  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="another command"):
        await first.run()
    await second.run()
    assert await phases(pair) == (MovePhase.MOVED, None)


async def test_dead_letters_stay_behind_only_if_that_is_wanted(pair: Pair) -> None:
    await small(pair)
    dead: dict[Any, Any] = {"alarm": "{", "reason": "no alarm"}
    await pair.place.redis.xadd("atalaia:{acme}:alarms:dead", dead)
    with pytest.raises(ConflictError, match="can never be recorded"):
        await pair.move().run()
    await pair.move(drop_dead_letters=True).run()
    assert await phases(pair) == (MovePhase.MOVED, None)


NO_REDIS = "redis://127.0.0.1:9/0"


async def test_as_a_command(
    pair: Pair, tmp_path: Path, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await small(pair)
    # The command waits in real time for transactions that cannot exist here.
    monkeypatch.setattr("cluster.portability.move.SHUT_S", 0.0)
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)
    (tmp_path / "data").mkdir()
    (pair.place.site.folder / "qdrant").rename(tmp_path / "data" / "qdrant")
    pod = {
        "url": "https://acme.example", "data_dir": str(pair.folder), "api": {"port": 8200},
        "database": {"url": f"sqlite:///{pair.folder}/atalaia.db", "encryption_key": "p" * 32},
        "redis": {"url": valkey.removesuffix("0") + "1"},
        "blobs": {"url": f"file://{pair.folder}/blobs"},
        "livekit": {"url": "ws://127.0.0.1:7980"}, "gateway": {"rtsp_url": "rtsp://127.0.0.1:8654"},
    }  # fmt: skip
    here = {
        "data_dir": str(tmp_path), "redis": {"url": valkey}, "erasure": {"settle_s": 0},
        "database": {
            "url": f"sqlite:///{pair.place.site.folder}/atalaia.db",
            "encryption_key": RECORD_KEY.get_secret_value(),
        },
        "blobs": {"url": f"file://{pair.place.site.folder}/blobs"},
        "pods": {"acme_pod": pod},
    }  # fmt: skip
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump(here), encoding="utf-8")

    async def atalaia(*words: str) -> Any:
        command = ["-c", str(settings), "tenant", "move", *words]
        return await asyncio.to_thread(CliRunner().invoke, app, command)

    looked = await atalaia("acme", "--to", "acme_pod", "--dry-run")
    # Everything is as it should be but the pod's LiveKit, which nobody has started.
    assert looked.exit_code == 2, looked.output
    assert looked.stdout.count("in the way:") == 1
    assert "the pod's LiveKit cannot be used: ws://127.0.0.1:7980" in looked.stdout
    assert "alarms: 1\n" in looked.stdout
    assert "files: 4 " in looked.stdout
    assert "vectors: 3" in looked.stdout
    away = yaml.safe_dump(here | {"pods": {"acme_pod": pod | {"redis": {"url": NO_REDIS}}}})
    settings.write_text(away, encoding="utf-8")
    looked = await atalaia("acme", "--to", "acme_pod", "--dry-run")
    assert "the pod's Redis cannot be used" in looked.stdout
    settings.write_text(yaml.safe_dump(here), encoding="utf-8")
    assert (await atalaia("nobody", "--to", "acme_pod")).exit_code == 2
    unknown = await atalaia("acme", "--to", "another")
    assert (unknown.exit_code, "Known are: acme_pod" in unknown.stderr) == (2, True)

    blobs = pair.place.site.folder / "blobs"
    (blobs / ".atalaia-storage").unlink()
    blobs.rename(blobs.with_name("away"))
    lost = await atalaia("acme", "--to", "acme_pod")
    assert (lost.exit_code != 0, "empty or not mounted" in lost.stderr) == (True, True)
    blobs.with_name("away").rename(blobs)

    moved = await atalaia("acme", "--to", "acme_pod")
    assert (moved.exit_code, "acme lives in acme_pod now" in moved.stdout) == (0, True), (
        moved.output
    )
    assert "atalaia erasure show" in moved.stderr
    assert await phases(pair) == (MovePhase.MOVED, None)
    late = await atalaia("acme", "--to", "acme_pod", "--abort")
    assert (late.exit_code, "lives in acme_pod already" in late.stderr) == (2, True)
