"""Rows to vocabulary and back: the one place that knows both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, SecretStr, TypeAdapter, ValidationError
from sqlalchemy import Delete
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.stores.db.encryption import RecordCipher, SecretPlace
from cluster.stores.db.models import (
    AlarmRow,
    AnalysedRow,
    Base,
    CameraRow,
    HoldRow,
    JobRow,
    ObjectRow,
    PathRow,
    RecordingRow,
    RuleRow,
)
from cluster.stores.db.types import AlarmRecord, AlarmState, HoldRecord, JobRecord, ObjectRecord
from pipelines.domain import (
    MAX_MASKS,
    Alarm,
    AlarmSource,
    AnalysedCell,
    Camera,
    Polygon,
    Recording,
    Rule,
    Segment,
    Sighting,
    TrackPath,
    UnreadableSecret,
)
from pipelines.errors import SecretUnreadableError

_Model = TypeVar("_Model", bound=BaseModel)

_RULE: TypeAdapter[Rule] = TypeAdapter(Rule)


CAMERA_SECRETS = ("url", "substream_url")
"""Columns of `CameraRow` that are stored encrypted, and fields of `Camera`."""


def secret_place(row: CameraRow, column: str) -> SecretPlace:
    return SecretPlace(row.tenant, CameraRow.__tablename__, row.id, column)


_MASKS: TypeAdapter[tuple[Polygon, ...]] = TypeAdapter(
    Annotated[tuple[Polygon, ...], Field(max_length=MAX_MASKS)]
)
CAMERA_BODIES: dict[str, TypeAdapter[Any]] = {"recording": TypeAdapter(Recording), "masks": _MASKS}
"""Columns of `CameraRow` that hold JSON, and fields of `Camera`."""


def camera_of(row: CameraRow, cipher: RecordCipher) -> Camera:
    """The camera. Secrets that do not decrypt, and what somebody else wrote into the row and is not
    valid, are in its `unreadable`: it is not pulled then, so that no mask is missed."""
    secrets, unreadable = _camera_secrets(row, cipher)
    bodies = _camera_bodies(row, unreadable)
    return Camera(
        tenant=row.tenant,
        id=row.id,
        name=row.name,
        url=secrets.get("url", SecretStr("")),
        substream_url=secrets.get("substream_url"),
        detect_fps=row.detect_fps,
        attention=row.attention,
        detect_fps_min=row.detect_fps_min,
        detect_fps_max=row.detect_fps_max,
        enabled=row.enabled,
        recording=bodies.get("recording", Recording()),
        masks=bodies.get("masks", ()),
        unreadable=tuple(unreadable),
    )


def _camera_bodies(row: CameraRow, unreadable: list[UnreadableSecret]) -> dict[str, Any]:
    bodies: dict[str, Any] = {}
    for column, kind in CAMERA_BODIES.items():
        try:
            bodies[column] = kind.validate_python(getattr(row, column))
        except ValidationError:
            reason = f"the camera's {column} cannot be read from the records. Set it again."
            unreadable.append(UnreadableSecret(field=column, reason=reason))
    return bodies


def _camera_secrets(
    row: CameraRow, cipher: RecordCipher
) -> tuple[dict[str, SecretStr], list[UnreadableSecret]]:
    secrets: dict[str, SecretStr] = {}
    unreadable: list[UnreadableSecret] = []
    for column in CAMERA_SECRETS:
        stored: SecretStr | None = getattr(row, column)
        if stored is None:
            continue
        try:
            secrets[column] = cipher.decrypt(stored, secret_place(row, column))
        except SecretUnreadableError as error:
            unreadable.append(UnreadableSecret(field=column, reason=str(error)))
    return secrets, unreadable


def write_camera(
    row: CameraRow, camera: Camera, revision: int, cipher: RecordCipher, now_us: int
) -> None:
    """Write `camera` into its row, at the given plan revision. What is stored of what is unreadable
    stays: the key may come back, and masks that cannot be read are not removed.

    Raises:
        ConfigError: this process has no key.
    """
    row.name = camera.name
    for column in CAMERA_SECRETS:
        if not camera.is_unreadable(column):
            secret: SecretStr | None = getattr(camera, column)
            place = secret_place(row, column)
            setattr(row, column, None if secret is None else cipher.encrypt(secret, place))
    row.detect_fps = camera.detect_fps
    row.attention = camera.attention
    row.detect_fps_min, row.detect_fps_max = camera.detect_fps_min, camera.detect_fps_max
    row.enabled = camera.enabled
    body = camera.model_dump(mode="json", include={"recording", "masks"})
    if not camera.is_unreadable("masks"):
        row.masks_since_us = masks_since(row.masks, body["masks"], row.masks_since_us, now_us)
    for column in CAMERA_BODIES:
        if not camera.is_unreadable(column):
            setattr(row, column, body[column])
    row.revision = revision


def masks_since(
    before: object, after: Sequence[object], since_us: int | None, now_us: int
) -> int | None:
    """Since when a camera has all of the masks that it has; None: it has none.

    Args:
        before: as stored, whatever that is.
        since_us: the same of `before`.
    """
    if not after:
        return None
    if since_us is None:
        return now_us
    known = before if isinstance(before, list) else []
    # Always later than before, also where the clock was set back: footage that has the former
    # masks, and is marked with their time, must not count as having the new ones.
    return since_us if all(mask in known for mask in after) else max(now_us, since_us + 1)


def rule_of(row: RuleRow) -> Rule:
    return _RULE.validate_python(row.body)


def rule_body(rule: Rule) -> dict[str, Any]:
    body: dict[str, Any] = _RULE.dump_python(rule, mode="json")
    return body


def alarm_values(alarm: Alarm, recorded_us: int) -> dict[str, Any]:
    """The columns of a new alarm's row."""
    return {
        "tenant": alarm.tenant,
        "id": alarm.id,
        "camera": alarm.camera,
        "rule": alarm.rule,
        "track": alarm.track,
        "capture_us": alarm.capture_us,
        "snapshot": alarm.snapshot,
        "body": alarm.model_dump(mode="json"),
        "state": AlarmState.NEW.value,
        "recorded_us": recorded_us,
    }


def alarm_record_of(row: AlarmRow) -> AlarmRecord:
    return AlarmRecord(
        alarm=Alarm.model_validate(row.body),
        state=AlarmState(row.state),
        acknowledged_by=row.acknowledged_by,
        acknowledged_at_us=row.acknowledged_at_us,
        recorded_us=row.recorded_us,
        masks_us=row.masks_us,
    )


def of_row(kind: type[_Model], row: Base) -> _Model:
    """The type whose fields are columns of the row, by name. Only messages have a `version`."""
    names = kind.model_fields.keys() - {"version"}
    return kind.model_validate({name: getattr(row, name) for name in names})


def segment_values(segment: Segment, tenant: str, recorded_us: int) -> dict[str, Any]:
    """The columns of a segment's row."""
    return {"tenant": tenant, **segment.model_dump(), "recorded_us": recorded_us}


def segment_of(row: RecordingRow) -> Segment:
    return of_row(Segment, row)


def object_values(sighting: Sighting, source: AlarmSource, recorded_us: int) -> dict[str, Any]:
    """The columns of an object's row."""
    body = sighting.model_dump(exclude={"version"})
    return {
        **body,
        "box": list(sighting.box),
        "source": source.value,
        "recorded_us": recorded_us,
    }


def object_record_of(row: ObjectRow) -> ObjectRecord:
    sighting, source = of_row(Sighting, row), AlarmSource(row.source)
    return ObjectRecord(sighting=sighting, source=source, masks_us=row.masks_us)


def path_values(path: TrackPath) -> dict[str, Any]:
    """The columns of a path's row."""
    return path.model_dump(mode="json", exclude={"version"})


def path_of(row: PathRow) -> TrackPath:
    return of_row(TrackPath, row)


def analysed_values(cell: AnalysedCell) -> dict[str, Any]:
    """The columns of a cell's row."""
    return cell.model_dump(mode="json", exclude={"version"})


def analysed_of(row: AnalysedRow) -> AnalysedCell:
    return of_row(AnalysedCell, row)


def job_of(row: JobRow) -> JobRecord:
    return of_row(JobRecord, row)


def hold_of(row: HoldRow) -> HoldRecord:
    return of_row(HoldRecord, row)


def insert_into(session: AsyncSession, table: type[Base]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT: same words in both databases, two classes here."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


async def deleted(session: AsyncSession, statement: Delete) -> int:
    """Run a DELETE; how many rows it removed."""
    result = await session.execute(statement, execution_options={"synchronize_session": False})
    assert isinstance(result, CursorResult)
    return result.rowcount
