"""Speed and memory of a reprocessing job, compared with the bare model on the same cores.

    python -m benchmarks.reprocess [--seconds 600] [--long]

The video repeats the demo's gate without re-encoding. The job processes it twice: every frame (25
per second, compared with the bare model, which does not even decode), and five frames per second as
in live operation (how many times faster than real time). `--long` processes two hours of video and
reports the memory of driver and workers; that takes about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import psutil
from pydantic import SecretStr

from benchmarks import detector
from cluster.batch.job import Job
from cluster.batch.request import DetectorChoice, Request, Summary
from cluster.core.log import configure_logging
from cluster.core.settings import LogSettings, Settings, load_settings
from cluster.demo.cast import CAST
from cluster.demo.footage import make
from cluster.local.ray_folder import temporary_folder
from cluster.local.secrets import with_database_key
from cluster.stores.db import CameraChanges, Database, RecordCipher, migrate
from pipelines.clock import SystemClock
from pipelines.domain import Camera

EVERY_FPS, LIVE_FPS = 25.0, 5.0
LONG_S = 7200.0
TENANT = "film"
"""Differs from the live cameras' tenant, because the database may be theirs."""
SAMPLE_S = 1.0
MB = 1_000_000


def looped(video: Path, target: Path, seconds: float) -> Path:
    """Repeat the video until it has about this length, without re-encoding."""
    with av.open(str(target), "w") as output:
        stream, end = None, 0
        while True:
            with av.open(str(video)) as source:
                video = source.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(video)
                base = video.time_base
                assert base is not None
                if end * base >= seconds:
                    return target
                start = end
                for packet in source.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + start, packet.dts + start
                    end = max(end, packet.pts + (packet.duration or 0))
                    packet.stream = stream
                    output.mux(packet)


@dataclass
class Memory:
    """Memory of the driver and its workers together, MB, sampled once a second."""

    samples_mb: list[float] = field(default_factory=list)

    def quarter(self, number: int) -> float:
        """The peak within one quarter of the time, MB."""
        size = max(1, len(self.samples_mb) // 4)
        return max(self.samples_mb[number * size : (number + 1) * size] or [0.0])


@contextmanager
def watched() -> Iterator[Memory]:
    """Samples the memory of this process and of its Ray Data workers."""
    memory, done = Memory(), threading.Event()

    def sample() -> None:
        own = psutil.Process()
        while not done.wait(SAMPLE_S):
            total = own.memory_info().rss
            for process in own.children(recursive=True):
                try:
                    if process.cmdline()[:1] and "MapWorker" in process.cmdline()[0]:
                        total += process.memory_info().rss
                except psutil.Error:
                    continue
            memory.samples_mb.append(total / MB)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        done.set()
        thread.join()


@dataclass(frozen=True)
class Reprocessed:
    """The measurements. `bare`: the model alone, on the same cores, just before."""

    bare: detector.Rate
    every: Summary
    live: Summary
    memory: Memory

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Rows of a table: what, measured, aim."""
        ratio = self.every.frames_per_s / self.bare.frames_per_s
        cpu_ms = self.every.core_s / max(1, self.every.looked) * 1e3
        yield "reprocess, every frame", f"{self.every.frames_per_s:.1f} frames/s", ""
        yield "  ratio to the bare model", f"{ratio:.2f}", "≥ 0.85"
        yield "  the same by processor time", f"{self.bare.cpu_ms / cpu_ms:.2f}", ""
        yield (
            f"reprocess, {LIVE_FPS:g} frames/s",
            f"{self.live.times_real_time:.1f}x real time",
            "",
        )
        first, last = self.memory.quarter(1), self.memory.quarter(3)
        yield "  memory, second and last quarter", f"{first:.0f} MB, {last:.0f} MB", "flat"


async def measure(settings: Settings, seconds: float, long_s: float | None) -> Reprocessed:
    """Run the benchmark. Ray must be connected."""
    folder = settings.data_dir.resolve()
    (folder / "data").mkdir(parents=True, exist_ok=True)
    await migrate(settings.database_url)
    short = await asyncio.to_thread(make, CAST[0].footage(), folder / "demo")
    video = await asyncio.to_thread(looped, short, folder / "film.mp4", seconds)
    bare = await asyncio.to_thread(detector.bare, settings, min(20.0, seconds))
    cipher = RecordCipher.of(with_database_key(settings))
    async with Database.of(settings, cipher=cipher) as database:
        await database.platform().ensure_tenant(TENANT, "Looked at again")
        records = database.tenant(TENANT)
        if not await records.cameras():
            url = SecretStr("rtsp://camera.test/1")
            await records.add_camera(Camera(tenant=TENANT, id="film", name="Film", url=url))
            for rule in CAST[0].rules:
                await records.add_rule("film", rule)
        await records.update_camera("film", CameraChanges(detect_fps=EVERY_FPS))
        every = await _run(settings, video)
        await records.update_camera("film", CameraChanges(detect_fps=LIVE_FPS))
        if long_s is not None:
            video = await asyncio.to_thread(looped, short, folder / "long.mp4", long_s)
        with watched() as memory:
            live = await _run(settings, video)
    return Reprocessed(bare, every, live, memory)


async def _run(settings: Settings, video: Path) -> Summary:
    request = Request(
        tenant=TENANT,
        camera="film",
        files=(str(video),),
        start_us=1_767_225_600_000_000,
        detector=DetectorChoice.OWN,
    )
    return await Job(settings, request, SystemClock()).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="of video")
    parser.add_argument("--long", action="store_true", help="two hours, to measure memory")
    options = parser.parse_args()
    configure_logging(LogSettings(level="warning"))
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    import ray

    with (
        temporary_folder() as folder,
        tempfile.TemporaryDirectory(prefix="atalaia-bench-") as data,
    ):
        settings = load_settings().model_copy(update={"data_dir": Path(data)})
        ray.init("local", include_dashboard=False, log_to_driver=False, _temp_dir=folder)
        try:
            long_s = LONG_S if options.long else None
            found = asyncio.run(measure(settings, options.seconds, long_s))
        finally:
            ray.shutdown()
    sys.stdout.write(f"bare model: {found.bare.frames_per_s:.1f} frames/s\n")
    for what, measured, aim in found.rows():
        sys.stdout.write(f"{what}: {measured}{f' (aim {aim})' if aim else ''}\n")


if __name__ == "__main__":
    main()
