from __future__ import annotations

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from cluster.core.roles import Role
from cluster.stores.db import Database, Principal, current, downgrade, head, migrate
from cluster.stores.db.engine import open_engine
from cluster.stores.db.models import Base
from pipelines.errors import UnavailableError
from tests.factories import make_camera, make_rule


async def test_from_empty_to_head_and_back(empty_url: str) -> None:
    assert await current(empty_url) is None
    await migrate(empty_url)
    assert await current(empty_url) == head()
    await downgrade(empty_url)
    assert await current(empty_url) is None
    assert await _tables(empty_url) == {"alembic_version"}
    await migrate(empty_url)
    assert await current(empty_url) == head()


async def test_models_equal_migrations(database_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, Base.metadata))

    engine = open_engine(database_url)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_every_constraint_follows_the_naming_convention(database_url: str) -> None:
    def names(connection: Connection) -> set[str | None]:
        found = inspect(connection)
        return {
            constraint["name"]
            for table in Base.metadata.tables
            for constraint in [
                found.get_pk_constraint(table),
                *found.get_foreign_keys(table),
                *found.get_check_constraints(table),
                *found.get_unique_constraints(table),
            ]
        }

    engine = open_engine(database_url)
    async with engine.connect() as connection:
        in_database = await connection.run_sync(names)
    await engine.dispose()
    assert in_database == {c.name for t in Base.metadata.tables.values() for c in t.constraints}


async def test_keys_of_earlier_versions_are_admins(empty_url: str) -> None:
    await migrate(empty_url)
    async with Database(empty_url) as database:
        platform = database.platform()
        await platform.ensure_tenant("acme", "Acme")
        ours, root = await platform.create_key("acme", "a"), await platform.create_key(None, "b")
        await downgrade(empty_url, "0003")
        await migrate(empty_url)
        assert await platform.find_key(ours.secret) == Principal(
            "acme", Role.ADMIN, f"key:{ours.id}"
        )
        assert await platform.find_key(root.secret) == Principal(
            None, Role.PLATFORM, f"key:{root.id}"
        )


async def test_on_the_way_back_a_weak_key_ends(empty_url: str) -> None:
    """Earlier versions would take it for one that may do everything."""
    await migrate(empty_url)
    async with Database(empty_url) as database:
        platform = database.platform()
        await platform.ensure_tenant("acme", "Acme")
        weak = await platform.create_key("acme", "a", Role.VIEWER)
        await downgrade(empty_url, "0003")
        await migrate(empty_url)
        assert await platform.find_key(weak.secret) is None


async def test_again_keeps_what_is_there(database: Database, database_url: str) -> None:
    records = database.tenant("acme")
    await records.add_camera(make_camera())
    await records.add_rule("gate", make_rule())
    await migrate(database_url)
    assert await records.rules("gate") == [make_rule()]


async def test_two_at_once_take_turns(empty_url: str) -> None:
    await asyncio.gather(migrate(empty_url), migrate(empty_url), migrate(empty_url))
    assert await current(empty_url) == head()


async def test_a_newer_database_is_refused(database_url: str) -> None:
    engine = open_engine(database_url)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await engine.dispose()
    with pytest.raises(UnavailableError, match="revision 9999"):
        await migrate(database_url)


async def test_without_tables_the_error_says_what_to_do(empty_url: str) -> None:
    async with Database(empty_url) as database:
        with pytest.raises(UnavailableError, match="atalaia migrate"):
            await database.ping()
    await migrate(empty_url)
    async with Database(empty_url) as database:
        await database.ping()


async def _tables(url: str) -> set[str]:
    engine = open_engine(url)
    async with engine.connect() as connection:
        tables = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
    await engine.dispose()
    return tables
