"""What the bridge carries, and how it reports its state."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import SecretStr

from pipelines.domain import CameraKey, Polygon, Recording, RecordingMode, RecordingStatus


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One encoded frame, ready for the room.

    Attributes:
        data: H.264 Annex B; a key frame carries its SPS and PPS.
        key_frame: whether a decoder can start here.
        width: source pixels.
        height: source pixels.
        capture_us: capture time, UTC microseconds.
        timestamp_us: strictly increasing stream time for RTP, microseconds.
        number: of the frame in its stream, the same in every room.
        masks: the privacy masks that are painted into it.
    """

    data: bytes
    key_frame: bool
    width: int
    height: int
    capture_us: int
    timestamp_us: int
    number: int
    masks: tuple[Polygon, ...] = ()


NOT_RECORDED = Recording(mode=RecordingMode.OFF)


@dataclass(frozen=True, slots=True)
class BridgeCamera:
    """One camera for a bridge to carry: its streams on the gateway, and what to record.

    A new `version` means that the streams must be reopened, because the camera's URL changed. The
    other fields may change at any time.
    """

    key: CameraKey
    main_url: SecretStr
    detect_url: SecretStr | None
    version: str
    recording: Recording = NOT_RECORDED
    masks: tuple[Polygon, ...] = ()


class StreamPhase(StrEnum):
    """The phase of one stream."""

    OPENING = "opening"
    STREAMING = "streaming"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """The state of one stream of one camera.

    Attributes:
        reason: why it failed, or why it is transcoded; else empty.
        since_us: start of the phase, UTC microseconds.
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
    """The state of one camera in its bridge. `in_room`: whether the bridge has joined the room."""

    key: CameraKey
    version: str
    in_room: bool
    main: StreamStatus
    detect: StreamStatus | None = None
    recording: RecordingStatus = field(default_factory=RecordingStatus)


@dataclass(frozen=True, slots=True)
class BridgeStatus:
    """The state of a bridge actor."""

    incarnation: str
    cameras: tuple[CameraBridgeStatus, ...]
    rss_bytes: int
