"""One world for the whole module: starting it is what takes longest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from cluster.core.settings import Settings
from cluster.local.binaries import GO_SERVERS, find_binary, find_redis
from tests.chaos import world as chaos
from tests.environment import environment_kept
from tests.integration.local.helpers import free_settings, gone


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, kept_dir: Path) -> Iterator[Settings]:
    missing = [s.name for s in GO_SERVERS if find_binary(s.name) is None]
    if missing or find_redis() is None:
        pytest.skip(f"needs {', '.join(missing) or 'valkey-server'} (`make servers` builds them)")
    data_dir = chaos.data_dir_in(tmp_path_factory.mktemp("chaos"), kept_dir)
    with environment_kept():
        yield Settings(
            **free_settings(
                data_dir,
                controller={"interval_s": 1.0},
                bridge={"open_timeout_s": 5.0, "backoff_max_s": 3.0},
                agents={"cameras_per_host": chaos.CAMERAS_PER_HOST},
                # A quarter of the usual pixels: what is seen is not the subject, only that it is.
                detector={"input_width": 320, "input_height": 192},
                log={"level": "info"},
            )
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(settings: Settings) -> AsyncIterator[chaos.World]:
    running = await chaos.start(settings)
    descendants: list[psutil.Process] = []
    try:
        yield running
        descendants = psutil.Process().children(recursive=True)
    finally:
        await running.session.aclose()
    assert await gone([process.pid for process in descendants], 60.0) == []
