"""The servers that are at hand read the files that we ship for them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.ports import free_port

CONFIGS = Path(__file__).parents[3] / "configs"


def _binary(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on PATH")
    return found


def test_livekit(tmp_path: Path) -> None:
    """Unknown keys are errors to it. Only the search for a public address is left out here."""
    config = tmp_path / "livekit.yaml"
    text = (CONFIGS / "livekit.yaml").read_text(encoding="utf-8")
    config.write_text(text.replace("use_external_ip: true", "use_external_ip: false"))
    done = subprocess.run(
        [_binary("livekit-server"), "--config", str(config), "--node-ip", "127.0.0.1", "ports"],
        env={**os.environ, "LIVEKIT_KEYS": f"key: {'s' * 32}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "7880 - HTTP service" in done.stdout
    assert "7881 - ICE/TCP" in done.stdout


async def test_go2rtc(tmp_path: Path) -> None:
    """Started as the compose file starts it; what is added goes into the writable file."""
    api = free_port()
    streams = tmp_path / "streams.yaml"
    elsewhere = {"api": {"listen": f"127.0.0.1:{api}"}, "rtsp": {"listen": ""}}
    process = await asyncio.create_subprocess_exec(
        _binary("go2rtc"),
        *("-config", str(streams), "-config", str(CONFIGS / "go2rtc.yaml")),
        *("-config", json.dumps(elsewhere)),
        env={**os.environ, "GATEWAY_USERNAME": "atalaia", "GATEWAY_PASSWORD": "p@ss:w/rd"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    base = f"http://127.0.0.1:{api}/api"

    login = base64.b64encode(b"atalaia:p@ss:w/rd").decode()

    def ask(method: str, path: str) -> bytes:
        headers = {"Authorization": f"Basic {login}"}
        request = urllib.request.Request(base + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            content: bytes = answer.read()
            return content

    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    info = json.loads(await asyncio.to_thread(ask, "GET", ""))
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        assert info["config_path"] == str(streams)
        await asyncio.to_thread(ask, "PUT", "/streams?name=x&src=rtsp%3A%2F%2F127.0.0.1%3A1%2Fx")
        assert "rtsp://127.0.0.1:1/x" in streams.read_text(encoding="utf-8")
    finally:
        process.terminate()
        await process.wait()
