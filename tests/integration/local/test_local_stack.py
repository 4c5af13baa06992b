"""The complete local stack with Ray, started once: what only a complete stack can show."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest

from cluster.core.settings import Settings
from cluster.local.doctor import Level, examine
from cluster.local.ports import PortTakenError
from cluster.local.ray_folder import remove_stale
from cluster.local.ray_head import session_root
from cluster.local.stack import STATE_FILE, LocalStack, Phase, StackEvent, running_owner
from pipelines.errors import ConfigError, UnavailableError
from tests.integration.local.helpers import free_settings, gone

OWNER = Path(__file__).with_name("owner.py")
START_TIMEOUT_S = 150.0
PARTS = ["valkey", "livekit", "relay", "go2rtc", "ray"]


async def start_owner(settings: dict[str, object]) -> tuple[asyncio.subprocess.Process, list[int]]:
    owner = await asyncio.create_subprocess_exec(
        sys.executable,
        str(OWNER),
        json.dumps(settings),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert owner.stdout is not None
    async with asyncio.timeout(START_TIMEOUT_S):
        while line := await owner.stdout.readline():
            if line.startswith(b'{"pids"'):
                return owner, json.loads(line)["pids"]
    raise AssertionError("the owner ended before it was ready")


@pytest.mark.timeout(300)
async def test_nothing_outlives_an_owner_that_is_killed(
    tmp_path: Path, binaries: dict[str, Path]
) -> None:
    content = free_settings(tmp_path / "data")
    settings = Settings(**content)
    owner, pids = await start_owner(content)
    try:
        names = {psutil.Process(pid).name() for pid in pids}
        assert {"livekit-server", "go2rtc", "gcs_server", "raylet"} <= names
        listening = _listening(pids)
        assert listening
        assert all(ip in ("127.0.0.1", "::1", "::ffff:127.0.0.1") for ip, _ in listening), listening
        state = json.loads((settings.run_dir / STATE_FILE).read_text())
        assert [part["part"] for part in state["parts"]] == PARTS
        assert {part["phase"] for part in state["parts"]} == {"ready"}
        assert running_owner(settings) == owner.pid
        ports = [finding for finding in examine(settings) if finding.name == "ports"]
        assert ports[0].level is Level.OK
        with pytest.raises(ConfigError, match=f"already runs.*{owner.pid}"):
            await LocalStack(settings).start()
    finally:
        owner.send_signal(signal.SIGKILL)
        await owner.wait()
    assert await gone(pids, 60) == []
    assert running_owner(settings) is None
    assert session_root(settings) in remove_stale(), "what a killed one leaves goes at a next start"
    assert not session_root(settings).exists()
    assert not [ip for ip, port in _listening(None) if port == settings.redis.port]


def _listening(pids: list[int] | None) -> list[tuple[str, int]]:
    return [
        (connection.laddr.ip, connection.laddr.port)
        for connection in psutil.net_connections("inet")
        if connection.laddr
        and (connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM)
        and not connection.raddr
        and (pids is None or connection.pid in pids)
    ]


@pytest.mark.timeout(300)
async def test_a_stack_starts_reports_and_stops(
    settings: Settings, binaries: dict[str, Path]
) -> None:
    events: list[StackEvent] = []
    others = set(psutil.Process().children(recursive=True))
    stack = LocalStack(settings, on_event=events.append)
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            await stack.start()
        assert [status.part for status in stack.status()] == PARTS
        assert all(status.phase is Phase.READY for status in stack.status())
        assert all((status.start_s or 0) > 0 for status in stack.status())
        assert stack.settings.ray.address is not None
        assert (settings.log_dir / "ray").resolve().is_dir()
        assert session_root(settings).stat().st_mode & 0o077 == 0
        assert session_root(settings) not in remove_stale()
        started = set(psutil.Process().children(recursive=True)) - others
        pids = [process.pid for process in started]
        assert pids
    finally:
        await stack.aclose()
    assert await gone(pids, 30) == []
    stopped = [event.part for event in events if event.phase is Phase.STOPPED]
    assert stopped == ["ray", "go2rtc", "relay", "livekit", "valkey"]
    assert not session_root(settings).exists()
    assert (settings.log_dir / "ray" / "raylet.out").is_file()
    await stack.aclose()


async def test_a_taken_port_is_reported_with_its_holder_and_a_remedy(
    tmp_path: Path, binaries: dict[str, Path]
) -> None:
    settings = Settings(**free_settings(tmp_path / "data"))
    with socket.create_server(("127.0.0.1", settings.api.port)):
        stack = LocalStack(settings)
        with pytest.raises(PortTakenError) as caught:
            await stack.start()
    assert f"port {settings.api.port}/tcp for the API" in caught.value.message
    assert f"process {os.getpid()}" in caught.value.message
    assert "ATALAIA_API__PORT=" in caught.value.message
    assert running_owner(settings) is None


async def test_an_unmanaged_server_must_be_reachable(
    tmp_path: Path, binaries: dict[str, Path]
) -> None:
    content = free_settings(tmp_path / "data")
    content["redis"] = {"url": f"redis://user:hunter2@127.0.0.1:{content['redis']['port']}/0"}
    stack = LocalStack(Settings(**content))
    with pytest.raises(UnavailableError, match=r"valkey at redis://.*cannot be reached") as caught:
        await stack.start()
    assert "hunter2" not in str(caught.value)
    assert all(status.phase is not Phase.READY or not status.managed for status in stack.status())
