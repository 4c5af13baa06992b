"""Cost of the relay: CPU time of its process for cameras of a given bit rate.

    python -m benchmarks.relay [--cameras 8] [--mbits 4] [--seconds 10]

Cameras and readers run in this process, the relay in its own. For comparison, the simplest possible
relay copies the same bytes: two `recv`/`sendall` loops, each in a thread.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from cluster.local.ports import free_port
from cluster.media.sealing import sources_seal
from cluster.media.target import Target, seal_target
from cluster.media.urls import parse_camera_url
from cluster.relay.server import RelayConfig

SECRET = "benchmark secret of 32 characters."
PAYLOAD = 1400
FPS = 25
SDP = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of the copying process per second, and its throughput, bytes per second."""

    cpu: float
    rate: float


async def _camera(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, burst: bytes) -> None:
    """A camera: answers three requests, then sends a burst of packets 25 times a second."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
        for body in (SDP, b"", b""):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            number = head.lower().partition("cseq:")[2].split("\r\n")[0].strip()
            answer = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nSession: 1\r\n"
            writer.write(answer.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        begin, sent = time.monotonic(), 0
        while True:
            writer.write(burst)
            await writer.drain()
            sent += 1
            await asyncio.sleep(max(0.0, begin + sent / FPS - time.monotonic()))


async def _read(port: int, url: str, received: list[int]) -> None:
    """A reader: plays a stream and counts the received bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for number, method in enumerate(("DESCRIBE", "SETUP", "PLAY")):
            writer.write(f"{method} {url} RTSP/1.0\r\nCSeq: {number}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(SDP) if b"Content-Length: %d" % len(SDP) in head else 0)
        while data := await reader.read(65_536):
            received[0] += len(data)
    finally:
        writer.close()


def _plain(listen: int, target: int) -> None:
    """The simplest relay. Runs as a process of its own."""

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)

    with socket.create_server(("127.0.0.1", listen)) as server:
        while True:
            near, _ = server.accept()
            far = socket.create_connection(("127.0.0.1", target))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=copy, args=pair, daemon=True).start()


@contextlib.contextmanager
def _process(arguments: list[str]) -> Iterator[psutil.Process]:
    process = subprocess.Popen([sys.executable, *arguments])
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


async def _measure(process: psutil.Process, port: int, urls: list[str], seconds: float) -> Cost:
    for _ in range(200):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            break
        await asyncio.sleep(0.05)
    received = [0]
    readers = [asyncio.create_task(_read(port, url, received)) for url in urls]
    await asyncio.sleep(WARM_UP_S)
    before, began, first = process.cpu_times(), time.monotonic(), received[0]
    await asyncio.sleep(seconds)
    after, took = process.cpu_times(), time.monotonic() - began
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    used = after.user + after.system - before.user - before.system
    return Cost(used / took, (received[0] - first) / took)


async def _run(cameras: int, mbits: float, seconds: float) -> tuple[Cost, Cost]:
    packets = max(1, round(mbits * 1e6 / 8 / FPS / PAYLOAD))
    burst = (b"$\x00" + PAYLOAD.to_bytes(2, "big") + bytes(PAYLOAD)) * packets
    server = await asyncio.start_server(lambda r, w: _camera(r, w, burst), "127.0.0.1", 0)
    source = int(server.sockets[0].getsockname()[1])
    port, plain = free_port(), free_port()
    config = RelayConfig.model_validate(
        {
            "bind": "127.0.0.1", "port": port, "url": f"tcp://127.0.0.1:{port}", "secret": SECRET,
            "allow": ["127.0.0.1"], "deny": [], "services": [], "log_level": "warning",
        }
    )  # fmt: skip
    target = Target("bench", parse_camera_url(f"rtsp://127.0.0.1:{source}/s"))
    sealed = seal_target(sources_seal(SECRET), target)
    async with server:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "relay.json")
            await asyncio.to_thread(file.write_text, config.to_json())
            with _process(["-m", "cluster.relay", str(file)]) as relay:
                urls = [f"rtsp://127.0.0.1:{port}/{sealed}"] * cameras
                ours = await _measure(relay, port, urls, seconds)
        code = f"from benchmarks.relay import _plain; _plain({plain}, {source})"
        with _process(["-c", code]) as copier:
            urls = [f"rtsp://127.0.0.1:{plain}/s"] * cameras
            theirs = await _measure(copier, plain, urls, seconds)
    return ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--mbits", type=float, default=4.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    ours, theirs = asyncio.run(_run(options.cameras, options.mbits, options.seconds))
    table = Table("", "CPU per camera", "throughput")
    for name, cost in (("relay", ours), ("plain copy", theirs)):
        each = f"{100 * cost.cpu / options.cameras:.2f} % of a core"
        table.add_row(name, each, f"{cost.rate * 8 / 1e6 / options.cameras:.2f} Mbit/s")
    table.add_row("ratio", f"{ours.cpu / theirs.cpu:.2f}", json.dumps(vars(options)))
    Console().print(table)


if __name__ == "__main__":
    main()
