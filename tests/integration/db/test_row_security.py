"""PostgreSQL's row-level security alone: raw SQL, which nothing of ours rewrites.

The tables come from the models, so that a new one without a policy fails here.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy import CheckConstraint, Column, Table, insert, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cluster.core.holders import Credential, CredentialKind
from cluster.core.roles import Role
from cluster.stores.audit.events import PLATFORM_CHAIN
from cluster.stores.db import Database, migrate, schema
from cluster.stores.db.engine import open_engine
from cluster.stores.db.models import Base, CameraRow, SecretText
from cluster.stores.db.row_security import PLATFORM_ROLE, ROLES, TENANT_ROLE, see_all_rows
from cluster.stores.db.scope import enter_role
from cluster.stores.db.sessions import Sessions
from pipelines.errors import ConfigError, UnavailableError
from tests.factories import CIPHER, NAMESPACE, make_alarm, make_camera, make_rule
from tests.integration.db.postgres import OWNER, PostgresServer, running_postgres
from tests.unit.cluster.stores.audit.chains import make_event

TENANTS = ("acme", "globex")
OWNED = [table for table in Base.metadata.sorted_tables if "tenant" in table.columns]
DENIED = "42501"
# One login each, as an operator makes them who keeps both apart.
TENANT_LOGIN, PLATFORM_LOGIN = "app_tenant", "app_platform"
OF_THE_PLATFORM = {
    *("audit", "camera_groups", "cameras", "erasure_items", "erasures", "keys", "quotas", "rules"),
    *("sessions", "tenants", "users"),
}


@pytest.fixture
def engine() -> str:
    return "postgresql"


@pytest.fixture(scope="session")
def logins(postgres_server: PostgresServer, postgres_template: str) -> PostgresServer:
    """The server, with a login for each role."""
    _make_logins(postgres_server)
    return postgres_server


def _make_logins(server: PostgresServer) -> None:
    for login, role in ((TENANT_LOGIN, TENANT_ROLE), (PLATFORM_LOGIN, PLATFORM_ROLE)):
        server.run(
            f"CREATE ROLE {login} LOGIN",
            f"GRANT {role} TO {login} WITH INHERIT FALSE, SET TRUE",
        )


@pytest.fixture
def name(database_url: str) -> str:
    """Of the database."""
    return database_url.partition("@/")[2].partition("?")[0]


@pytest.fixture
async def filled(database_url: str) -> None:
    """A row of each tenant in every table, and one of the platform's in the audit log."""
    async with _connected(database_url) as engine, engine.begin() as connection:
        for tenant in TENANTS:
            for table in Base.metadata.sorted_tables:
                await connection.execute(insert(table).values(_row(table, tenant)))
        audit = Base.metadata.tables["audit"]
        await connection.execute(insert(audit).values(_row(audit, "globex") | {"tenant": ""}))


def _row(table: Table, tenant: str) -> dict[str, Any]:
    """Values for a row of a tenant: whatever the columns take."""
    filled = {column.name: _value(column, tenant) for column in table.columns}
    return filled | {"slug" if table.name == "tenants" else "tenant": tenant}


def _value(column: Column[Any], tenant: str) -> Any:
    if (chosen := _first_allowed(column)) is not None:
        return chosen
    if column.name == "camera_groups":
        return None  # admins have all cameras
    if column.name.startswith("move_"):
        return None  # while a tenant moves nobody writes
    if isinstance(column.type, SecretText):
        return SecretStr(tenant)
    values: dict[type, Any] = {
        UUID: uuid5(NAMESPACE, tenant),
        int: 1,
        float: 0.5,
        bool: False,
        str: tenant,
        object: {},  # JSON
    }
    return values[column.type.python_type]


def _first_allowed(column: Column[Any]) -> str | None:
    """The first value that a check `column IN (…)` of the table allows."""
    for constraint in column.table.constraints:
        if isinstance(constraint, CheckConstraint):
            found = re.match(rf"{column.name} IN \('(\w+)'", str(constraint.sqltext))
            if found:
                return found[1]
    return None


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(url)
    try:
        yield engine
    finally:
        await engine.dispose()


@pytest.fixture
async def tenants_engine(logins: PostgresServer, name: str) -> AsyncIterator[AsyncEngine]:
    """Of the login that can act as a tenant only."""
    async with _connected(logins.url(name, TENANT_LOGIN)) as engine:
        yield engine


@pytest.fixture
async def platforms_engine(logins: PostgresServer, name: str) -> AsyncIterator[AsyncEngine]:
    """Of the login that can act as the platform only."""
    async with _connected(logins.url(name, PLATFORM_LOGIN)) as engine:
        yield engine


@asynccontextmanager
async def _as(engine: AsyncEngine, tenant: str | None) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection, connection.begin():
        await connection.run_sync(enter_role, tenant)
        yield connection


async def _tenants_in(connection: AsyncConnection, table: str) -> set[Any]:
    column = "slug" if table == "tenants" else "tenant"
    return set(await connection.scalars(text(f"SELECT {column} FROM {table}")))


async def _refusal(connection: AsyncConnection, statement: Any) -> str | None:
    """SQLSTATE with which a statement fails; None: it does not."""
    try:
        async with connection.begin_nested():
            await connection.execute(statement)
    except DBAPIError as error:
        return str(getattr(error.orig, "sqlstate", None))
    return None


# ------------------------------------------------------------ every table


async def test_every_table_of_tenants_has_its_policy(database_url: str) -> None:
    statement = text(
        "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity FROM pg_class c "
        "JOIN pg_policy p ON p.polrelid = c.oid AND p.polname = 'tenant'"
    )
    async with _connected(database_url) as engine, engine.connect() as connection:
        rows = (await connection.execute(statement)).all()
    wanted = {(table.name, True) for table in [*OWNED, Base.metadata.tables["tenants"]]}
    assert {tuple(row) for row in rows} == wanted, (
        "call row_security.protect in the migration of a new table"
    )


async def test_a_tenant_sees_its_own_rows_in_every_table(
    filled: None, tenants_engine: AsyncEngine
) -> None:
    for tenant in TENANTS:
        async with _as(tenants_engine, tenant) as connection:
            for table in Base.metadata.tables:
                assert await _tenants_in(connection, table) == {tenant}, table


async def test_nobody_writes_rows_of_another_tenant(
    filled: None, tenants_engine: AsyncEngine
) -> None:
    async with _as(tenants_engine, "acme") as connection:
        for table in OWNED:
            row = _row(table, "initech")
            assert await _refusal(connection, insert(table).values(row)) == DENIED, table.name
            taken = text(f"UPDATE {table.name} SET tenant = 'globex'")
            assert await _refusal(connection, taken) == DENIED, table.name
            for change in (f"UPDATE {table.name} SET tenant = tenant", f"DELETE FROM {table.name}"):
                theirs = text(f"{change} WHERE tenant = 'globex'")
                if await _refusal(connection, theirs) is None:
                    done = await connection.execute(theirs)
                    assert done.rowcount == 0, table.name


async def test_without_the_name_of_a_tenant_nothing_is_visible(
    filled: None, tenants_engine: AsyncEngine
) -> None:
    """Neither before the first transaction that had one, nor after it: then the setting is empty,
    like the name of the platform's chain in the audit log."""
    async with tenants_engine.connect() as connection:
        for _ in range(2):
            async with connection.begin():
                await connection.execute(text(f"SET LOCAL ROLE {TENANT_ROLE}"))
                for table in Base.metadata.tables:
                    assert await _tenants_in(connection, table) == set(), table
            async with connection.begin():
                await connection.run_sync(enter_role, "acme")
                assert await _tenants_in(connection, "audit") == {"acme"}


@pytest.mark.parametrize(
    "forged", ["", "acme' OR '1'='1", "%", "*", "acme,globex", "ACME", " globex"]
)
async def test_a_forged_name_sees_nothing(
    filled: None, tenants_engine: AsyncEngine, forged: str
) -> None:
    async with Sessions(tenants_engine, forged).read() as session:
        for table in Base.metadata.tables:
            rows = await session.execute(text(f"SELECT 1 FROM {table}"))
            assert rows.all() == [], table


async def test_what_the_platform_sees_is_what_it_needs(
    filled: None, platforms_engine: AsyncEngine
) -> None:
    async with _as(platforms_engine, None) as connection:
        for table in Base.metadata.tables:
            statement = text(f"SELECT 1 FROM {table}")
            refusal = await _refusal(connection, statement)
            assert refusal == (None if table in OF_THE_PLATFORM else DENIED), table
        for table in OF_THE_PLATFORM - {"audit"}:
            assert await _tenants_in(connection, table) == set(TENANTS)
        assert await _tenants_in(connection, "audit") == {*TENANTS, PLATFORM_CHAIN}


# Whether a view or a link still is its holder's (`credentials`), and nothing else.
SHOWN = {
    "users": {"tenant", "id", "role", "camera_groups", "disabled"},
    "sessions": {"tenant", "id", "user", "expires_us", "ended_us"},
}


async def test_the_platform_reads_no_passwords_and_no_more_of_people_than_it_needs(
    filled: None, platforms_engine: AsyncEngine
) -> None:
    async with _as(platforms_engine, None) as connection:
        for table, shown in SHOWN.items():
            columns = {column.name for column in Base.metadata.tables[table].columns}
            assert shown < columns
            for column in columns:
                refusal = await _refusal(connection, text(f'SELECT "{column}" FROM {table}'))
                assert refusal == (None if column in shown else DENIED), (table, column)
            for statement in (f"SELECT * FROM {table}", f"SELECT {table} FROM {table}"):
                assert await _refusal(connection, text(statement)) == DENIED


async def test_the_platform_still_knows_whose_session_works(
    logins: PostgresServer, name: str
) -> None:
    async with Database(
        logins.url(name, PLATFORM_LOGIN), tenant_url=logins.url(name, TENANT_LOGIN), cipher=CIPHER
    ) as database:
        await database.platform().ensure_tenant("acme", "Acme")
        users, sessions = database.users("acme"), database.sessions("acme")
        user = await users.add("a@b.example", "A", Role.VIEWER, SecretStr("hash"))
        assert await sessions.begin(user.id, SecretStr("hash"), "s-1", "d", 10**17)
        credential = Credential("acme", CredentialKind.SESSION, "s-1")
        found = await database.credentials().principals([credential])
        assert found[credential].role is Role.VIEWER
        await sessions.end("s-1")
        assert await database.credentials().principals([credential]) == {}


async def test_the_owner_sees_nothing_unless_it_says_so(
    filled: None, logins: PostgresServer, name: str
) -> None:
    """The login of a simple installation is the owner, and is as blind as the others where a
    statement forgot to take a role."""
    async with _connected(logins.url(name)) as engine, engine.connect() as connection:
        for table in Base.metadata.tables:
            assert await _tenants_in(connection, table) == set(), table


# ------------------------------------------------------------ no way out of a role

ESCAPES = [
    f"SET ROLE {PLATFORM_ROLE}",
    "SET ROLE atalaia",
    "SET SESSION AUTHORIZATION atalaia",
    f"GRANT {PLATFORM_ROLE} TO {TENANT_ROLE}",
    "ALTER TABLE cameras DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE cameras NO FORCE ROW LEVEL SECURITY",
    "DROP POLICY tenant ON cameras",
    "CREATE POLICY mine ON cameras USING (true)",
    "ALTER TABLE cameras OWNER TO app_tenant",
    "TRUNCATE alarms",
    "CREATE TABLE mine (id int)",
    "INSERT INTO tenants (slug, name, created_us, revision) VALUES ('new', 'x', 1, 0)",
    "INSERT INTO quotas (tenant, name, amount) VALUES ('acme', 'cameras', 1000000)",
]


async def test_a_tenants_login_takes_no_other_role(
    filled: None, tenants_engine: AsyncEngine
) -> None:
    async with _as(tenants_engine, "acme") as connection:
        for statement in ESCAPES:
            assert await _refusal(connection, text(statement)) == DENIED, statement
        # This makes an error of rows that would be left out; it never gives more rows.
        await connection.execute(text("SET LOCAL row_security = off"))
        assert await _refusal(connection, text("SELECT 1 FROM cameras")) == DENIED
    async with _as(tenants_engine, "acme") as connection:
        await connection.execute(text("SET LOCAL atalaia.all_tenants = 'on'"))
        assert await _tenants_in(connection, "cameras") == {"acme"}
        await connection.execute(text("RESET ROLE"))
        assert await _refusal(connection, text("SELECT 1 FROM cameras")) == DENIED


async def test_key_hashes_of_others_cannot_be_read(
    filled: None, tenants_engine: AsyncEngine
) -> None:
    async with _as(tenants_engine, "acme") as connection:
        found = await connection.scalars(text("SELECT digest FROM keys WHERE id LIKE '%'"))
        assert found.all() == ["acme"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'x'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "ALTER TABLE audit DISABLE TRIGGER USER",
    ],
)
async def test_no_role_changes_the_audit_log(
    filled: None, tenants_engine: AsyncEngine, platforms_engine: AsyncEngine, statement: str
) -> None:
    for engine, tenant in ((tenants_engine, "acme"), (platforms_engine, None)):
        async with _as(engine, tenant) as connection:
            assert await _refusal(connection, text(statement)) == DENIED


# ------------------------------------------------------------ sessions, and the pool


async def test_a_session_sees_one_tenant_also_where_nothing_is_rewritten(
    filled: None, database_url: str
) -> None:
    """The first lock adds conditions to what SQLAlchemy knows. This is text, which it does not."""
    async with _connected(database_url) as engine:
        sessions = Sessions(engine, "acme")
        async with sessions.read() as session:
            seen = await session.scalars(text("SELECT tenant FROM cameras"))
            assert seen.all() == ["acme"]
        stolen = insert(CameraRow).values(_row(Base.metadata.tables["cameras"], "initech"))
        with pytest.raises(UnavailableError, match=DENIED):
            async with sessions.write() as session:
                await session.execute(stolen)


async def test_a_pooled_connection_keeps_nothing_of_a_transaction(
    filled: None, database_url: str
) -> None:
    """One connection for everybody, because nobody works at the same time; and more turns than it
    takes until the driver prepares a statement and PostgreSQL keeps its plan."""
    engine = open_engine(database_url)
    sessions = {tenant: Sessions(engine, tenant) for tenant in TENANTS}
    platform = Sessions(engine, None)
    count = text("SELECT tenant FROM cameras ORDER BY tenant")
    for _ in range(12):
        for tenant, own in sessions.items():
            async with own.read() as session:
                assert (await session.scalars(count)).all() == [tenant]
            await _fail_in(own)
        async with platform.read() as session:
            assert (await session.scalars(count)).all() == list(TENANTS)
        async with engine.connect() as connection:
            who = await connection.execute(
                text("SELECT current_user = session_user, current_setting('atalaia.tenant', true)")
            )
            assert who.one() == (True, "")
    await engine.dispose()


async def _fail_in(sessions: Sessions) -> None:
    """A transaction that is rolled back."""
    with suppress(RuntimeError):
        async with sessions.write() as session:
            await session.execute(text("SELECT 1 FROM cameras"))
            raise RuntimeError


# ------------------------------------------------------------ what an operator does


async def _use(database: Database) -> None:
    """Something of every store: who logs in may do what the product does."""
    platform = database.platform()
    await platform.ensure_tenant("acme", "Acme")
    await platform.set_quotas("acme", {"cameras": 3})
    key = await platform.create_key("acme", "ci")
    await platform.note_uses({key.id: 1})
    records = database.tenant("acme")
    await records.add_camera(make_camera())
    await records.add_rule("gate", make_rule())
    await records.record_alarms([make_alarm(1)])
    await records.acknowledge(make_alarm(1).id, "ana", 1)
    user = await database.users("acme").add("a@b.example", "A", Role.ADMIN, SecretStr("hash"))
    assert await database.sessions("acme").begin(user.id, SecretStr("hash"), "s", "d", 10**17)
    await database.jobs("acme").add("reprocess", {}, at_most=1)
    await database.audit("acme").append([make_event(1)])
    await database.platform_audit().append([make_event(1)])
    assert (await platform.find_key(key.secret)) is not None
    assert [plan.key for plan in await platform.plans()] == [("acme", "gate")]
    assert set(await database.audit_heads()()) == {"", "acme"}
    async for _ in database.secrets().pages(write=True):
        pass
    await records.remove_camera("gate")
    await database.ping()


async def test_with_a_login_for_each_role(logins: PostgresServer, name: str) -> None:
    async with Database(
        logins.url(name, PLATFORM_LOGIN), tenant_url=logins.url(name, TENANT_LOGIN), cipher=CIPHER
    ) as database:
        await _use(database)


async def test_whoever_only_works_can_see_that_there_is_nothing_to_migrate(
    logins: PostgresServer, name: str
) -> None:
    await migrate(logins.url(name, PLATFORM_LOGIN))


async def test_a_login_of_the_wrong_role_is_found_by_the_ping(
    logins: PostgresServer, name: str
) -> None:
    wrong = logins.url(name, PLATFORM_LOGIN)
    async with Database(wrong, tenant_url=wrong) as database:
        with pytest.raises(UnavailableError, match=TENANT_ROLE):
            await database.ping()


async def test_a_migration_sees_all_rows(filled: None, logins: PostgresServer, name: str) -> None:
    """Or a later one that changes rows would change none, without a word."""
    seen: list[int | None] = []

    def look(config: Config) -> None:
        connection = config.attributes["connection"]
        seen.append(connection.scalar(text("SELECT count(*) FROM cameras")))

    await schema._run(logins.url(name), look)
    assert seen == [len(TENANTS)]


@pytest.fixture
def fresh_server() -> Iterator[PostgresServer]:
    """A server on which nobody made the roles."""
    with running_postgres() as server:
        yield server


async def test_an_owner_that_may_make_no_roles(fresh_server: PostgresServer) -> None:
    fresh_server.run(f"ALTER ROLE {OWNER} NOCREATEROLE")
    url = fresh_server.url(fresh_server.create())
    with pytest.raises(ConfigError, match="may not make roles") as refused:
        await migrate(url)
    assert refused.value.hint is not None
    fresh_server.run(*re.findall(r"CREATE ROLE \w+", refused.value.hint))
    await migrate(url)
    async with Database(url, cipher=CIPHER) as database:
        with pytest.raises(UnavailableError, match="may not take it"):
            await database.ping()
        fresh_server.run(f"GRANT {', '.join(ROLES)} TO {OWNER} WITH INHERIT FALSE, SET TRUE")
        await _use(database)


async def test_the_logins_of_the_compose_file(fresh_server: PostgresServer) -> None:
    """The script that the database's container runs, twice: it may be run again."""
    script = (Path(__file__).parents[3] / "configs" / "postgres-roles.sh").read_text("utf-8")
    lines = script.partition("<<'SQL'\n")[2].rpartition("SQL")[0].splitlines()
    sql = "\n".join(line for line in lines if not line.startswith("\\"))
    for variable in ("app", "tenant"):
        assert f":'{variable}'" in sql
        sql = sql.replace(f":'{variable}'", f"'password of {variable}'")
    fresh_server.run(f"CREATE DATABASE atalaia OWNER {OWNER}")
    for _ in range(2):
        fresh_server.run(sql, database="atalaia")
    await migrate(fresh_server.url("atalaia"))
    url = fresh_server.url("atalaia", "atalaia_app")
    tenant_url = fresh_server.url("atalaia", "atalaia_app_tenant")
    async with Database(url, tenant_url=tenant_url, cipher=CIPHER) as database:
        await _use(database)


async def test_the_roles_of_the_documentation(fresh_server: PostgresServer) -> None:
    """What an operator types, word for word; then another owner for what there is."""
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
    section = page.partition("## Roles of the database")[2]
    statements = section.partition("```sql")[2].partition("```")[0].split(";")
    fresh_server.run(*filter(str.strip, statements))
    await migrate(fresh_server.url("atalaia", "atalaia_owner"))
    url = fresh_server.url("atalaia", "atalaia_app")
    tenant_url = fresh_server.url("atalaia", "atalaia_app_tenant")
    async with Database(url, tenant_url=tenant_url, cipher=CIPHER) as database:
        await _use(database)

    fresh_server.run(f"REASSIGN OWNED BY atalaia_owner TO {OWNER}", database="atalaia")
    tables = "SELECT tablename FROM pg_policies WHERE policyname = 'owner'"
    async with _connected(fresh_server.url("atalaia", OWNER)) as engine:
        async with engine.begin() as connection:
            for table in await connection.scalars(text(tables)):
                await connection.execute(text(f"ALTER POLICY owner ON {table} TO {OWNER}"))
            await connection.run_sync(see_all_rows)
            assert await _tenants_in(connection, "tenants") == {"acme"}
