"""The vocabulary shared by all packages: frozen types without I/O.

Coordinate frames, named for every field that has coordinates:
- *normalized*: x and y in 0..1 of the frame, origin top left, y down. Zones, lines, alarm boxes.
- *source pixels*: pixels of the frame as the camera sent it. Detections and tracks.
- *input pixels*: pixels of the letterboxed model input. Never used outside the detector.

Times: `*_us` is UTC in microseconds since 1970; `*_s` and `*_ms` are durations.
"""

from __future__ import annotations

from pipelines.domain.base import (
    SLUG_PATTERN,
    CameraKey,
    Frozen,
    Micros,
    NormalizedPoint,
    PixelBox,
    Slug,
    UnitFloat,
    WorkOwner,
)
from pipelines.domain.cameras import (
    MAX_MASKS,
    MIN_DETECT_FPS,
    SLOWEST_FPS,
    Camera,
    CameraState,
    MaskedRecording,
    Recording,
    RecordingMode,
    RecordingState,
    RecordingStatus,
    UnreadableSecret,
)
from pipelines.domain.events import (
    EVERY_SIGHTING,
    MASK_DELAY_US,
    PATH_CELL_US,
    PATH_SCALE,
    Alarm,
    AlarmSource,
    AnalysedCell,
    Crop,
    PathPoint,
    Segment,
    Sighting,
    SightingFilter,
    Stages,
    TrackPath,
    painted_us,
)
from pipelines.domain.faults import STORAGE_CAMERA, SYSTEM_RULES, Fault, PictureFault, SystemKind
from pipelines.domain.frames import (
    Detections,
    FrameStamp,
    Letterbox,
    LetterboxedFrame,
    Track,
)
from pipelines.domain.geometry import (
    MIN_LINE_LENGTH,
    MIN_ZONE_AREA,
    Line,
    Polygon,
    polygon_area,
)
from pipelines.domain.jobs import JobState
from pipelines.domain.rules import (
    CameraPlan,
    ClassName,
    CountRule,
    LineCrossRule,
    LoiterRule,
    Rule,
    RuleBase,
    RuleKind,
    ZoneEntryRule,
    ZoneRule,
)
from pipelines.domain.schedules import (
    WEEKDAYS,
    Schedule,
    TimeOfDay,
    Weekday,
    Window,
)

__all__ = [
    "EVERY_SIGHTING",
    "MASK_DELAY_US",
    "MAX_MASKS",
    "MIN_DETECT_FPS",
    "MIN_LINE_LENGTH",
    "MIN_ZONE_AREA",
    "PATH_CELL_US",
    "PATH_SCALE",
    "SLOWEST_FPS",
    "SLUG_PATTERN",
    "STORAGE_CAMERA",
    "SYSTEM_RULES",
    "WEEKDAYS",
    "Alarm",
    "AlarmSource",
    "AnalysedCell",
    "Camera",
    "CameraKey",
    "CameraPlan",
    "CameraState",
    "ClassName",
    "CountRule",
    "Crop",
    "Detections",
    "Fault",
    "FrameStamp",
    "Frozen",
    "JobState",
    "Letterbox",
    "LetterboxedFrame",
    "Line",
    "LineCrossRule",
    "LoiterRule",
    "MaskedRecording",
    "Micros",
    "NormalizedPoint",
    "PathPoint",
    "PictureFault",
    "PixelBox",
    "Polygon",
    "Recording",
    "RecordingMode",
    "RecordingState",
    "RecordingStatus",
    "Rule",
    "RuleBase",
    "RuleKind",
    "Schedule",
    "Segment",
    "Sighting",
    "SightingFilter",
    "Slug",
    "Stages",
    "SystemKind",
    "TimeOfDay",
    "Track",
    "TrackPath",
    "UnitFloat",
    "UnreadableSecret",
    "Weekday",
    "Window",
    "WorkOwner",
    "ZoneEntryRule",
    "ZoneRule",
    "painted_us",
    "polygon_area",
]
