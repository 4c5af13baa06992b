"""Building a server with a fake `go`: the real one takes minutes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from cluster.local.binaries import GO2RTC, LIVEKIT, ensure_binary, find_binary
from pipelines.errors import UnavailableError
from tests.integration.local.helpers import gone, until

WRITES = """#!/bin/sh
echo "$@" >> {log}
echo "go: downloading github.com/pion/rtp v1.8.11" >&2
while [ "$1" != -o ]; do shift; done
{more}
printf '#!/bin/sh\\n' > "$2" && chmod +x "$2"
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of the fake `go`; otherwise PATH has only the system's tools."""
    make_go(tmp_path, WRITES.format(log=tmp_path / "calls", more="sleep 0.3"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return tmp_path / "calls"


def calls(log: Path) -> list[str]:
    """One command line per call of the fake `go`."""
    return log.read_text().splitlines()


def make_go(folder: Path, script: str) -> None:
    program = folder / "go"
    program.write_text(script)
    program.chmod(0o755)


async def test_concurrent_requests_build_a_server_once(tmp_path: Path, log: Path) -> None:
    messages: list[str] = []
    paths = await asyncio.gather(
        *(ensure_binary(GO2RTC, tmp_path, messages.append) for _ in range(2)),
    )
    assert paths[0] == paths[1] == tmp_path / "bin" / "go2rtc"
    assert os.access(paths[0], os.X_OK)
    (call,) = calls(log)
    for flag in ("-trimpath", "-mod=readonly", "github.com/AlexxIT/go2rtc"):
        assert flag in call
    assert any("waiting for another process" in line for line in messages)
    assert "go: downloading github.com/pion/rtp v1.8.11\n" in build_log(tmp_path, "go2rtc")
    assert not any("downloading" in line for line in messages)
    assert messages[-1].startswith("built go2rtc in")
    assert [path.name for path in (tmp_path / "bin").glob("*.new")] == []


def build_log(folder: Path, server: str) -> str:
    return (folder / "bin" / f"{server}.build.log").read_text()


async def test_progress_is_a_few_lines_and_the_log_has_all(tmp_path: Path, log: Path) -> None:
    downloads = 'for n in $(seq 120); do echo "go: downloading m$n v1" >&2; done\n'
    packages = "for n in $(seq 450); do echo package$n >&2; done"
    make_go(tmp_path, WRITES.format(log=log, more=downloads + packages))
    messages: list[str] = []
    await ensure_binary(GO2RTC, tmp_path, messages.append)
    assert messages[1:-1] == [
        "go2rtc: 50 modules downloaded",
        "go2rtc: 100 modules downloaded",
        "go2rtc: 200 packages compiled",
        "go2rtc: 400 packages compiled",
    ]
    assert len(build_log(tmp_path, "go2rtc").splitlines()) == 1 + 120 + 450


async def test_changed_pins_trigger_a_rebuild(tmp_path: Path, log: Path) -> None:
    binary = await ensure_binary(GO2RTC, tmp_path, lambda _: None)
    binary.with_name(".go2rtc.pin").write_text(LIVEKIT.pin())
    await ensure_binary(GO2RTC, tmp_path, lambda _: None)
    assert len(calls(log)) == 2


async def test_a_failed_build_shows_the_output_of_go_and_leaves_nothing(
    tmp_path: Path, log: Path
) -> None:
    script = WRITES.format(log=log, more='echo "dial tcp: no such host" >&2; exit 1')
    make_go(tmp_path, script)
    with pytest.raises(UnavailableError, match="no such host") as caught:
        await ensure_binary(LIVEKIT, tmp_path, lambda _: None)
    assert "GOPROXY" in caught.value.hint
    assert f"Full log: {tmp_path / 'bin' / 'livekit-server.build.log'}" in caught.value.hint
    assert "no such host" in build_log(tmp_path, "livekit-server")
    assert find_binary("livekit-server", tmp_path) is None


async def test_a_cancelled_build_ends_go(tmp_path: Path, log: Path) -> None:
    pid = tmp_path / "pid"
    make_go(tmp_path, WRITES.format(log=log, more=f"echo $$ > {pid}; exec sleep 600"))
    building = asyncio.create_task(ensure_binary(LIVEKIT, tmp_path, lambda _: None))
    await until(lambda: pid.exists() and pid.read_text() != "")
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert await gone([int(pid.read_text())], 30) == []


async def test_without_go_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="Go, which would build it") as caught:
        await ensure_binary(LIVEKIT, tmp_path, lambda _: None)
    assert "https://go.dev/dl" in caught.value.hint
    assert LIVEKIT.version() in caught.value.hint
