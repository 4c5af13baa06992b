"""A whole tenant goes from every store, and no other loses anything."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import inspect, text

from cluster.core.roles import Role
from cluster.erasure.receipt import verify
from cluster.stores.audit.events import AuditAction, AuditEvent
from cluster.stores.bus import AlarmStream, CameraStatusBoard
from cluster.stores.db import JobState
from cluster.stores.db.engine import open_engine
from pipelines.erasure import ErasureState, ErasureStep, StepState, Target, WaitReason
from pipelines.errors import ConflictError, NotFoundError
from pipelines.retention import HeldSpan
from tests.factories import make_alarm, make_rule, make_sighting, make_status
from tests.integration.erasure.place import KEYS, SETTLE_US, Killed, Place
from tests.integration.retention.site import DIM

S = ErasureStep


async def fill(place: Place, tenant: str) -> None:
    """Something of every kind."""
    database = place.site.database
    for number in range(3):
        await place.object(number, tenant)
        await place.recording(number, tenant)
    await place.site.export(1, tenant)
    await place.site.blobs[tenant].put("detections/gate/1-ab.parquet", b"a table")
    await database.tenant(tenant).add_rule("gate", make_rule())
    await database.jobs(tenant).add("reprocess", {})
    await database.platform().create_key(tenant, "door")
    await database.platform().set_quotas(tenant, {"cameras": 5})
    hashed = SecretStr("a hash")
    user = await database.users(tenant).add("ana@example.org", "Ana", Role.ADMIN, hashed)
    assert await database.sessions(tenant).begin(user.id, hashed, "s1", "digest", 2**60)
    event = AuditEvent(at_us=1, actor="key:k1", action=AuditAction.SEARCH)
    await database.audit(tenant).append([event])
    await CameraStatusBoard(place.redis).put_all(tenant, [make_status()])
    (place.site.folder / "blobs" / tenant / "clips" / ".half.1234").write_bytes(b"broken off")


async def rows_of(place: Place, tenant: str) -> dict[str, int]:
    """Rows that name the tenant, by table: straight from the file."""
    engine = open_engine(f"sqlite+aiosqlite:///{place.site.folder}/atalaia.db")
    found = {}
    async with engine.connect() as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        for table in tables:
            query = text(f'SELECT name FROM pragma_table_info("{table}")')
            columns = set(await connection.scalars(query))
            column = "slug" if table == "tenants" else "tenant"
            if column in columns:
                query = text(f'SELECT count(*) FROM "{table}" WHERE {column} = :tenant')
                found[table] = (await connection.execute(query, {"tenant": tenant})).scalar_one()
    await engine.dispose()
    return {table: count for table, count in found.items() if count}


async def redis_keys(place: Place, tenant: str) -> set[bytes]:
    return {key async for key in place.redis.scan_iter() if tenant.encode() in key}


async def ask(place: Place, tenant: str = "acme") -> UUID:
    erasures = place.site.database.erasures(tenant)
    return (await erasures.ask_for_all("contract ended", "user:u1")).id


async def everything(place: Place, tenant: str) -> tuple[object, ...]:
    return (
        await rows_of(place, tenant),
        place.site.files(tenant),
        await redis_keys(place, tenant),
        await place.site.vectors_of(tenant).count(),
    )


async def test_everything_goes_but_the_receipt_and_the_audit_log(place: Place) -> None:
    await fill(place, "acme")
    await fill(place, "globex")
    before, theirs = await everything(place, "acme"), await everything(place, "globex")
    files, keys = place.site.files("acme"), await redis_keys(place, "acme")
    record = await place.finish("acme", await ask(place))
    assert await rows_of(place, "acme") == {"erasures": 1, "audit": 2}
    assert not (place.site.folder / "blobs" / "acme").exists()
    assert await redis_keys(place, "acme") == set()
    assert await place.site.vectors_of("acme").count() == 0
    assert await everything(place, "globex") == theirs
    assert record.receipt is not None
    verify(record.receipt, KEYS.public)
    rows = before[0]
    assert isinstance(rows, dict)
    counted = {kind: count.removed for kind, count in record.counts.items()}
    assert counted == {
        **{f"sql.{t}": n for t, n in rows.items() if t not in ("tenants", "audit", "erased")},
        "blobs.files": len(files),
        "redis.keys": len(keys),
        "vectors.objects": 3,
    }
    head = await place.site.database.audit("acme").head()
    remainders: Any = record.receipt["remainders"]
    audit = next(r for r in remainders if "hash" in r)
    assert audit["entries"] == head.sequence - 1
    assert await place.site.audited("", "erasure.done") == [
        {"kind": "tenant", "tenant": "acme", "removed": record.removed}
    ]
    # The operator still has the receipt, and the name is not given to another.
    platform = place.site.database
    assert (await platform.platform_erasures().erasure(record.id)).receipt == record.receipt
    with pytest.raises(ConflictError, match="was erased"):
        await platform.platform().ensure_tenant("acme", "Another")


async def test_killed_at_any_call_each_thing_is_counted_once(place: Place) -> None:
    await fill(place, "acme")
    await fill(place, "globex")
    rows = await rows_of(place, "acme")
    files, keys = place.site.files("acme"), await redis_keys(place, "acme")
    theirs = await everything(place, "globex")
    erasure, at_call, kills = await ask(place), 1, 0
    while (await place.record("acme", erasure)).state is not ErasureState.DONE:
        assert at_call < 500
        runner = place.killing_runner(at_call)
        try:
            await runner.round()
        except Killed:
            kills += 1
        else:
            place.site.clock.advance(SETTLE_US / 1e6)
        await runner.aclose()
        at_call += 1
    record = await place.record("acme", erasure)
    counted = {kind: count.removed for kind, count in record.counts.items()}
    assert kills > 10
    assert counted == {
        **{f"sql.{t}": n for t, n in rows.items() if t not in ("tenants", "audit")},
        "blobs.files": len(files),
        "redis.keys": len(keys),
        "vectors.objects": 3,
    }
    assert await everything(place, "globex") == theirs
    assert set(await rows_of(place, "acme")) == {"erasures", "audit"}


async def test_what_writers_still_send_goes_too(place: Place) -> None:
    """A camera and a job that have not heard of the end yet."""
    await fill(place, "acme")
    erasure = await ask(place)
    await place.runner().round()
    record = await place.record("acme", erasure)
    assert record.report(S.SETTLE).reason is WaitReason.SETTLING
    database = place.site.database
    assert [job.state for job in await database.jobs("acme").jobs()] == []
    assert await database.platform().plans() != []  # those of globex
    assert all(p.camera.tenant != "acme" for p in await database.platform().plans())
    late = make_alarm(9)
    await database.tenant("acme").record_alarms([late])
    await place.site.blobs["acme"].put(f"alarms/{late.id}.jpg", b"a picture")
    await place.site.vectors_of("acme").upsert([(make_sighting(9), [1.0] * DIM)])
    place.site.clock.advance(SETTLE_US / 1e6)
    await place.runner().round()
    record = await place.record("acme", erasure)
    assert record.report(S.SETTLE).state is not StepState.DONE
    assert record.report(S.SIGN).state is StepState.PENDING
    await place.finish("acme", erasure)
    assert await rows_of(place, "acme") == {"erasures": 1, "audit": 2}
    assert place.site.files("acme") == set()
    with pytest.raises(NotFoundError):
        await database.tenant("acme").record_alarms([late])


async def test_who_comes_while_it_goes_is_out_too(place: Place) -> None:
    """A key that the operator issues, and somebody whom an identity provider lets in."""
    await fill(place, "acme")
    erasure = await ask(place)
    await place.runner().round()
    database = place.site.database
    await database.platform().create_key("acme", "late")
    with pytest.raises(NotFoundError):
        await database.users("acme").from_provider(
            "sso", "1", "bo@example.org", "Bo", Role.ADMIN, adopt=False
        )
    record = await place.finish("acme", erasure)
    assert record.counts["sql.keys"].removed == 2
    assert await rows_of(place, "acme") == {"erasures": 1, "audit": 2}


async def test_what_a_spool_sends_after_the_end_goes(place: Place) -> None:
    """No listener reads the stream of a tenant that is not there."""
    await place.object(0, "globex")
    await place.finish("acme", await ask(place))
    await AlarmStream(place.redis, "acme").publish(make_alarm(1))
    await place.runner().round()
    assert {key for key in await redis_keys(place, "acme") if b":id:" not in key} == set()
    assert await place.redis.xlen(AlarmStream(place.redis, "globex").key) == 1


async def test_an_open_hold_keeps_the_tenant(place: Place) -> None:
    retention = place.site.database.retention("acme")
    hold = await retention.add_hold(HeldSpan(None, 0, 1), "case", "key:k1")
    with pytest.raises(ConflictError, match="legal holds"):
        await ask(place)
    await retention.release_hold(hold.id, "key:k1")
    erasure = await ask(place)
    second = await retention.add_hold(HeldSpan(None, 0, 1), "case", "key:k1")
    await place.runner().round()
    record = await place.record("acme", erasure)
    assert record.report(S.CLOSE).reason is WaitReason.HELD
    assert len(await place.site.database.tenant("acme").cameras()) == 2
    await retention.release_hold(second.id, "key:k1")
    await place.finish("acme", erasure)


async def test_erasures_of_objects_are_a_part_of_it(place: Place) -> None:
    await place.object(0)
    database = place.site.database
    first = await place.finish("acme", await place.ask(Target("gate", "track-0")))
    await place.object(1)
    await place.ask(Target("gate", "track-1"))
    erasure = await ask(place)
    with pytest.raises(ConflictError, match="being erased"):
        await database.erasures("acme").ask([Target("gate", "track-1")], "", "key:k1")
    await place.finish("acme", erasure)
    known = await database.erasures("acme").erasures()
    assert {record.id for record in known} == {first.id, erasure}
    assert all(record.receipt is not None for record in known)
    assert [r.id for r in await database.platform_erasures().erasures()] == [erasure]


def test_a_job_that_is_cancelled_has_ended() -> None:
    """What `close` relies on: a cancelled job may report no more."""
    assert JobState.CANCELLED.ended
