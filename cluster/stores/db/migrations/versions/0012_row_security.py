"""PostgreSQL: each tenant's rows are visible to its own transactions only, and the platform sees
what it needs. A table with a tenant that a later migration makes needs `protect` of its own."""

from __future__ import annotations

from alembic import op

from cluster.stores.db.row_security import ALL_RIGHTS, ensure_roles, expose, protect

revision = "0012"
down_revision = "0011"

# Of the tenant's own rows, of all rows. The update of a tenant is for its counter of revisions, and
# to lock it; tenants, their keys and their quotas are removed where a tenant is erased. Whether
# users and sessions still work is asked for the views and links of all tenants (`credentials`).
RIGHTS = {
    "cameras": (ALL_RIGHTS, "SELECT, UPDATE (url, substream_url)"),
    "rules": (ALL_RIGHTS, "SELECT"),
    "alarms": (ALL_RIGHTS, ""),
    "recordings": (ALL_RIGHTS, ""),
    "objects": (ALL_RIGHTS, ""),
    "paths": (ALL_RIGHTS, ""),
    "jobs": (ALL_RIGHTS, ""),
    "retention_policies": (ALL_RIGHTS, ""),
    "holds": (ALL_RIGHTS, ""),
    "retention_runs": (ALL_RIGHTS, ""),
    "anonymisation_policies": (ALL_RIGHTS, ""),
    "reveals": (ALL_RIGHTS, ""),
    "analysed": (ALL_RIGHTS, ""),
    "camera_groups": (ALL_RIGHTS, "SELECT"),
    "camera_group_members": (ALL_RIGHTS, ""),
    "users": (ALL_RIGHTS, "SELECT"),
    "sessions": (ALL_RIGHTS, "SELECT"),
    "keys": (ALL_RIGHTS, ALL_RIGHTS),
    "quotas": ("SELECT, DELETE", "SELECT, INSERT, DELETE"),
    "erasures": (ALL_RIGHTS, "SELECT"),
    "erasure_items": (ALL_RIGHTS, "SELECT"),
    "erased": (ALL_RIGHTS, ""),
    "audit": ("SELECT, INSERT", "SELECT, INSERT"),
}
TENANT_RIGHTS = ("SELECT, UPDATE (name, revision), DELETE", "SELECT, INSERT, UPDATE")


def upgrade() -> None:
    connection = op.get_bind()
    ensure_roles(connection)
    for table, (tenant, platform) in RIGHTS.items():
        protect(connection, table, tenant=tenant, platform=platform)
    tenant, platform = TENANT_RIGHTS
    protect(connection, "tenants", tenant=tenant, platform=platform, column="slug")
    if connection.dialect.name == "postgresql":
        # So that whoever may not migrate can see that there is nothing to do.
        op.execute("GRANT SELECT ON alembic_version TO PUBLIC")


def downgrade() -> None:
    """The roles stay: other databases of the server may use them."""
    connection = op.get_bind()
    for table in (*RIGHTS, "tenants"):
        expose(connection, table)
    if connection.dialect.name == "postgresql":
        op.execute("REVOKE SELECT ON alembic_version FROM PUBLIC")
