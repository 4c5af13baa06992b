"""`/v1/alarms`: what happened, newest first; its pictures; acknowledging; the live stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import Field
from sse_starlette import EventSourceResponse, ServerSentEvent

from cluster.core.roles import Permission
from cluster.stores.db import AlarmQuery, AlarmRecord, AlarmState
from pipelines.domain import SLUG_PATTERN, Alarm, RuleKind, Stages, SystemKind
from pipelines.errors import NotFoundError
from serve.api.alarm_feed import Gap, Subscription
from serve.api.audit.note import AuditNoteDep
from serve.api.auth import client_address
from serve.api.before_mask import ClosedFootageDep
from serve.api.fields import Moment, NextCursor, PageCursor, ResponseBody
from serve.api.permissions import PrincipalDep, needs
from serve.api.problems import responses
from serve.api.quotas.limits import Quota
from serve.api.scope import TenantDep
from serve.api.state import DepsDep, StateDep
from serve.api.stream_sight import StreamSight
from serve.api.times import micros, rfc3339, rfc3339_or_none
from serve.api.viewing import ViewingDep, shown_snapshot

router = APIRouter(tags=["alarms"], responses=responses(401, 403, 422, 429, 503))

# Proxies drop connections that are silent for 30 to 60 s.
HEARTBEAT_S = 15

# How long a browser waits before it reconnects; resuming is exact, so soon is fine.
RETRY_MS = 2_000

# A client that takes nothing for this long is gone or stuck; it resumes where it was.
SEND_TIMEOUT_S = 20

# For a client that stayed away for longer than the stream reaches back.
GAP = '{"hint":"Alarms are missing here; load them with GET /v1/alarms."}'

AlarmPath = Annotated[UUID, Path(description="Id of the alarm.")]


class Latency(ResponseBody):
    """Milliseconds that an alarm spent in each stage; null where it had no such stage."""

    receive: float | None = Field(description="Camera to watcher.")
    queue: float | None = Field(description="Watcher to detector.")
    detect: float | None = Field(description="In the detector.")
    rule: float | None = Field(description="Tracking and rules.")
    publish: float | None = Field(description="To the alarm stream.")
    total: float | None = Field(description="Capture to published.")


class AlarmView(ResponseBody):
    id: UUID
    camera: str
    rule: str
    kind: RuleKind | SystemKind = Field(
        description="Of the rule; or why Atalaia itself says something about the camera."
    )
    label: str = Field(serialization_alias="class", examples=["person"])
    confidence: float
    box: tuple[float, float, float, float] = Field(description="x1, y1, x2, y2, each 0..1.")
    track: str
    at: str = Field(description="When the camera saw it, RFC 3339.")
    state: AlarmState
    acknowledged_by: str | None = None
    acknowledged_at: str | None = None
    source: str = Field(description="`live`, or `batch` where it comes from a recording.")
    snapshot: str | None = Field(description="Address of the picture of that moment.")
    latency_ms: Latency


class AlarmList(ResponseBody):
    alarms: list[AlarmView]
    next_cursor: NextCursor


def latency(stages: Stages) -> Latency:
    """See `Stages.spent_ms`."""
    spent = stages.spent_ms()
    return Latency(**{name: spent.get(name) for name in Latency.model_fields})


def alarm_view(
    alarm: Alarm,
    state: AlarmState = AlarmState.NEW,
    acknowledged_by: str | None = None,
    acknowledged_at_us: int | None = None,
) -> AlarmView:
    """An alarm as its tenant sees it; storage keys and frame numbers stay inside."""
    return AlarmView(
        id=alarm.id,
        camera=alarm.camera,
        rule=alarm.rule,
        kind=alarm.kind,
        label=alarm.label,
        confidence=alarm.confidence,
        box=alarm.box,
        track=alarm.track,
        at=rfc3339(alarm.capture_us),
        state=state,
        acknowledged_by=acknowledged_by,
        acknowledged_at=rfc3339_or_none(acknowledged_at_us),
        source=alarm.source.value,
        snapshot=f"/v1/alarms/{alarm.id}/snapshot" if alarm.snapshot else None,
        latency_ms=latency(alarm.stages),
    )


def _record_view(record: AlarmRecord) -> AlarmView:
    return alarm_view(record.alarm, record.state, record.acknowledged_by, record.acknowledged_at_us)


SlugFilter = Annotated[str | None, Query(pattern=SLUG_PATTERN)]


@router.get(
    "/v1/alarms", dependencies=[needs(Permission.ALARM_READ)], summary="List alarms, newest first"
)
async def list_alarms(
    scope: TenantDep,
    camera: SlugFilter = None,
    rule: SlugFilter = None,
    state: AlarmState | None = None,
    since: Moment = None,
    until: Moment = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: PageCursor = None,
) -> AlarmList:
    """`since` is inclusive, `until` is not; both are capture times. Keep the filters when you page
    on with a cursor: alarms that arrive meanwhile neither shift nor repeat a page."""
    page = await scope.records.alarms(
        AlarmQuery(
            camera=camera,
            rule=rule,
            state=state,
            since_us=micros(since),
            until_us=micros(until),
            limit=limit,
            cursor=cursor,
        )
    )
    return AlarmList(alarms=[_record_view(r) for r in page.items], next_cursor=page.next_cursor)


async def subscribed(
    scope: TenantDep,
    last_event_id: Annotated[
        str | None,
        Header(
            # 19 digits always fit the 64 bits of each half of a stream id.
            pattern=r"^([0-9]{1,19}(-[0-9]{1,19})?)?$",
            description="Resume right after this event: nothing lost, nothing twice. `0`: "
            "everything that the stream still holds. Absent: from now on.",
        ),
    ] = None,
) -> AsyncIterator[Subscription]:
    """A place in the tenant's stream for as long as the answer is being sent."""
    at_most = await scope.quotas.limit(Quota.EVENT_STREAMS)
    async with scope.alarm_feed.subscribe(last_event_id or None, at_most=at_most) as subscription:
        yield subscription


@router.get(
    "/v1/alarms/stream",
    dependencies=[needs(Permission.ALARM_READ)],
    summary="Alarms as they happen (server-sent events)",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "`event: alarm`, `id:` the place in the stream, `data:` one alarm as in "
            "GET /v1/alarms. `event: gap` where a client resumes from further back than the stream "
            "reaches: load what is missing from the list. Comments keep the connection alive.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def stream_alarms(
    subscription: Annotated[Subscription, Depends(subscribed)],
    request: Request,
    state: StateDep,
    scope: TenantDep,
    principal: PrincipalDep,
) -> EventSourceResponse:
    """`state` is always `new` here: the stream has what was raised, GET /v1/alarms what became of
    it. A change of camera groups takes effect in it within five seconds."""
    header, address = request.headers.get("authorization"), client_address(request.scope)

    async def still_good() -> bool:
        return await state.authenticator.still_good(header, address)

    sight = StreamSight(
        lambda: state.authenticator.principal(header, address),
        scope.visible_to,
        principal.groups,
        state.deps.clock,
    )

    async def events() -> AsyncIterator[ServerSentEvent]:
        # An event without data: it opens the stream at once, and gives a client that sees no alarm
        # before it loses the connection a place to resume from.
        yield ServerSentEvent(id=subscription.cursor, retry=RETRY_MS)
        async with aclosing(subscription.entries(still_good, sight.among)) as entries:
            async for entry in entries:
                if isinstance(entry, Gap):
                    yield ServerSentEvent(GAP, event="gap")
                    continue
                yield ServerSentEvent(
                    alarm_view(entry.alarm).model_dump_json(by_alias=True),
                    id=entry.stream_id,
                    event="alarm",
                )
                state.metrics.streamed.inc()

    return EventSourceResponse(
        events(),
        ping=HEARTBEAT_S,
        ping_message_factory=lambda: ServerSentEvent(comment="still here"),
        send_timeout=SEND_TIMEOUT_S,
        sep="\n",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.get(
    "/v1/alarms/{alarm}",
    dependencies=[needs(Permission.ALARM_READ)],
    summary="One alarm",
    responses=responses(404),
)
async def get_alarm(alarm: AlarmPath, scope: TenantDep) -> AlarmView:
    return _record_view(await scope.records.alarm(alarm))


@router.post(
    "/v1/alarms/{alarm}/ack",
    dependencies=[needs(Permission.ALARM_ACKNOWLEDGE)],
    summary="Acknowledge an alarm",
    responses=responses(404),
)
async def acknowledge(
    alarm: AlarmPath, scope: TenantDep, deps: DepsDep, note: AuditNoteDep
) -> AlarmView:
    """Doing it twice changes nothing: the first one who did it stays."""
    record = await scope.records.acknowledge(alarm, scope.actor, deps.clock.now_us())
    note.committed = True
    return _record_view(record)


@router.get(
    "/v1/alarms/{alarm}/snapshot",
    dependencies=[needs(Permission.ALARM_READ)],
    summary="The picture of that moment",
    response_class=Response,
    responses=responses(404) | {200: {"content": {"image/jpeg": {}}, "description": "JPEG"}},
)
async def alarm_snapshot(
    alarm: AlarmPath, scope: TenantDep, viewing: ViewingDep, closed: ClosedFootageDep
) -> Response:
    """Persons are hidden in it as the tenant's policy says."""
    found = await scope.alarm(alarm)
    await closed.require_alarm(scope, found)
    if found.snapshot is None:
        raise NotFoundError(f"Alarm '{alarm}' has no picture.")
    stored = await scope.blobs.get(found.snapshot)
    jpeg, sight = await shown_snapshot(scope, viewing, found, stored)
    kept = "private, max-age=86400, immutable" if sight.cacheable else "no-store"
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": kept})
