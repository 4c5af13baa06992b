"""Valid domain objects for tests; every field can be overridden."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

from pydantic import SecretStr

from cluster.core.settings import RaySettings
from cluster.core.work_orders import WorkOrders
from cluster.stores.bus import CameraStatus
from cluster.stores.db import RecordCipher
from pipelines.clock import SystemClock
from pipelines.domain import (
    PATH_CELL_US,
    Alarm,
    AnalysedCell,
    Camera,
    CameraState,
    RuleKind,
    Sighting,
    Stages,
    TrackPath,
    ZoneEntryRule,
)

NAMESPACE = UUID("00000000-0000-4000-8000-000000000000")
T0_US = 1_700_000_000_000_000
RECORD_KEY = SecretStr("a-key-for-the-records-of-tests-0001")
CIPHER = RecordCipher(RECORD_KEY)
WORK_KEY = SecretStr("a-key-for-the-work-orders-of-tests-1")
SIGNED = RaySettings(work_keys=(WORK_KEY,))
"""For settings of processes that call each other."""
ORDERS = WorkOrders((WORK_KEY,), SystemClock())


def make_camera(tenant: str = "acme", id: str = "gate", **fields: Any) -> Camera:
    return Camera(
        **{
            "tenant": tenant,
            "id": id,
            "name": id.title(),
            "url": f"rtsp://user:s3cr%40t@{id}.example/1",
            **fields,
        }
    )


def make_rule(id: str = "yard", **fields: Any) -> ZoneEntryRule:
    return ZoneEntryRule(
        **{"id": id, "polygon": ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9)), "classes": ("person",)}
        | fields
    )


def make_alarm(number: int = 0, tenant: str = "acme", **fields: Any) -> Alarm:
    """Alarm `number`, captured `number` seconds after T0; same arguments, same id."""
    camera = fields.get("camera", "gate")
    return Alarm(
        **{
            "id": uuid5(NAMESPACE, f"{tenant}/{camera}/{number}"),
            "tenant": tenant,
            "camera": camera,
            "rule": "yard",
            "kind": RuleKind.ZONE_ENTRY,
            "label": "person",
            "confidence": 0.87,
            "box": (0.1, 0.2, 0.3, 0.4),
            "track": f"track-{number}",
            "episode": 0,
            "frame_id": number,
            "stages": Stages(capture_us=T0_US + number * 1_000_000),
            **fields,
        }
    )


def make_sighting(number: int = 0, tenant: str = "acme", **fields: Any) -> Sighting:
    """Sighting `number`, seen from `number` seconds after T0 for two seconds."""
    return Sighting(
        **{
            "tenant": tenant,
            "camera": "gate",
            "track": f"track-{number}",
            "label": "person",
            "confidence": 0.9,
            "first_seen_us": T0_US + number * 1_000_000,
            "last_seen_us": T0_US + number * 1_000_000 + 2_000_000,
            "box": (0.1, 0.2, 0.3, 0.4),
            **fields,
        }
    )


def make_path(number: int = 0, tenant: str = "acme", **fields: Any) -> TrackPath:
    """Path of track `number`, one second from `number` seconds after T0: a walk to the right."""
    start_us = fields.get("start_us", T0_US + number * 1_000_000)
    points = tuple((n * 200, 1000 + n * 100, 2000, 2000 + n * 100, 6000) for n in range(6))
    return TrackPath(
        **{
            "tenant": tenant,
            "camera": "gate",
            "track": f"track-{number}",
            "label": "person",
            "confidence": 0.9,
            "start_us": start_us,
            "end_us": start_us + 1_000_000,
            "points": points,
            **fields,
        }
    )


def make_analysed(number: int = 0, tenant: str = "acme", **fields: Any) -> AnalysedCell:
    """Cell `number` of capture time from T0 on: five analysed frames a second, nothing in sight."""
    start_us = fields.get("start_us", T0_US + number * PATH_CELL_US)
    return AnalysedCell(
        **{
            "tenant": tenant,
            "camera": "gate",
            "start_us": start_us,
            "end_us": start_us + 4_800_000,
            "times": tuple(range(0, 5_000, 200)),
            "tracks": 0,
            **fields,
        }
    )


def make_status(camera: str = "gate", **fields: Any) -> CameraStatus:
    """A camera that plays, on host `atalaia-host-0`."""
    known: dict[str, Any] = {
        "state": CameraState.LIVE,
        "reason": "",
        "since_us": 1,
        "fps": 25.0,
        "width": 640,
        "height": 360,
        "codec": "h264",
        "host": "atalaia-host-0",
        "watched_fps": 5.0,
        "skipped": {},
        "dropped": {},
        "last_frame_us": 1,
    }
    return CameraStatus(camera=camera, **known | fields)
