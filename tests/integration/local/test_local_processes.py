"""The real servers under supervision: start, probe, restart, stop, and no leftovers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from cluster.core.settings import Settings
from cluster.local.binaries import find_redis
from cluster.local.lifecycle import RestartPolicy, State
from cluster.local.probes import TcpProbe
from cluster.local.process import ProcessSpec, SupervisedProcess
from cluster.local.servers import go2rtc_spec, livekit_spec, valkey_spec
from pipelines.clock import SystemClock
from pipelines.errors import UnavailableError
from tests.integration.local.helpers import alive, gone, until
from tests.ports import free_port

FAST = RestartPolicy(initial_s=0.05, cap_s=0.2)
SERVERS = ("livekit", "go2rtc", "valkey")


def spec_of(name: str, settings: Settings, binaries: dict[str, Path]) -> ProcessSpec:
    if name == "livekit":
        return livekit_spec(settings, binaries["livekit-server"])
    if name == "go2rtc":
        return go2rtc_spec(settings, binaries["go2rtc"])
    redis = find_redis()
    assert redis is not None
    return valkey_spec(settings, redis)


@pytest.mark.parametrize("name", SERVERS)
async def test_a_real_server_comes_back_after_kill_9_and_stops_cleanly(
    name: str, settings: Settings, binaries: dict[str, Path]
) -> None:
    spec = spec_of(name, settings, binaries)
    process = SupervisedProcess(spec, clock=SystemClock())
    try:
        await process.start()
        first = process.status()
        assert first.state is State.READY
        assert first.pid is not None
        assert first.start_s is not None
        assert await spec.probe() is None
        _assert_loopback_only(first.pid)
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: process.status().restarts == 1 and process.state is State.READY)
        second = process.status()
        assert second.pid not in (None, first.pid)
        assert second.reason == "ended by SIGKILL"
        assert await spec.probe() is None
    finally:
        await process.aclose()
    assert process.state is State.STOPPED
    assert await spec.probe() is not None
    assert second.pid is not None
    assert not alive(second.pid)
    assert first.log_path.stat().st_size > 0
    await process.aclose()


def _assert_loopback_only(pid: int) -> None:
    for connection in psutil.Process(pid).net_connections(kind="inet"):
        listens = connection.status == psutil.CONN_LISTEN or connection.type.name == "SOCK_DGRAM"
        if listens:
            assert connection.laddr.ip in ("127.0.0.1", "::1"), connection


async def test_valkey_data_survives_kill_9(settings: Settings, binaries: dict[str, Path]) -> None:
    import redis.asyncio

    process = SupervisedProcess(spec_of("valkey", settings, binaries), clock=SystemClock())
    try:
        await process.start()
        async with redis.asyncio.Redis.from_url(settings.redis_url) as client:
            await client.set("alarm", "raised")
        await asyncio.sleep(1.2)  # appendfsync everysec
        pid = process.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: process.status().restarts == 1 and process.state is State.READY)
        async with redis.asyncio.Redis.from_url(settings.redis_url) as client:
            assert await client.get("alarm") == b"raised"
    finally:
        await process.aclose()


def python_spec(tmp_path: Path, code: str, port: int, **changes: object) -> ProcessSpec:
    options = {"restart": FAST, "start_timeout_s": 10.0, "stop_timeout_s": 1.0, **changes}
    return ProcessSpec(
        name="script",
        argv=(sys.executable, "-c", textwrap.dedent(code)),
        probe=TcpProbe("127.0.0.1", port),
        log_dir=tmp_path,
        **options,  # type: ignore[arg-type]
    )


LISTEN = """
    import signal, socket, subprocess, sys, time
    server = socket.create_server(("127.0.0.1", {port}))
    {more}
    while True:
        server.accept()
"""


async def test_a_failed_start_reports_the_last_log_lines(tmp_path: Path) -> None:
    spec = python_spec(tmp_path, "raise SystemExit('my file is broken')", free_port())
    process = SupervisedProcess(spec, clock=SystemClock())
    with pytest.raises(UnavailableError, match="my file is broken"):
        await process.start()
    assert process.state is State.FAILED
    assert process.status().restarts == 2
    assert process.status().reason == "ended with exit code 1"
    await process.aclose()


async def test_a_missing_program_is_reported_as_missing(tmp_path: Path) -> None:
    spec = ProcessSpec("x", ("/nowhere/x",), TcpProbe("127.0.0.1", free_port()), tmp_path)
    process = SupervisedProcess(spec, clock=SystemClock())
    with pytest.raises(UnavailableError, match="cannot execute /nowhere/x"):
        await process.start()
    await process.aclose()


async def test_a_crash_loop_exhausts_the_budget_and_is_visible(tmp_path: Path) -> None:
    port = free_port()
    more = "import threading, os; threading.Timer(0.3, os._exit, [3]).start()"
    policy = RestartPolicy(budget=2, initial_s=0.05, cap_s=0.1)
    spec = python_spec(tmp_path, LISTEN.format(port=port, more=more), port, restart=policy)
    seen: list[State] = []
    process = SupervisedProcess(
        spec, clock=SystemClock(), on_change=lambda status: seen.append(status.state)
    )
    await process.start()
    await until(lambda: process.state is State.FAILED)
    assert process.status().restarts == 2
    assert seen[-2:] == [State.WAITING, State.FAILED]
    await process.aclose()


async def test_a_server_that_hangs_is_started_again(tmp_path: Path) -> None:
    """It still runs and holds its port, but does not respond."""
    from cluster.local.probes import RedisProbe

    port = free_port()
    code = f"""
        import pathlib, socket, time
        hang = pathlib.Path({str(tmp_path / "hang")!r})
        server = socket.create_server(("127.0.0.1", {port}))
        while True:
            client, _ = server.accept()
            if hang.exists():
                hang.unlink()
                time.sleep(600)
            client.sendall(b"+PONG\\r\\n")
            client.close()
    """
    spec = ProcessSpec(
        name="hanging",
        argv=(sys.executable, "-c", textwrap.dedent(code)),
        probe=RedisProbe("127.0.0.1", port),
        log_dir=tmp_path,
        health_interval_s=0.1,
        stop_timeout_s=1.0,
        restart=FAST,
    )
    process = SupervisedProcess(spec, clock=SystemClock())
    try:
        await process.start()
        (tmp_path / "hang").touch()
        await until(lambda: process.status().restarts == 1 and process.state is State.READY, 30)
        assert "no longer healthy" in process.status().reason
    finally:
        await process.aclose()


async def test_a_server_deaf_to_sigterm_and_its_grandchildren_are_killed(tmp_path: Path) -> None:
    port = free_port()
    more = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen(['setsid', 'sleep', '600']); print(child.pid, flush=True)"
    )
    spec = python_spec(tmp_path, LISTEN.format(port=port, more=more), port)
    process = SupervisedProcess(spec, clock=SystemClock())
    await process.start()
    await until(lambda: bool(process.status().log_tail))
    server, grandchild = process.status().pid, int(process.status().log_tail[0])
    assert server is not None
    assert alive(grandchild)
    await process.aclose()
    assert await gone([server, grandchild], 30) == []


async def test_a_killed_subreaper_takes_its_server_along(tmp_path: Path) -> None:
    port = free_port()
    spec = python_spec(tmp_path, LISTEN.format(port=port, more=""), port)
    process = SupervisedProcess(spec, clock=SystemClock())
    try:
        await process.start()
        server = process.status().pid
        assert server is not None
        subreaper = psutil.Process(server).ppid()
        assert subreaper != os.getpid()
        os.kill(subreaper, signal.SIGKILL)
        await until(lambda: process.status().restarts == 1 and process.state is State.READY)
        assert await gone([server], 30) == []
    finally:
        await process.aclose()
