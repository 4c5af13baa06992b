from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.stores.db import Database, migrate


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """Migrated SQLite records with the tenants acme and globex."""
    url = f"sqlite:///{tmp_path / 'records.db'}"
    await migrate(url)
    async with Database(url) as database:
        for tenant in ("acme", "globex"):
            await database.platform().ensure_tenant(tenant, tenant.title())
        yield database
