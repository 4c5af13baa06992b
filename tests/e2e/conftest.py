"""The demo as a user starts it: a process in the foreground, on ports of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.planted import planted, variable
from tests.ports import free_port
from tests.witness import watched

REPOSITORY = Path(__file__).parents[2]
START_TIMEOUT_S = 420.0
"""Footage, model export and imports on two cores, maybe shared; a quiet start takes 50 s."""
STOP_TIMEOUT_S = 90.0
LIVE_TIMEOUT_S = 120.0


PLANTED = {
    "api.media_secret": (planted("media"),),
    "audit.former_secrets": (planted("auditformer"),),
    "audit.secret": (planted("audit"),),
    "auth.keys": (planted("auth"), planted("authformer")),
    "database.decryption_keys": (planted("decryption"),),
    "gateway.password": (planted("gatewaypassword"),),
    "gateway.secret": (planted("gateway"),),
    "qdrant.api_key": (planted("qdrant"),),
    "ray.work_keys": (planted("work"), planted("workformer")),
}
"""Secrets of the demo's settings, which `test_secrets` looks for. The others it makes itself."""
_LISTS = {"audit.former_secrets", "auth.keys", "database.decryption_keys", "ray.work_keys"}


@dataclass(frozen=True)
class Demo:
    """A running demo: what `.local/run/demo.json` says, its process, and the environment of a shell
    on the same machine, which has the settings that were moved for the test and no Python of ours
    on PATH. `calls` is where its Python programs write whom they call (`tests.witness`)."""

    api: str
    livekit: str
    rtsp: str
    keys: dict[str, str]
    users: dict[str, dict[str, dict[str, str]]]
    process: psutil.Process
    log: Path
    calls: Path
    shell: dict[str, str]

    def client(self, owner: str) -> httpx.Client:
        """A client with the key of `owner`: acme, globex or platform."""
        headers = {"Authorization": f"Bearer {self.keys[owner]}"}
        return httpx.Client(base_url=self.api, headers=headers, timeout=30.0)


def _environment(data_dir: Path) -> dict[str, str]:
    ports = {
        "LIVEKIT__URL": f"ws://127.0.0.1:{free_port()}",
        "LIVEKIT__RTC_UDP_PORT": str(free_port("udp")),
        "GATEWAY__RELAY_URL": f"tcp://127.0.0.1:{free_port()}",
        "GATEWAY__RTSP_URL": f"rtsp://127.0.0.1:{free_port()}",
        "REDIS__PORT": str(free_port()),
        "RAY__DASHBOARD_PORT": str(free_port()),
        "API__PORT": str(free_port()),
        "DATA_DIR": str(data_dir),
    }
    environment = dict(os.environ) | {f"ATALAIA_{name}": value for name, value in ports.items()}
    for name, secrets in PLANTED.items():
        environment[variable(name)] = json.dumps(secrets) if name in _LISTS else secrets[0]
    environment["ATALAIA_GATEWAY__USERNAME"] = "atalaia"
    environment["PYTHONPATH"] = str(REPOSITORY)
    return watched(environment, _calls(data_dir))


def _calls(data_dir: Path) -> Path:
    return data_dir / "calls"


KEPT = ("models", "demo")
"""What the demo makes at its first start. The tests before have made it, those of chaos as part of
a whole stack."""


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, kept_dir: Path) -> Iterator[Demo]:
    """One demo for the whole session. Fails the session if anything is left after its stop."""
    data_dir = tmp_path_factory.mktemp("demo")
    for name in KEPT:
        (kept_dir / name).mkdir(exist_ok=True)
        (data_dir / name).symlink_to(kept_dir / name, target_is_directory=True)
    log = data_dir / "demo.log"
    environment = _environment(data_dir)
    with log.open("w", encoding="utf-8") as output:
        started = subprocess.Popen(
            [
                *(sys.executable, "-m", "cluster.cli"),
                *("-c", str(REPOSITORY / "configs" / "demo.yaml"), "demo"),
            ],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    process = psutil.Process(started.pid)
    descendants: set[psutil.Process] = set()
    try:
        yield _wait_until_live(data_dir, process, log, environment)
        descendants = set(process.children(recursive=True))
    finally:
        started.send_signal(signal.SIGTERM)
        code = started.wait(STOP_TIMEOUT_S)
    assert code == 0, log.read_text(encoding="utf-8")[-4000:]
    _, alive = psutil.wait_procs(descendants, timeout=60.0)
    assert not alive, f"left behind: {[p.name() for p in alive]}"
    assert not (data_dir / "run" / "demo.json").exists()


def _wait_until_live(
    data_dir: Path, process: psutil.Process, log: Path, environment: dict[str, str]
) -> Demo:
    access = data_dir / "run" / "demo.json"
    deadline = time.monotonic() + START_TIMEOUT_S
    while not access.exists():
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            pytest.fail(f"the demo ended:\n{log.read_text(encoding='utf-8')[-4000:]}")
        if time.monotonic() > deadline:
            pytest.fail(f"the demo did not start:\n{log.read_text(encoding='utf-8')[-4000:]}")
        time.sleep(0.5)
    said = json.loads(access.read_text(encoding="utf-8"))
    shell = environment | {"PATH": os.defpath}
    demo = Demo(**said, process=process, log=log, calls=_calls(data_dir), shell=shell)
    deadline = time.monotonic() + LIVE_TIMEOUT_S
    while any(c["state"] != "live" for c in _cameras(demo)):
        if time.monotonic() > deadline:
            pytest.fail(f"not all cameras are live: {_cameras(demo)}")
        time.sleep(0.5)
    return demo


def _cameras(demo: Demo) -> list[dict[str, object]]:
    cameras: list[dict[str, object]] = []
    for owner in ("acme", "globex"):
        with demo.client(owner) as client:
            cameras += client.get("/v1/cameras").raise_for_status().json()["cameras"]
    return cameras
