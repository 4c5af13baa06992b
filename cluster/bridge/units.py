"""What flows through the bridge, and what it tells of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import SecretStr

from pipelines.domain import CameraKey, Polygon, Recording, RecordingMode, RecordingStatus


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One encoded picture, ready for the room.

    Attributes:
        data: H.264 Annex B; a key frame carries its SPS and PPS.
        key_frame: whether a decoder can start here.
        width: source pixels.
        height: source pixels.
        capture_us: when the camera saw it, UTC microseconds.
        timestamp_us: strictly increasing stream time for RTP, microseconds.
    """

    data: bytes
    key_frame: bool
    width: int
    height: int
    capture_us: int
    timestamp_us: int


NOT_RECORDED = Recording(mode=RecordingMode.OFF)


@dataclass(frozen=True, slots=True)
class BridgeCamera:
    """One camera that a bridge has to carry: where the gateway offers it, and what to keep of it.

    `version` changes whenever the pull has to be made anew (the camera's URL changed). The rest may
    change under way.
    """

    key: CameraKey
    main_url: SecretStr
    detect_url: SecretStr | None
    version: str
    recording: Recording = NOT_RECORDED
    masks: tuple[Polygon, ...] = ()


class StreamPhase(StrEnum):
    OPENING = "opening"
    STREAMING = "streaming"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """How one pull of one camera is doing.

    Attributes:
        reason: why it failed, or why it is transcoded; empty when all is plain.
        since_us: when the phase began, UTC microseconds.
        dropped: access units that did not reach the room, by cause.
    """

    phase: StreamPhase = StreamPhase.OPENING
    reason: str = ""
    since_us: int = 0
    codec: str = ""
    transcoded: bool = False
    width: int = 0
    height: int = 0
    fps: float = 0.0
    units: int = 0
    reconnects: int = 0
    last_capture_us: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CameraBridgeStatus:
    """How one camera is doing in its bridge. `in_room` tells whether the bridge is in the room."""

    key: CameraKey
    version: str
    in_room: bool
    main: StreamStatus
    detect: StreamStatus | None = None
    recording: RecordingStatus = field(default_factory=RecordingStatus)


@dataclass(frozen=True, slots=True)
class BridgeStatus:
    """How a bridge actor is doing."""

    incarnation: str
    cameras: tuple[CameraBridgeStatus, ...]
    rss_bytes: int
