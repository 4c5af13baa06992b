"""The records of one tenant: cameras, rules, alarms.

No method names the tenant in its conditions: `scope.TenantSession` adds it to each statement.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from sqlalchemy import Select, Uuid, case, func, literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.stores.db.alarm_events import alarms_between, replace_batch, with_free_ids
from cluster.stores.db.convert import (
    alarm_record_of,
    alarm_values,
    camera_of,
    insert_into,
    rule_body,
    rule_of,
    write_camera,
)
from cluster.stores.db.cursor import ALARM_CURSOR
from cluster.stores.db.encryption import RecordCipher
from cluster.stores.db.erased import erased_among, refuse, target_of
from cluster.stores.db.merged import few_cameras, merged
from cluster.stores.db.models import (
    AlarmRow,
    CameraRow,
    ObjectRow,
    PathRow,
    RecordingRow,
    RuleRow,
    TenantRow,
)
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.tenant_row import lock_tenant, unknown_tenant
from cluster.stores.db.types import (
    AlarmPage,
    AlarmQuery,
    AlarmRecord,
    AlarmState,
    CameraChanges,
    RecordCounts,
)
from pipelines.clock import Clock
from pipelines.domain import Alarm, Camera, Rule
from pipelines.errors import ConflictError, InputError, NotFoundError, QuotaReachedError
from pipelines.retention import LATEST_US

# 10 columns a row: well below the 32,766 parameters that SQLite takes in one statement.
_INSERT_CHUNK = 500

# Where the name of a camera can stand, each with an index by it; the likeliest first.
_NAMES_OF_CAMERAS = (
    CameraRow.id,
    ObjectRow.camera,
    PathRow.camera,
    AlarmRow.camera,
    RecordingRow.camera,
)


class TenantRecords:
    """Made by `Database.tenant`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, tenant: str, clock: Clock, cipher: RecordCipher) -> None:
        self._sessions = sessions
        self._clock = clock
        self._cipher = cipher
        self.tenant = tenant

    # ------------------------------------------------------------ cameras

    async def cameras(self) -> list[Camera]:
        """All cameras, by id."""
        async with self._sessions.read() as session:
            rows = await session.scalars(select(CameraRow).order_by(CameraRow.id))
            return [camera_of(row, self._cipher) for row in rows]

    async def camera_ids(self) -> list[str]:
        """Ids of all cameras, in order."""
        async with self._sessions.read() as session:
            return list(await session.scalars(select(CameraRow.id).order_by(CameraRow.id)))

    async def masked_cameras(self) -> dict[str, int]:
        """The cameras that have privacy masks, and since when they have all of them, UTC
        microseconds."""
        columns = CameraRow.id, CameraRow.masks, CameraRow.masks_since_us
        async with self._sessions.read() as session:
            rows = (await session.execute(select(*columns))).all()
        # Masks that cannot be read are masks (`Camera.unreadable`), and nothing is from after them.
        return {
            id: LATEST_US if since_us is None else since_us
            for id, masks, since_us in rows
            if masks != []
        }

    async def camera(self, camera: str) -> Camera:
        """Raises NotFoundError."""
        async with self._sessions.read() as session:
            return camera_of(await _camera_row(session, camera), self._cipher)

    async def check_camera_known(self, camera: str) -> None:
        """A camera that was removed is known for as long as anything that it saw is kept.

        Raises:
            NotFoundError: there is no such camera, and nothing is kept of one.
        """
        async with self._sessions.read() as session:
            await require_camera_known(session, camera)

    async def add_camera(self, camera: Camera, *, at_most: int | None = None) -> Camera:
        """A new camera.

        Args:
            at_most: cameras that there may be then.

        Raises:
            ConflictError: the id is taken.
            QuotaReachedError: there are as many already.
            NotFoundError: no such tenant.
            ConfigError: this process has no key to encrypt with.
        """
        if camera.tenant != self.tenant:
            raise InputError("the camera belongs to another tenant.")
        async with self._sessions.write() as session:
            revision = await self._next_revision(session)
            if await session.scalar(select(CameraRow.id).where(CameraRow.id == camera.id)):
                raise ConflictError(
                    f"camera {camera.id} exists.", hint="Change it, or choose another id."
                )
            cameras = select(func.count()).select_from(CameraRow)
            await _check_room(session, cameras, "cameras", at_most)
            row = CameraRow(tenant=self.tenant, id=camera.id, created_us=self._clock.now_us())
            write_camera(row, camera, revision, self._cipher, self._clock.now_us())
            session.add(row)
        return camera

    async def update_camera(self, camera: str, changes: CameraChanges) -> Camera:
        """The camera after the changes.

        Raises:
            NotFoundError: no such camera.
            ConfigError: this process has no key to encrypt with.
            pydantic.ValidationError: the changed camera is not valid.
        """
        async with self._sessions.write() as session:
            # Before the row is read: the counter's lock makes read-change-write one step.
            revision = await self._next_revision(session)
            row = await _camera_row(session, camera)
            before = camera_of(row, self._cipher)
            after = changes.applied_to(before)
            if after == before:
                await session.rollback()
            else:
                write_camera(row, after, revision, self._cipher, self._clock.now_us())
        return after

    async def remove_camera(self, camera: str) -> None:
        """Remove a camera and its rules; its alarms stay. Raises NotFoundError."""
        async with self._sessions.write() as session:
            await session.delete(await _camera_row(session, camera))

    # ------------------------------------------------------------ rules

    async def rules(self, camera: str) -> list[Rule]:
        """The rules of a camera, oldest first. Raises NotFoundError."""
        async with self._sessions.read() as session:
            await _camera_row(session, camera)
            rows = await session.scalars(
                select(RuleRow)
                .where(RuleRow.camera == camera)
                .order_by(RuleRow.created_us, RuleRow.id)
            )
            return [rule_of(row) for row in rows]

    async def add_rule(
        self,
        camera: str,
        rule: Rule,
        *,
        at_most: int | None = None,
        of_all_at_most: int | None = None,
    ) -> Rule:
        """A new rule.

        Args:
            at_most, of_all_at_most: rules that there may be then, of the camera and of all.

        Raises:
            NotFoundError: no such camera.
            ConflictError: the rule's id is taken.
            QuotaReachedError: there are as many already.
        """
        async with self._sessions.write() as session:
            revision = await self._next_revision(session)
            row = await _camera_row(session, camera)
            if await session.scalar(_rule(camera, rule.id)):
                raise ConflictError(
                    f"rule {rule.id} of camera {camera} exists.",
                    hint="Remove it first, or choose another id.",
                )
            rules = select(func.count()).select_from(RuleRow)
            of_camera = rules.where(RuleRow.camera == camera)
            await _check_room(session, of_camera, "rules-per-camera", at_most)
            await _check_room(session, rules, "rules", of_all_at_most)
            row.revision = revision
            session.add(
                RuleRow(
                    tenant=self.tenant,
                    camera=camera,
                    id=rule.id,
                    body=rule_body(rule),
                    created_us=self._clock.now_us(),
                )
            )
        return rule

    async def remove_rule(self, camera: str, rule: str) -> None:
        """Raises NotFoundError (no such camera or rule)."""
        async with self._sessions.write() as session:
            revision = await self._next_revision(session)
            row = await _camera_row(session, camera)
            rule_row = await session.scalar(_rule(camera, rule))
            if rule_row is None:
                raise NotFoundError(f"camera {camera} has no rule {rule}.")
            row.revision = revision
            await session.delete(rule_row)

    async def counts(self) -> RecordCounts:
        """How much there is of what is limited."""
        frames = func.sum(case((CameraRow.enabled, CameraRow.detect_fps), else_=0.0))
        per_camera = select(func.count(RuleRow.id).label("rules")).group_by(RuleRow.camera)
        async with self._sessions.read() as session:
            cameras, fps = (await session.execute(select(func.count(CameraRow.id), frames))).one()
            rules = list(await session.scalars(per_camera))
        return RecordCounts(
            cameras=cameras,
            rules=sum(rules),
            most_rules=max(rules, default=0),
            detect_fps=fps or 0.0,
        )

    # ------------------------------------------------------------ alarms

    async def alarms(self, query: AlarmQuery) -> AlarmPage:
        """One page of alarms, newest capture first. Raises InputError (a broken cursor).

        The cursor is a place in the order, not a count: alarms that arrive between two pages
        neither repeat nor hide others.
        """
        async with self._sessions.read() as session:
            cameras = await few_cameras(session) if query.camera is None else None
            rows = list(await session.scalars(_alarm_page(query, cameras)))
        page, following = ALARM_CURSOR.page(
            rows, query.limit, lambda last: (last.capture_us, last.id)
        )
        return AlarmPage(items=[alarm_record_of(row) for row in page], next_cursor=following)

    async def alarm(self, alarm: UUID) -> AlarmRecord:
        """Raises NotFoundError."""
        async with self._sessions.read() as session:
            return await _alarm(session, alarm)

    async def acknowledge(self, alarm: UUID, by: str, now_us: int) -> AlarmRecord:
        """Mark an alarm as seen by `by`. Again changes nothing: the first one counts.

        Raises:
            NotFoundError: no such alarm.
        """
        async with self._sessions.write() as session:
            await session.execute(
                update(AlarmRow)
                .where(AlarmRow.id == alarm, AlarmRow.state == AlarmState.NEW)
                .values(
                    state=AlarmState.ACKNOWLEDGED.value,
                    acknowledged_by=by,
                    acknowledged_at_us=now_us,
                )
            )
            return await _alarm(session, alarm)

    async def record_alarms(self, alarms: list[Alarm]) -> int:
        """Keep the alarms, all or none; those already there stay as they are, and those that an
        erased object raised are left out. One of live analysis takes the place of a job's alarm of
        the same event, which was quicker: others have seen it by its id.

        Returns:
            How many were new.

        Raises:
            InputError: one belongs to another tenant.
            NotFoundError: there is no such tenant.
        """
        self._require_own(alarms)
        try:
            async with self._sessions.write() as session:
                kept = await self._not_erased(session, alarms)
                inserted = await self._insert_alarms(session, kept)
                await replace_batch(session, [a for a in kept if a.id in inserted])
        except ConflictError:
            # Ids that exist are no conflict (see above): what is left is the tenant's own row.
            raise unknown_tenant(self.tenant) from None
        return len(inserted)

    async def alarms_between(self, camera: str, from_us: int, to_us: int) -> list[Alarm]:
        """Alarms of a camera from one moment to another, both included, in order of time."""
        async with self._sessions.read() as session:
            return await alarms_between(session, camera, from_us, to_us)

    async def record_new_events(
        self,
        alarms: list[Alarm],
        same: Callable[[Alarm, list[Alarm]], Alarm | None],
        margin_us: int,
    ) -> list[Alarm]:
        """Keep those alarms of one camera whose events are not recorded yet, all or none. Others
        who do the same at the same time wait: of one event there is one alarm, whoever found it.

        Args:
            alarms: of one camera. One whose id belongs to another event gets another id.
            same: finds the recorded alarm of the same event, among those that are near in time.
            margin_us: how near, on both sides.

        Returns:
            The new ones, as they were kept.

        Raises:
            InputError: one belongs to another tenant.
            NotFoundError: there is no such tenant.
        """
        self._require_own(alarms)
        if not alarms:
            return []
        times = [alarm.capture_us for alarm in alarms]
        async with self._sessions.write() as session:
            await lock_tenant(session, self.tenant, exclusive=True)
            earlier = await alarms_between(
                session, alarms[0].camera, min(times) - margin_us, max(times) + margin_us
            )
            kept = await self._not_erased(session, alarms)
            new = [alarm for alarm in kept if same(alarm, earlier) is None]
            new = await with_free_ids(session, new)
            inserted = await self._insert_alarms(session, new)
        return [alarm for alarm in new if alarm.id in inserted]

    # ------------------------------------------------------------ helpers

    def _require_own(self, alarms: list[Alarm]) -> None:
        if any(alarm.tenant != self.tenant for alarm in alarms):
            raise InputError("an alarm belongs to another tenant.")

    async def _insert_alarms(self, session: AsyncSession, alarms: list[Alarm]) -> set[UUID]:
        """The ids of the new ones."""
        now_us = self._clock.now_us()
        inserted: set[UUID] = set()
        for start in range(0, len(alarms), _INSERT_CHUNK):
            chunk = alarms[start : start + _INSERT_CHUNK]
            statement = (
                insert_into(session, AlarmRow)
                .values([alarm_values(alarm, now_us) for alarm in chunk])
                .on_conflict_do_nothing()
                .returning(AlarmRow.id)
            )
            inserted.update(await session.scalars(statement))
        return inserted

    async def _not_erased(self, session: AsyncSession, alarms: list[Alarm]) -> list[Alarm]:
        """Without those that an erased object raised; their pictures are noted for removal."""
        erased = await erased_among(session, self.tenant, {target_of(alarm) for alarm in alarms})
        if not erased:
            return alarms
        refused = [(erased[t], alarm) for alarm in alarms if (t := target_of(alarm)) in erased]
        await refuse(session, self.tenant, refused, self._clock.now_us())
        return [alarm for alarm in alarms if target_of(alarm) not in erased]

    async def _next_revision(self, session: AsyncSession) -> int:
        """The next plan revision of this tenant; locks the counter until the transaction ends."""
        revision: int | None = await session.scalar(
            update(TenantRow)
            .where(TenantRow.slug == self.tenant)
            .values(revision=TenantRow.revision + 1)
            .returning(TenantRow.revision)
        )
        if revision is None:
            raise unknown_tenant(self.tenant)
        return revision


async def require_camera_known(session: AsyncSession, camera: str) -> None:
    """As `TenantRecords.check_camera_known`, in a session of the tenant."""
    for column in _NAMES_OF_CAMERAS:
        found = await session.scalar(select(column).where(column == camera).limit(1))
        if found is not None:
            return
    raise _unknown_camera(camera)


async def _camera_row(session: AsyncSession, camera: str) -> CameraRow:
    row = await session.scalar(select(CameraRow).where(CameraRow.id == camera))
    if row is None:
        raise _unknown_camera(camera)
    return row


def _unknown_camera(camera: str) -> NotFoundError:
    return NotFoundError(f"there is no camera {camera}.")


async def _check_room(
    session: AsyncSession, counted: Select[int], quota: str, at_most: int | None
) -> None:
    """In a transaction that holds the tenant's row, so that of two at once one sees the other.

    Raises:
        QuotaReachedError: there are `at_most` things.
    """
    if at_most is None:
        return
    count = await session.scalar(counted) or 0
    if count >= at_most:
        raise QuotaReachedError(
            f"Your tenant may have {at_most:,} of the quota '{quota}', and has {count:,}.",
            hint="Remove what is not needed, or ask who runs this Atalaia for more.",
            quota=quota,
        )


def _rule(camera: str, rule: str) -> Select[RuleRow]:
    return select(RuleRow).where(RuleRow.camera == camera, RuleRow.id == rule)


async def _alarm(session: AsyncSession, alarm: UUID) -> AlarmRecord:
    row = await session.scalar(select(AlarmRow).where(AlarmRow.id == alarm))
    if row is None:
        raise NotFoundError(f"there is no alarm {alarm}.")
    return alarm_record_of(row)


def _alarm_page(query: AlarmQuery, cameras: list[str] | None) -> Select[AlarmRow]:
    """As `_alarm_query`. `cameras`: the few that are seen; None: it does not matter."""
    if cameras is None:
        return _alarm_query(query)
    order = (AlarmRow.capture_us, AlarmRow.id)
    return merged(lambda camera: _alarm_query(query, camera), cameras, order, query.limit + 1)


def _alarm_query(query: AlarmQuery, camera: str | None = None) -> Select[AlarmRow]:
    """One row more than the page, so that the last page is known as such."""
    statement = select(AlarmRow)
    if (wanted := camera or query.camera) is not None:
        statement = statement.where(AlarmRow.camera == wanted)
    if query.rule is not None:
        statement = statement.where(AlarmRow.rule == query.rule)
    if query.state is not None:
        statement = statement.where(AlarmRow.state == query.state.value)
    if query.since_us is not None:
        statement = statement.where(AlarmRow.capture_us >= query.since_us)
    if query.until_us is not None:
        statement = statement.where(AlarmRow.capture_us < query.until_us)
    if query.cursor is not None:
        capture_us, alarm_id = ALARM_CURSOR.decode(query.cursor)
        statement = statement.where(
            tuple_(AlarmRow.capture_us, AlarmRow.id)
            < tuple_(literal(capture_us), literal(alarm_id, Uuid))
        )
    return statement.order_by(AlarmRow.capture_us.desc(), AlarmRow.id.desc()).limit(query.limit + 1)
