"""Servers and bridge are those of the bridge's tests. Database and storage are real too."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cluster.stores.db import Database, migrate
from tests.factories import CIPHER
from tests.integration.bridge.conftest import bridge, clip, servers
from tests.integration.bridge.world import Servers

__all__ = ["bridge", "clip", "database", "servers"]


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[Database]:
    """The database of the servers' settings, with the tenant acme."""
    url = servers.settings.database_url
    (servers.settings.data_dir / "data").mkdir(exist_ok=True)
    await migrate(url)
    async with Database(url, cipher=CIPHER) as records:
        await records.platform().ensure_tenant("acme", "Acme")
        yield records
