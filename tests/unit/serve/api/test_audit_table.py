"""Every route is logged, or is told why it is not; and what keeps repetition out of the log."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from cluster.stores.audit.events import AuditAction, AuditOutcome
from pipelines.clock import ManualClock
from serve.api.app import ROUTERS
from serve.api.audit.note import AuditNote
from serve.api.audit.table import AUDITED, NOT_AUDITED, Exchange
from serve.api.audit.windows import (
    MAX_KEY_IDS,
    WINDOW_S,
    Refusal,
    Refusals,
)

ROOT = Path(__file__).parents[4]

WRITES = {"POST", "PUT", "PATCH", "DELETE"}


@pytest.fixture(scope="module")
def operations() -> set[tuple[str, str]]:
    """Method and address of each operation of the OpenAPI document."""
    app = FastAPI()
    for module in ROUTERS:
        app.include_router(module.router)
    return {
        (method.upper(), path) for path, item in app.openapi()["paths"].items() for method in item
    }


def test_every_route_is_in_one_of_the_tables(operations: set[tuple[str, str]]) -> None:
    assert operations == AUDITED.keys() | NOT_AUDITED.keys()
    assert not AUDITED.keys() & NOT_AUDITED.keys()


def test_every_exception_has_a_reason() -> None:
    assert all(len(reason) > 15 for reason in NOT_AUDITED.values())


def test_every_change_is_logged_and_logged_each_time() -> None:
    assert {route for route in NOT_AUDITED if route[0] in WRITES} == {
        ("POST", "/v1/detect"),
        ("POST", "/v1/auth/refresh"),
    }
    assert not [route for route, how in AUDITED.items() if route[0] in WRITES and how.once]


def test_every_change_says_when_it_is_made() -> None:
    """What fails behind the write must not be logged as refused."""
    changes_nothing = {
        ("POST", "/v1/cameras/{camera}/join"),
        ("POST", "/v1/cameras/{camera}/join/unmasked"),
        ("POST", "/v1/search"),
    }
    silent = {
        (method, route.path)
        for module in ROUTERS
        for route in module.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods & WRITES
        if "note.committed = True" not in inspect.getsource(route.endpoint)
    }
    assert silent - NOT_AUDITED.keys() == changes_nothing


def test_every_action_has_a_source() -> None:
    elsewhere = {
        AuditAction.CREDENTIAL_REFUSED,
        AuditAction.MASKS_CHANGE,
        AuditAction.MASKS_PAINT,
        AuditAction.SECRETS_REENCRYPT,
        AuditAction.AUDIT_LOST,
        AuditAction.RETENTION_REMOVE,
        AuditAction.RETENTION_PRESSURE,
        AuditAction.ERASURE_DONE,
        AuditAction.TENANT_EXPORT,
        AuditAction.TENANT_MOVE,
        AuditAction.SESSION_REFUSE,
        AuditAction.SESSION_REUSE,
    }
    assert {how.action for how in AUDITED.values()} | elsewhere == set(AuditAction)


def test_every_action_is_documented() -> None:
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert [action.value for action in AuditAction if f"`{action.value}`" not in text] == []


@pytest.mark.parametrize(
    ("route", "exchange", "expected"),
    [
        (("PATCH", "/v1/cameras/{camera}"), {"path": {"camera": "gate"}}, "gate"),
        (
            ("DELETE", "/v1/cameras/{camera}/rules/{rule}"),
            {"path": {"camera": "gate", "rule": "yard"}},
            "gate/yard",
        ),
        (
            ("POST", "/v1/cameras/{camera}/rules"),
            {"path": {"camera": "gate"}, "location": "/v1/cameras/gate/rules/yard"},
            "gate/yard",
        ),
        (("POST", "/v1/cameras/{camera}/rules"), {"path": {"camera": "gate"}}, "gate"),
        (("POST", "/v1/keys"), {"location": "/v1/keys/abcdefgh"}, "abcdefgh"),
        (("POST", "/v1/keys"), {}, ""),
        (("GET", "/v1/recordings"), {"query": {"camera": "gate"}}, "gate"),
        (("GET", "/v1/recordings"), {}, ""),
        (("POST", "/v1/tenants"), {"note": AuditNote(object_id="acme")}, "acme"),
        (("DELETE", "/v1/cameras/{camera}"), {"path": {"camera": "me:pass@x"}}, "(invalid)"),
        (("POST", "/v1/search"), {"path": {"camera": "gate"}}, ""),
    ],
)
def test_where_an_id_comes_from(
    route: tuple[str, str], exchange: dict[str, Any], expected: str
) -> None:
    whole: dict[str, Any] = {"path": {}, "query": {}, "location": "", "note": AuditNote()}
    assert AUDITED[route].id(Exchange(**whole | exchange)) == expected


# ------------------------------------------------------------ refused credentials


def _told(events: Iterator[Any]) -> list[tuple[str | None, dict[str, Any]]]:
    return [(event.address, event.details) for event in events]


def test_a_minute_of_refusals_is_one_event_per_address() -> None:
    clock = ManualClock()
    refusals = Refusals(clock)
    for _ in range(30):
        refusals.add("192.0.2.1", Refusal.WRONG, "aaaaaaaa")
    refusals.add("192.0.2.1", Refusal.MISSING)
    refusals.add("192.0.2.2", Refusal.BLOCKED, "bbbbbbbb")
    clock.advance(WINDOW_S - 1)
    assert list(refusals.due()) == []
    clock.advance(1)
    first, second = refusals.due()
    assert (first.address, first.actor, first.outcome) == (
        "192.0.2.1",
        "unknown",
        AuditOutcome.REFUSED,
    )
    assert first.details == {"count": 31, "missing": 1, "wrong": 30, "keys": ["aaaaaaaa"]}
    assert first.reason == "missing, wrong"
    assert second.details == {"count": 1, "blocked": 1, "keys": ["bbbbbbbb"]}
    assert list(refusals.due()) == []


def test_a_flood_of_addresses_is_counted_together() -> None:
    refusals = Refusals(ManualClock(), max_addresses=3)
    for n in range(1_000):
        refusals.add(f"192.0.2.{n}", Refusal.MISSING)
    told = _told(refusals.all())
    assert [address for address, _ in told] == ["192.0.2.0", "192.0.2.1", "192.0.2.2", None]
    assert told[-1][1] == {"count": 997, "missing": 997, "keys": []}


def test_a_flood_of_keys_names_a_few() -> None:
    refusals = Refusals(ManualClock())
    for n in range(100):
        refusals.add("192.0.2.1", Refusal.WRONG, f"{n:08}")
    [(_, details)] = _told(refusals.all())
    assert (details["count"], len(details["keys"])) == (100, MAX_KEY_IDS)
