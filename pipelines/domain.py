"""The vocabulary that every package shares: frozen types without I/O.

Coordinate frames, named in every field that holds coordinates:
- *normalized*: x and y in 0..1 of the picture, origin top left, y down. Zones, lines, alarm boxes.
- *source pixels*: pixels of the frame as the camera sent it. Detections and tracks.
- *input pixels*: pixels of the letterboxed picture that the model sees. Never leaves the detector.

Times: `*_us` is UTC in microseconds since 1970; `*_s` and `*_ms` are durations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple, Self
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)

SLUG_PATTERN = r"^[a-z0-9][a-z0-9-]{0,39}$"
Slug = Annotated[str, StringConstraints(pattern=SLUG_PATTERN)]
"""Identity of a tenant, camera or rule. Without a dot, so `<tenant>.<camera>` splits one way."""

UnitFloat = Annotated[float, Field(ge=0.0, le=1.0)]
NormalizedPoint = tuple[UnitFloat, UnitFloat]
PixelBox = tuple[float, float, float, float]
"""x1, y1, x2, y2 with x1 < x2 and y1 < y2."""

# 1e-4 of the picture is a 9x9 pixel patch at 1080p: smaller zones are a slip of the hand.
MIN_ZONE_AREA = 1e-4
MIN_LINE_LENGTH = 1e-2


class Frozen(BaseModel):
    """Immutable, and strict about unknown keys: a typing slip is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CameraKey(NamedTuple):
    """Which camera of which tenant. The one way to name a camera inside the cluster."""

    tenant: str
    camera: str

    @property
    def room(self) -> str:
        """Name of the LiveKit room and of the media gateway's stream."""
        return f"{self.tenant}.{self.camera}"

    @classmethod
    def from_room(cls, room: str) -> CameraKey | None:
        """The camera of a room, or None where the name is not one of ours."""
        tenant, dot, camera = room.partition(".")
        slug = re.compile(SLUG_PATTERN)
        if not dot or not slug.fullmatch(tenant) or not slug.fullmatch(camera):
            return None
        return cls(tenant, camera)


# ---------------------------------------------------------------- cameras


class CameraState(StrEnum):
    CONNECTING = "connecting"
    LIVE = "live"
    DEGRADED = "degraded"
    OFFLINE = "offline"


class Camera(Frozen):
    """A camera as its tenant wants it. `url` may hold credentials: it is a secret everywhere."""

    tenant: Slug
    id: Slug
    name: Annotated[str, StringConstraints(min_length=1, max_length=120, strip_whitespace=True)]
    url: SecretStr
    substream_url: SecretStr | None = None
    detect_fps: Annotated[float, Field(gt=0, le=30)] = 5.0
    enabled: bool = True

    @property
    def key(self) -> CameraKey:
        return CameraKey(self.tenant, self.id)


# ---------------------------------------------------------------- zones, lines, rules


def polygon_area(points: tuple[NormalizedPoint, ...]) -> float:
    """Area of a simple polygon by the shoelace formula, in units of the picture."""
    x = np.array([p[0] for p in points])
    y = np.array([p[1] for p in points])
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _crosses(
    a: NormalizedPoint, b: NormalizedPoint, c: NormalizedPoint, d: NormalizedPoint
) -> bool:
    def side(p: NormalizedPoint, q: NormalizedPoint, r: NormalizedPoint) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def _validated_polygon(points: tuple[NormalizedPoint, ...]) -> tuple[NormalizedPoint, ...]:
    if len(points) > 3 and points[0] == points[-1]:
        points = points[:-1]
    edges = [(points[i], points[(i + 1) % len(points)]) for i in range(len(points))]
    for i, (a, b) in enumerate(edges):
        if any(_crosses(a, b, c, d) for c, d in edges[i + 1 :]):
            raise ValueError(
                "the polygon crosses itself; list its corners in order around the zone"
            )
    if polygon_area(points) < MIN_ZONE_AREA:
        raise ValueError("the polygon covers (almost) nothing; give at least three spread corners")
    return points


Polygon = Annotated[tuple[NormalizedPoint, ...], Field(min_length=3, max_length=64)]
Line = tuple[NormalizedPoint, NormalizedPoint]

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")]


class Window(Frozen):
    """Local time of day during which a rule is armed; `end` before `start` runs over midnight.

    `days` names the days on which the window *starts*.
    """

    days: Annotated[tuple[Weekday, ...], Field(min_length=1)] = WEEKDAYS
    start: TimeOfDay = "00:00"
    end: TimeOfDay = "24:00"

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.start == self.end:
            raise ValueError('start equals end; for the whole day use "00:00" to "24:00"')
        return self


class Schedule(Frozen):
    """When a rule is armed, in the wall time of `timezone` (IANA name)."""

    timezone: str = "UTC"
    windows: Annotated[tuple[Window, ...], Field(min_length=1, max_length=32)]

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"unknown time zone {value!r}; use a name like America/Sao_Paulo"
            ) from error
        return value


class RuleKind(StrEnum):
    ZONE_ENTRY = "zone_entry"
    LINE_CROSS = "line_cross"
    LOITER = "loiter"
    COUNT = "count"


ClassName = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class RuleBase(Frozen):
    """What every rule has. `classes` empty means: every class that the model knows."""

    id: Slug
    name: Annotated[str, StringConstraints(max_length=120)] = ""
    classes: tuple[ClassName, ...] = ()
    min_confidence: UnitFloat = 0.4
    schedule: Schedule | None = None
    cooldown_s: Annotated[float, Field(ge=0, le=86_400)] = 30.0


class ZoneRule(RuleBase):
    polygon: Polygon

    @field_validator("polygon")
    @classmethod
    def _simple(cls, value: tuple[NormalizedPoint, ...]) -> tuple[NormalizedPoint, ...]:
        return _validated_polygon(value)


class ZoneEntryRule(ZoneRule):
    """A track's foot point is inside the polygon after having been outside, or appears inside."""

    kind: Literal[RuleKind.ZONE_ENTRY] = RuleKind.ZONE_ENTRY


class LineCrossRule(RuleBase):
    """A track's foot point crosses the line. Left and right are those of someone who stands on
    the first point and looks at the second, in the picture."""

    kind: Literal[RuleKind.LINE_CROSS] = RuleKind.LINE_CROSS
    line: Line
    direction: Literal["any", "left_to_right", "right_to_left"] = "any"

    @field_validator("line")
    @classmethod
    def _long_enough(cls, value: Line) -> Line:
        (ax, ay), (bx, by) = value
        if np.hypot(bx - ax, by - ay) < MIN_LINE_LENGTH:
            raise ValueError("the line's two points are (almost) the same; move them apart")
        return value


class LoiterRule(ZoneRule):
    """A track stays inside the polygon for at least `seconds`."""

    kind: Literal[RuleKind.LOITER] = RuleKind.LOITER
    seconds: Annotated[float, Field(gt=0, le=86_400)]


class CountRule(ZoneRule):
    """At least `n` tracks are inside the polygon for `seconds` without a break."""

    kind: Literal[RuleKind.COUNT] = RuleKind.COUNT
    n: Annotated[int, Field(ge=1, le=1_000)]
    seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0


Rule = Annotated[
    ZoneEntryRule | LineCrossRule | LoiterRule | CountRule, Field(discriminator="kind")
]


class CameraPlan(Frozen):
    """All that a watcher has to know of its camera. A higher `revision` replaces a lower one."""

    camera: Camera
    rules: tuple[Rule, ...] = ()
    revision: int = 0

    @property
    def key(self) -> CameraKey:
        return self.camera.key


# ---------------------------------------------------------------- frames and detections


@dataclass(frozen=True, slots=True)
class FrameStamp:
    """Identity of one frame: when the camera saw it, its number, and its size in source pixels."""

    capture_us: int
    frame_id: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a source picture was scaled and centred into the model's input, and the way back.

    Attributes:
        source: width, height in source pixels.
        input: width, height in input pixels.
        scale: input pixels per source pixel, the same on both axes.
        pad: left and top border in input pixels.
    """

    source: tuple[int, int]
    input: tuple[int, int]
    scale: float
    pad: tuple[int, int]

    @classmethod
    def fit(cls, source: tuple[int, int], input: tuple[int, int]) -> Letterbox:
        """The largest centred placement of `source` in `input` that keeps the aspect ratio."""
        if min(source) <= 0 or min(input) <= 0:
            raise ValueError(f"sizes must be positive: {source=} {input=}")
        scale = min(input[0] / source[0], input[1] / source[1])
        width, height = round(source[0] * scale), round(source[1] * scale)
        return cls(source, input, scale, ((input[0] - width) // 2, (input[1] - height) // 2))

    @property
    def content(self) -> tuple[int, int]:
        """Width and height of the scaled picture inside the borders, at least 1x1."""
        return (
            max(1, round(self.source[0] * self.scale)),
            max(1, round(self.source[1] * self.scale)),
        )

    def to_source(self, xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Boxes (n, 4) in input pixels to source pixels, clipped to the picture."""
        pad = np.array([self.pad[0], self.pad[1]] * 2, dtype=np.float32)
        limit = np.array(self.source * 2, dtype=np.float32)
        boxes = (np.asarray(xyxy, dtype=np.float32).reshape(-1, 4) - pad) / np.float32(self.scale)
        clipped: npt.NDArray[np.float32] = np.clip(boxes, 0, limit).astype(np.float32)
        return clipped


@dataclass(frozen=True, slots=True)
class LetterboxedFrame:
    """What a detector takes: one picture at the model's input size.

    Attributes:
        pixels: uint8 (height, width, 3), RGB, borders filled with 114.
        letterbox: the way back to source pixels.
    """

    pixels: npt.NDArray[np.uint8]
    letterbox: Letterbox

    def __post_init__(self) -> None:
        expected = (self.letterbox.input[1], self.letterbox.input[0], 3)
        if self.pixels.shape != expected or self.pixels.dtype != np.uint8:
            raise ValueError(
                f"expected uint8 {expected}, got {self.pixels.dtype} {self.pixels.shape}"
            )


@dataclass(frozen=True, slots=True)
class Detections:
    """What a detector saw in one frame; n rows.

    Attributes:
        xyxy: float32 (n, 4), source pixels.
        confidence: float32 (n,), 0..1.
        labels: n class names.
    """

    xyxy: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.labels)
        if self.xyxy.shape != (n, 4) or self.confidence.shape != (n,):
            raise ValueError(
                f"expected xyxy ({n}, 4) and confidence ({n},), "
                f"got {self.xyxy.shape} and {self.confidence.shape}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def empty(cls) -> Detections:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), ())


@dataclass(frozen=True, slots=True)
class Track:
    """One object followed over time, as of the current frame.

    Attributes:
        key: made from what was seen first (capture time, class, place), never from a counter.
        box: source pixels of the current frame.
        age: frames in which it was detected so far, this one included.
    """

    key: str
    label: str
    confidence: float
    box: PixelBox
    first_seen_us: int
    last_seen_us: int
    age: int


# ---------------------------------------------------------------- alarms and objects


class AlarmSource(StrEnum):
    LIVE = "live"
    BATCH = "batch"


class Stages(Frozen):
    """When an alarm's frame passed each stage, UTC microseconds; 0 where there is no such stage."""

    capture_us: int
    received_us: int = 0
    queued_us: int = 0
    detected_us: int = 0
    ruled_us: int = 0
    published_us: int = 0


class Alarm(Frozen):
    """A rule that fired. `id` is a function of what happened: saying it twice changes nothing."""

    version: Literal[1] = 1
    id: UUID
    tenant: Slug
    camera: Slug
    rule: Slug
    kind: RuleKind
    label: str
    confidence: UnitFloat
    box: tuple[UnitFloat, UnitFloat, UnitFloat, UnitFloat]
    """x1, y1, x2, y2, normalized."""
    track: str
    episode: int
    frame_id: int
    stages: Stages
    source: AlarmSource = AlarmSource.LIVE
    snapshot: str | None = None
    """Key of the JPEG of this moment in the tenant's blob storage."""

    @property
    def capture_us(self) -> int:
        return self.stages.capture_us


class Sighting(Frozen):
    """One object that was seen: what the tenant's memory holds beside its vector."""

    version: Literal[1] = 1
    tenant: Slug
    camera: Slug
    track: str
    label: str
    confidence: UnitFloat
    first_seen_us: int
    last_seen_us: int
    box: tuple[UnitFloat, UnitFloat, UnitFloat, UnitFloat]
    snapshot: str | None = None


@dataclass(frozen=True, slots=True)
class Crop:
    """The picture of one object at its best moment, and what is known of it.

    Attributes:
        pixels: uint8 (height, width, 3), RGB, source resolution.
        sighting: what to remember with it.
    """

    pixels: npt.NDArray[np.uint8]
    sighting: Sighting
