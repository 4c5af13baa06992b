"""PostgreSQL's row-level security: what each role may do with each table.

Product code acts as one of two roles, in each transaction anew (`scope.enter_role`): as the tenant
role with the name of one tenant, or as the platform role. The owner of the tables, who migrates,
sees rows only where it says so. SQLite has neither roles nor policies, and none of this happens
there.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from pipelines.errors import ConfigError

TENANT_ROLE = "atalaia_tenant"
PLATFORM_ROLE = "atalaia_platform"
ROLES = (TENANT_ROLE, PLATFORM_ROLE)

TENANT_SETTING = "atalaia.tenant"
"""Whose rows a transaction of the tenant role sees."""
OWNER_SETTING = "atalaia.all_tenants"
"""`on`: the owner of the tables sees all rows, to migrate and to back up."""

ALL_RIGHTS = "SELECT, INSERT, UPDATE, DELETE"

# A setting that was once made in a session is empty afterwards, not null; and the platform's chain
# of the audit log has the empty name.
_OWN = f"nullif(current_setting('{TENANT_SETTING}', true), '')"
_OWNER = f"current_setting('{OWNER_SETTING}', true) = 'on'"
_HINT = "See docs/operations.md, roles of the database."

# From here on a membership can let its holder take a role without having its rights all the time.
_SEPARATE_GRANTS = (16,)


def ensure_roles(connection: Connection) -> None:
    """Make both roles where they are missing, for whoever migrates to take.

    They belong to the server, not to the database: others of its databases may have made them.

    Raises:
        ConfigError: they are missing, and this login may not make roles.
    """
    if connection.dialect.name != "postgresql":
        return
    found = set(connection.scalars(text("SELECT rolname FROM pg_roles")))
    missing = [role for role in ROLES if role not in found]
    if missing and not connection.scalar(_MAY_MAKE_ROLES):
        raise ConfigError(
            f"the database has no role {' and no role '.join(missing)}, and this login may not "
            "make roles.",
            hint=f"Let an administrator run: {'; '.join(f'CREATE ROLE {r}' for r in missing)}. "
            + _HINT,
        )
    version = connection.dialect.server_version_info or (0,)
    options = " WITH INHERIT FALSE, SET TRUE" if version >= _SEPARATE_GRANTS else ""
    for role in missing:
        connection.execute(text(f"CREATE ROLE {role} NOLOGIN"))
        connection.execute(text(f"GRANT {role} TO CURRENT_USER{options}"))


_MAY_MAKE_ROLES = text(
    "SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"
)


def protect(
    connection: Connection,
    table: str,
    *,
    tenant: str = ALL_RIGHTS,
    platform: str = "",
    column: str = "tenant",
) -> None:
    """Let the tenant role see one tenant's rows of a table, and the platform role all or none.

    Migrations call it for each table that they make.

    Args:
        tenant: rights of the tenant role, as GRANT takes them.
        platform: rights of the platform role, on the rows of all tenants; empty: none.
        column: which names the tenant.
    """
    if connection.dialect.name != "postgresql":
        return
    statements = [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant ON {table} TO {TENANT_ROLE} USING ({column} = {_OWN})",
        f"CREATE POLICY owner ON {table} TO {_owner(connection, table)} USING ({_OWNER})",
        f"GRANT {tenant} ON {table} TO {TENANT_ROLE}",
    ]
    if platform:
        statements += [
            f"CREATE POLICY platform ON {table} TO {PLATFORM_ROLE} USING (true)",
            f"GRANT {platform} ON {table} TO {PLATFORM_ROLE}",
        ]
    for statement in statements:
        connection.execute(text(statement))


def expose(connection: Connection, table: str) -> None:
    """Undo `protect`: rights, policies and row-level security go."""
    if connection.dialect.name != "postgresql":
        return
    connection.execute(text(f"REVOKE ALL ON {table} FROM {', '.join(ROLES)}"))
    for policy in ("tenant", "owner", "platform"):
        connection.execute(text(f"DROP POLICY IF EXISTS {policy} ON {table}"))
    connection.execute(text(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"))
    connection.execute(text(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"))


def show_columns(connection: Connection, table: str, columns: str) -> None:
    """Let the platform role read these columns of a table that it could read whole."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"REVOKE SELECT ON {table} FROM {PLATFORM_ROLE}"))
        connection.execute(text(f"GRANT SELECT ({columns}) ON {table} TO {PLATFORM_ROLE}"))


def show_whole(connection: Connection, table: str, columns: str) -> None:
    """Undo `show_columns`."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"REVOKE SELECT ({columns}) ON {table} FROM {PLATFORM_ROLE}"))
        connection.execute(text(f"GRANT SELECT ON {table} TO {PLATFORM_ROLE}"))


def see_all_rows(connection: Connection) -> None:
    """Let the owner of the tables see all rows until the end of the transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT set_config('{OWNER_SETTING}', 'on', true)"))


def _owner(connection: Connection, table: str) -> str:
    """The owner of a table, quoted."""
    statement = text(
        "SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class "
        "WHERE oid = CAST(:table AS regclass)"
    )
    return str(connection.scalar(statement, {"table": table}))
