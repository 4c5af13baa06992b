"""Which login does which work."""

from __future__ import annotations

import re
from inspect import signature
from pathlib import Path
from types import FunctionType

import pytest
from pydantic import SecretStr, ValidationError

import cluster
from cluster.core.settings import DatabaseSettings, Settings
from cluster.media.resolution import ServiceAddress, own_services
from cluster.stores.audit.events import PLATFORM_CHAIN
from cluster.stores.db import Database

SOURCES = Path(cluster.__file__).parent.parent
DIVIDED = Settings(
    database=DatabaseSettings(
        url=SecretStr("postgresql://app:one@a.example/atalaia"),
        tenant_url=SecretStr("postgresql://tenants:two@b.example:6432/atalaia"),
        migration_url=SecretStr("postgresql://owner:three@c.example/atalaia"),
    )
)


def _login(sessions: object) -> str:
    """Whom the sessions of a repository sign in as."""
    return str(sessions._reader.url.username)  # type: ignore[attr-defined]


def _is_for_a_tenant(method: object) -> bool:
    """A limit to camera groups may be named besides."""
    if not isinstance(method, FunctionType) or method.__name__.startswith("_"):
        return False
    names = list(signature(method).parameters)
    return names[:2] == ["self", "tenant"] and set(names[2:]) <= {"groups"}


async def test_work_for_a_tenant_has_the_tenants_login() -> None:
    async with Database.of(DIVIDED) as database:
        makers = [name for name, method in vars(Database).items() if _is_for_a_tenant(method)]
        assert {"tenant", "keys", "users", "audit"} <= set(makers)
        for name in makers:
            method = getattr(database, name)
            limited = "groups" in signature(method).parameters
            made = method("acme", groups=("entrances",)) if limited else method("acme")
            assert _login(made._sessions) == "tenants", name
        for made in (
            *(database.platform(), database.secrets(), database.audit_heads()),
            *(database.platform_audit(), database.audit_chain(PLATFORM_CHAIN)),
        ):
            assert _login(made._sessions) == "app", made
    assert DIVIDED.migration_url == "postgresql://owner:three@c.example/atalaia"


async def test_with_one_url_its_login_does_all(tmp_path: Path) -> None:
    url = "postgresql://atalaia:one@a.example/atalaia"
    settings = Settings(database=DatabaseSettings(url=SecretStr(url)))
    async with Database.of(settings) as database:
        assert _login(database.tenant("acme")._sessions) == "atalaia"
    assert settings.migration_url == url
    assert Settings(data_dir=tmp_path).migration_url == Settings(data_dir=tmp_path).database_url


def test_logins_need_a_database_that_has_them() -> None:
    with pytest.raises(ValidationError, match="SQLite has no logins"):
        DatabaseSettings(tenant_url=SecretStr("postgresql://tenants:two@b.example/atalaia"))


def test_no_camera_may_be_where_a_login_leads() -> None:
    services = own_services(DIVIDED)
    for service in (("a.example", 5432), ("b.example", 6432), ("c.example", 5432)):
        assert ServiceAddress(*service) in services


@pytest.mark.parametrize("package", ["agents", "cluster", "serve"])
def test_whoever_opens_the_configured_database_does_so_with_all_its_logins(package: str) -> None:
    """`Database(url)` would do all work with one login."""
    makers = [
        str(path.relative_to(SOURCES))
        for path in (SOURCES / package).rglob("*.py")
        if re.search(r"\bDatabase\(", path.read_text(encoding="utf-8"))
    ]
    assert makers == []
