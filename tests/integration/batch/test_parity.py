"""The same frames, live and in a job over their recording, give the same alarms.

The live path is real: camera, gateway, bridge, LiveKit room, watcher, and a model. The bridge makes
the recording meanwhile. What live found is recorded as the listener records it.

Where both analysed the same frames, ids are equal by themselves, and times differ by one frame at
most (40 ms): a packet that is late by a tenth of a second may make the watcher analyse a
neighbouring frame. Where the watcher skipped a frame, as on a busy machine, the job recognizes what
is known already (`pipelines.recognition`), and its tracks and alarms have the ids that live gave
them.

The watcher's model is unavailable for the first frames, and the job starts with the watcher's first
frame after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cluster.batch.chunks import FOREVER_US, InferenceSpec, split
from cluster.batch.infer import due_frames
from cluster.batch.job import Job
from cluster.batch.request import Request
from cluster.batch.sources import of_segment
from cluster.batch.video import ReadStats
from cluster.bridge.bridge import Bridge
from cluster.core.settings import Settings
from cluster.demo.cast import CAST, Role
from cluster.demo.simulator import DemoCameras
from cluster.inference.model import DetectionModel, load_model
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import TrackUpdate
from cluster.stores.db import Database, migrate
from pipelines.attention import Urgency
from pipelines.clock import SystemClock
from pipelines.domain import (
    Alarm,
    Camera,
    CameraKey,
    CameraPlan,
    Detections,
    LetterboxedFrame,
    Recording,
    RecordingMode,
    Segment,
    TrackPath,
    WorkOwner,
)
from pipelines.errors import UnavailableError
from pipelines.geometry import area, intersection
from tests.factories import CIPHER
from tests.integration.agents import world as live
from tests.integration.batch.world import FOREVER_US as ALWAYS_US
from tests.integration.batch.world import recorded
from tests.integration.bridge.conftest import bridge, servers
from tests.integration.bridge.world import Servers, until

__all__ = ["bridge", "servers"]

pytestmark = [pytest.mark.quiet, pytest.mark.timeout(300), pytest.mark.usefixtures("ray_session")]

DETECT_FPS = 2.5
ROLES = {
    "gate": (CAST[0], 31.0),
    "yard": (replace(CAST[2], tenant="acme", id="gate"), 31.0),
    "street": (replace(CAST[1], tenant="acme", id="gate"), 22.0),
}
"""Three clips and how many seconds of them to play: two composed scenes, one real street."""


@dataclass
class ModelHost(live.Host):
    """A watcher's host, with a real model that is unavailable for the first `away` frames.

    `seen`: digests of the frames analysed since; `updates`: of tracks.
    """

    model: DetectionModel | None = None
    away: int = 3
    seen: list[str] = field(default_factory=list)
    updates: list[TrackUpdate] = field(default_factory=list)

    async def detect(
        self, frame: LetterboxedFrame, owner: WorkOwner, urgency: Urgency
    ) -> Detections:
        assert self.model is not None
        if self.away:
            self.away -= 1
            raise UnavailableError("the model is not there yet")
        self.seen.append(digest(frame))
        (found,) = await asyncio.to_thread(self.model.detect, [frame])
        return found

    def record_updates(self, updates: Sequence[TrackUpdate]) -> None:
        self.updates += updates


def digest(frame: LetterboxedFrame) -> str:
    return hashlib.sha256(frame.pixels.tobytes()).hexdigest()


@pytest.mark.parametrize("name", ROLES)
async def test_the_job_raises_the_same_alarms_as_the_watcher(
    name: str, servers: Servers, bridge: Bridge, model_cache: Path, kept_dir: Path
) -> None:
    role, seconds = ROLES[name]
    settings = servers.settings
    shutil.rmtree(settings.model_cache, ignore_errors=True)
    settings.model_cache.symlink_to(model_cache, target_is_directory=True)
    (settings.data_dir / "data").mkdir(exist_ok=True)
    await migrate(settings.database_url)
    async with Database(settings.database_url, cipher=CIPHER) as database:
        plan = await planned(database, role)
        host = await watched(settings, servers, bridge, role, plan, kept_dir, seconds)
        segments = await kept(database)
        await database.tenant("acme").record_alarms([alarm for alarm, _ in host.alarms])
        paths = [update for update in host.updates if isinstance(update, TrackPath)]
        await database.tracks("acme").record_paths(paths)

        frames = await batch_frames(settings, plan, segments)
        times = analysed_by_both(host.seen, frames)
        request = Request(
            tenant="acme", camera="gate", from_us=times[0], to_us=times[-1] + 1, warm_up_s=0
        )
        summary = await Job(settings, request, SystemClock()).run()
        recorded_since = {record.alarm.id: record.alarm for record in await recorded(database)}
    said = {alarm.id: alarm for alarm, _ in host.alarms}
    new = [alarm for id, alarm in recorded_since.items() if id not in said]
    skipped = len(frames_between(frames, times)) - len(times)
    assert said, "a clip without alarms tests nothing"
    assert set(said) <= set(recorded_since)
    assert not [(one, other) for one in new for other in said.values() if is_double(one, other)]
    assert skipped or not new
    print(  # noqa: T201 -- the parity table of docs/operations.md
        f"\nparity {name}: {len(host.seen)} frames live, {summary.looked} in the job, "
        f"{skipped} skipped by live, {len(said)} alarms, {len(new)} more by the job"
    )


def is_double(one: Alarm, other: Alarm) -> bool:
    """Whether anybody would take two alarms for one event: within a second, and boxes overlap."""
    near = abs(one.capture_us - other.capture_us) <= 1_000_000
    shared = intersection(one.box, other.box)
    return near and one.rule == other.rule and shared > 0.2 * min(area(one.box), area(other.box))


def analysed_by_both(seen: list[str], frames: list[tuple[int, str]]) -> list[int]:
    """Capture times of the frames that both analysed, byte for byte the same, in order."""
    times = list[int]()
    rest = frames
    for frame in seen:
        n = next((n for n, (_, other) in enumerate(rest) if other == frame), None)
        if n is not None:
            times.append(rest[n][0])
            rest = rest[n + 1 :]
    assert len(times) > len(seen) / 2, "live and the job analyse different frames"
    return times


def frames_between(frames: list[tuple[int, str]], times: list[int]) -> list[int]:
    """Capture times of the job's frames from the first to the last of `times`."""
    return [at_us for at_us, _ in frames if times[0] <= at_us <= times[-1]]


async def planned(database: Database, role: Role) -> CameraPlan:
    await database.platform().ensure_tenant("acme", "Acme")
    records = database.tenant("acme")
    camera = Camera(tenant="acme", id="gate", name="Gate", url="rtsp://x/1", detect_fps=DETECT_FPS)
    await records.add_camera(camera)
    for rule in role.rules:
        await records.add_rule("gate", rule)
    return CameraPlan(camera=camera, rules=role.rules, revision=1)


async def watched(
    settings: Settings,
    servers: Servers,
    bridge: Bridge,
    role: Role,
    plan: CameraPlan,
    kept_dir: Path,
    seconds: float,
) -> ModelHost:
    """Watch and record a clip from its start. The watcher joins first."""
    model = await asyncio.to_thread(
        load_model, settings.detector.weights, settings.detector, settings.model_cache
    )
    host = ModelHost(plan, look=lambda _: Detections.empty(), model=model)
    cameras = DemoCameras(Settings(data_dir=kept_dir), roles=(role,))
    async with contextlib.AsyncExitStack() as stack:
        watcher = await stack.enter_async_context(live.watching(servers, host))
        (camera,) = await cameras.start()
        stack.push_async_callback(cameras.aclose)
        assignment = await servers.assignment(CameraKey("acme", "gate"), camera.url)
        always = Recording(mode=RecordingMode.CONTINUOUS)
        await bridge.sync((replace(assignment, recording=always),))
        await until("a frame", lambda: host.seen)
        await asyncio.sleep(seconds)
        await bridge.sync((assignment,))  # ends the recording's last file
        await bridge.sync(())
        # If the watcher left while a frame is at the model, only the job would analyse that frame.
        await until("all analysed", lambda: watcher.status().analysed == len(host.seen))
    return host


async def kept(database: Database) -> list[Segment]:
    """All segments, once no more arrive."""
    before: list[Segment] = []
    while True:
        await asyncio.sleep(3)
        rows = await database.recordings("acme").between("gate", 0, ALWAYS_US, limit=1000)
        if rows and rows == before:
            return rows
        before = rows


async def batch_frames(
    settings: Settings, plan: CameraPlan, segments: list[Segment]
) -> list[tuple[int, str]]:
    """The frames that the job analyses: capture time, and digest after letterboxing."""
    detector = settings.detector
    spec = InferenceSpec(
        tenant="acme",
        camera="gate",
        fps=plan.camera.detect_fps,
        weights=detector.weights,
        sha256="",
        runtime="auto",
        precision="auto",
        input_size=(detector.input_width, detector.input_height),
        confidence=detector.confidence,
        iou=detector.iou,
    )
    async with TenantBlobs(settings.blob_url, "acme") as blobs:
        sources = [of_segment(segment, blobs.url(segment.blob)) for segment in segments]

    def read() -> list[tuple[int, str]]:
        return [
            (seen.capture_us, digest(frame))
            for chunk in split(sources, 10_000_000, 0, FOREVER_US)
            for seen, frame in due_frames(chunk, spec, ReadStats())
        ]

    return await asyncio.to_thread(read)
