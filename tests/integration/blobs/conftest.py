"""A real S3 server for all tests with a bucket for each, and servers that a test may kill."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from cluster.local.binaries import ensure_binary
from pipelines.errors import UnavailableError
from tests.conftest import BUILT_SERVERS
from tests.integration.blobs.world import SECRET, VERSITYGW, S3Server, wait_until_it_answers
from tests.ports import free_port


@pytest.fixture(scope="session")
def versitygw() -> Path:
    """From PATH, else built once: some 70 s on two cores. A test's time-out does not run here."""
    folders = [f for f in os.environ["PATH"].split(os.pathsep) if f != str(BUILT_SERVERS)]
    with pytest.MonkeyPatch.context() as patch:
        # What was built before counts only if it was built from the pins of now.
        patch.setenv("PATH", os.pathsep.join(folders))
        try:
            return asyncio.run(ensure_binary(VERSITYGW, BUILT_SERVERS.parent, _say))
        except UnavailableError as error:
            if shutil.which("go") or os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(str(error))


def _say(message: str) -> None:
    sys.stderr.write(message + "\n")


@pytest.fixture(scope="session")
def shared(versitygw: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(versitygw, tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(shared: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server with an empty bucket, which this process finds through its environment."""
    point_at(shared, monkeypatch)
    return shared


@pytest.fixture
def frail(versitygw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The same, of the test's own."""
    folder = tmp_path / "s3"
    folder.mkdir()
    server = S3Server(versitygw, folder)
    server.start()
    try:
        with fresh_connections():
            point_at(server, monkeypatch)
            yield server
    finally:
        server.stop()


@pytest.fixture
def wrong_secret(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process has another secret than the server."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"{SECRET}-not")
    with fresh_connections():
        yield


@pytest.fixture
def gcs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a storage on the emulator of Google's."""
    port = free_port()
    (tmp_path / "gcs" / "atalaia").mkdir(parents=True)
    address = f"http://127.0.0.1:{port}"
    argv = ["fake-gcs-server", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    argv += ["-public-host", f"127.0.0.1:{port}", "-external-url", address]
    argv += ["-backend", "memory", "-data", str(tmp_path / "gcs"), "-log-level", "error"]
    with subprocess.Popen(argv) as process:
        wait_until_it_answers(f"{address}/_internal/healthcheck", process)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        # Asks Google, over gRPC, what kind of bucket it is; the emulator has no answer.
        monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        yield "gs://atalaia/site"
        process.terminate()


def point_at(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.make_bucket(f"atalaia-{uuid.uuid4().hex[:12]}")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


@contextmanager
def fresh_connections() -> Iterator[None]:
    """s3fs reads the environment once: a process of ours has the same for its life, tests have
    not."""
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()
