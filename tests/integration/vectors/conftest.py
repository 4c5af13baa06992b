"""Qdrant embedded, and its server where one is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from qdrant_client import AsyncQdrantClient

from cluster.stores.vectors.tenant import (
    VectorClient,
    collection_name,
    ensure_collection,
    open_vectors,
)
from tests.ports import free_port

DIM = 8


@pytest.fixture(scope="session")
def qdrant_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Qdrant server."""
    with running_qdrant(tmp_path_factory.mktemp("qdrant")) as url:
        yield url


@contextmanager
def running_qdrant(folder: Path, **settings: str) -> Iterator[str]:
    """URL of a server of its own. `settings` are variables of its environment."""
    binary = shutil.which("qdrant")
    if binary is None:
        pytest.skip("no qdrant server on PATH")
    port = free_port()
    process = subprocess.Popen(
        [binary],
        cwd=folder,
        env=os.environ
        | {
            "QDRANT__SERVICE__HOST": "127.0.0.1",
            "QDRANT__SERVICE__HTTP_PORT": str(port),
            "QDRANT__SERVICE__GRPC_PORT": str(free_port()),
            "QDRANT__STORAGE__STORAGE_PATH": str(folder / "storage"),
            "QDRANT__TELEMETRY_DISABLED": "true",
        }
        | settings,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_answers(f"{url}/readyz", process)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            httpx.get(url).raise_for_status()
        except httpx.HTTPError:
            assert process.poll() is None, "qdrant ended"
            time.sleep(0.1)
        else:
            return
    pytest.fail("qdrant did not answer")


@pytest.fixture(params=["embedded", "server"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorClient]:
    if request.param == "embedded":
        client = open_vectors(path=tmp_path / "qdrant")
    else:
        client = open_vectors(url=request.getfixturevalue("qdrant_server"))
    yield client
    await client.close()


@pytest.fixture
async def collection(client: VectorClient) -> AsyncIterator[str]:
    name = collection_name("test", DIM)
    await ensure_collection(client, name, DIM)
    yield name
    await drop(client, name)


async def drop(client: VectorClient, name: str) -> None:
    """Leave nothing on a server that tests share; an embedded engine's folder goes as a whole."""
    if isinstance(client, AsyncQdrantClient):
        await client.delete_collection(name)
