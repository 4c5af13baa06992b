"""Every table with rows of tenants is one that an erasure of a tenant knows, and an export."""

from __future__ import annotations

from cluster.stores.db import dump, erasure_work
from cluster.stores.db.models import Base, SecretText

OF_TENANTS = {table.name for table in Base.metadata.sorted_tables if "tenant" in table.columns}
# Keys are in no session of one tenant, and go with `close`; items go with `finish`. The receipt and
# the audit log outlive the tenant.
ERASED_OTHERWISE = {"keys", "erasure_items"}
OUTLIVE_THE_TENANT = {"erasures", "audit"}
# No use to who takes the records elsewhere: digests of refresh tokens, a measurement, and what an
# erasure needs to do its work.
NOT_EXPORTED = {"sessions", "storage_use", "erasure_items", "erased"}


def test_an_erasure_of_a_tenant_knows_every_table() -> None:
    removed = [table.__tablename__ for table in erasure_work.TABLES]
    assert len(removed) == len(set(removed))
    assert set(removed) == OF_TENANTS - ERASED_OTHERWISE - OUTLIVE_THE_TENANT


def test_tables_go_before_those_that_they_refer_to() -> None:
    gone = list[str]()
    for table in erasure_work.TABLES:
        referring = {
            other.name
            for other in Base.metadata.sorted_tables
            for key in other.foreign_keys
            if key.column.table.name == table.__tablename__
        }
        assert referring <= {*gone, table.__tablename__}, table.__tablename__
        gone.append(table.__tablename__)


def test_an_export_of_a_tenant_knows_every_table() -> None:
    exported = [dump.table_of(row).name for row in dump.TABLES]
    assert len(exported) == len(set(exported))
    assert set(exported) == OF_TENANTS - NOT_EXPORTED


def test_no_column_that_hides_a_secret_is_exported() -> None:
    for row in dump.TABLES:
        secret = {
            column.name
            for column in dump.table_of(row).columns
            if isinstance(column.type, SecretText) or column.name == "digest"
        }
        assert secret == dump.HIDDEN.get(row, frozenset())
