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

The clips play at the same time, each on a camera of its own: one after the other, they would take
half a minute each.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio

from cluster.batch.chunks import FOREVER_US, InferenceSpec, split
from cluster.batch.infer import due_frames
from cluster.batch.job import Job
from cluster.batch.request import Request
from cluster.batch.sources import of_segment
from cluster.batch.video import ReadStats
from cluster.bridge.bridge import Bridge
from cluster.bridge.units import NOT_RECORDED, BridgeCamera
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
from tests.integration.bridge.conftest import bridge_of, servers_in
from tests.integration.bridge.world import Servers, until

pytestmark = [
    pytest.mark.quiet,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("ray_session"),
]

DETECT_FPS = 2.5
VIDEO = {".mp4", ".part"}
"""Suffixes of files on their way from the recorder to the storage."""
ROLES = {
    "street": (CAST[1], 22.0),
    "gate": (CAST[0], 31.0),
    "yard": (replace(CAST[2], tenant="acme"), 31.0),
}
"""Three clips by their cameras, and how many seconds of them to play: one real street, two composed
scenes. The shortest comes first."""


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


@dataclass(frozen=True)
class Watched:
    """A clip that was watched and recorded.

    Attributes:
        host: of its watcher, with what that one saw and said.
    """

    settings: Settings
    plan: CameraPlan
    host: ModelHost


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(
    tmp_path_factory: pytest.TempPathFactory, valkey: str, model_cache: Path, kept_dir: Path
) -> AsyncIterator[dict[str, Watched]]:
    """All clips, by their cameras; their recordings lie in the settings' storage."""
    data_dir = tmp_path_factory.mktemp("parity")
    async with servers_in(data_dir, valkey) as servers:
        settings = servers.settings
        settings.model_cache.symlink_to(model_cache, target_is_directory=True)
        (data_dir / "data").mkdir(exist_ok=True)
        await migrate(settings.database_url)
        async with Database(settings.database_url, cipher=CIPHER) as database:
            await database.platform().ensure_tenant("acme", "Acme")
            plans = {name: await planned(database, role) for name, (role, _) in ROLES.items()}
            async with bridge_of(settings) as bridge:
                hosts = await watch(servers, bridge, plans, kept_dir)
            yield {name: Watched(settings, plans[name], hosts[name]) for name in ROLES}


@pytest.mark.parametrize("name", ROLES)
async def test_the_job_raises_the_same_alarms_as_the_watcher(
    name: str, watched: dict[str, Watched]
) -> None:
    settings, plan, host = watched[name].settings, watched[name].plan, watched[name].host
    async with Database(settings.database_url, cipher=CIPHER) as database:
        segments = await kept(database, name)
        await database.tenant("acme").record_alarms([alarm for alarm, _ in host.alarms])
        paths = [update for update in host.updates if isinstance(update, TrackPath)]
        await database.tracks("acme").record_paths(paths)

        frames = await batch_frames(settings, plan, segments)
        times = analysed_by_both(host.seen, frames)
        request = Request(
            tenant="acme", camera=name, from_us=times[0], to_us=times[-1] + 1, warm_up_s=0
        )
        summary = await Job(settings, request, SystemClock()).run()
        alarms = [record.alarm for record in await recorded(database)]
    recorded_since = {alarm.id: alarm for alarm in alarms if alarm.camera == name}
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
    records = database.tenant("acme")
    camera = Camera(
        tenant="acme", id=role.id, name=role.name, url="rtsp://x/1", detect_fps=DETECT_FPS
    )
    await records.add_camera(camera)
    for rule in role.rules:
        await records.add_rule(role.id, rule)
    return CameraPlan(camera=camera, rules=role.rules, revision=1)


async def watch(
    servers: Servers, bridge: Bridge, plans: dict[str, CameraPlan], kept_dir: Path
) -> dict[str, ModelHost]:
    """Watch and record the clips from their start. The watchers join first."""
    detector, cache = servers.settings.detector, servers.settings.model_cache
    model = await asyncio.to_thread(load_model, detector.weights, detector, cache)
    hosts = {
        name: ModelHost(plan, look=lambda _: Detections.empty(), model=model)
        for name, plan in plans.items()
    }
    cameras = DemoCameras(Settings(data_dir=kept_dir), roles=tuple(r for r, _ in ROLES.values()))
    async with contextlib.AsyncExitStack() as stack:
        watchers = {
            name: await stack.enter_async_context(live.watching(servers, host, plans[name].key))
            for name, host in hosts.items()
        }
        playing = await cameras.start()
        stack.push_async_callback(cameras.aclose)
        always = Recording(mode=RecordingMode.CONTINUOUS)
        on_air = {
            camera.id: replace(
                await servers.assignment(CameraKey("acme", camera.id), camera.url),
                recording=always,
            )
            for camera in playing
        }
        await bridge.sync(tuple(on_air.values()))
        await until("a frame of each", lambda: all(host.seen for host in hosts.values()))
        await play(bridge, on_air)
        # If a watcher left while a frame is at the model, only the job would analyse that frame.
        await until(
            "all analysed",
            lambda: all(w.status().analysed == len(hosts[n].seen) for n, w in watchers.items()),
        )
    spool = servers.settings.recording_spool
    await until(
        "all recorded", lambda: not [path for path in spool.rglob("*") if path.suffix in VIDEO]
    )
    return hosts


async def play(bridge: Bridge, on_air: dict[str, BridgeCamera]) -> None:
    """Let each clip play for its time, then end its recording's last file, then take it away."""
    played = 0.0
    for name, (_, seconds) in ROLES.items():
        await asyncio.sleep(seconds - played)
        played = seconds
        last = on_air.pop(name)
        await bridge.sync((replace(last, recording=NOT_RECORDED), *on_air.values()))
        await bridge.sync(tuple(on_air.values()))


async def kept(database: Database, camera: str) -> list[Segment]:
    """All segments of a camera."""
    return await database.recordings("acme").between(camera, 0, ALWAYS_US, limit=1000)


async def batch_frames(
    settings: Settings, plan: CameraPlan, segments: list[Segment]
) -> list[tuple[int, str]]:
    """The frames that the job analyses: capture time, and digest after letterboxing."""
    detector = settings.detector
    spec = InferenceSpec(
        tenant="acme",
        camera=plan.camera.id,
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
