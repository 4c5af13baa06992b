"""The encoding of an entry, and that no change of a chain goes unnoticed."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.stores.audit.chain import (
    EMPTY,
    GENESIS,
    AuditEntry,
    Fault,
    canonical,
    chained,
    entry_hash,
)
from cluster.stores.audit.events import (
    MAX_ADDRESS,
    MAX_DETAIL,
    MAX_DETAILS,
    MAX_ID,
    AuditAction,
    AuditEvent,
    AuditOutcome,
)
from cluster.stores.db import new_key
from tests.factories import T0_US
from tests.unit.cluster.stores.audit.chains import first_fault, make_chain, make_event

# Written by hand after the module's description of the encoding, not by its code.
SPELT = (
    b'["atalaia-audit-1","acme",1,1700000000000000,"key:aaaaaaaa","camera.change","camera",'
    b'"p\\u00e1tio","192.0.2.7","refused","404 Not Found",{"a":["x","y"],"b":2,"c":true},'
    b'"0000000000000000000000000000000000000000000000000000000000000000"]'
)


def test_the_encoding_is_the_documented_one() -> None:
    event = make_event(
        object_id="pátio",
        outcome=AuditOutcome.REFUSED,
        reason="404 Not Found",
        details={"c": True, "b": 2, "a": ["x", "y"]},
    )
    [entry] = chained("acme", EMPTY, [event])
    assert canonical(entry) == SPELT
    assert entry.hash == hashlib.sha256(SPELT).hexdigest()
    assert entry.prev_hash == GENESIS


def test_a_chain_counts_from_one_and_each_entry_names_the_one_before() -> None:
    entries = make_chain(4)
    assert [entry.sequence for entry in entries] == [1, 2, 3, 4]
    assert [entry.prev_hash for entry in entries[1:]] == [entry.hash for entry in entries[:-1]]
    assert first_fault("acme", entries) is None


def test_two_parts_make_the_same_chain_as_one() -> None:
    events = [make_event(n) for n in range(5)]
    whole = chained("acme", EMPTY, events)
    begin = chained("acme", EMPTY, events[:2])
    check_head = type(EMPTY)(begin[-1].sequence, begin[-1].hash)
    assert begin + chained("acme", check_head, events[2:]) == whole


def test_the_same_events_of_two_tenants_have_different_hashes() -> None:
    assert make_chain(1, "acme")[0].hash != make_chain(1, "globex")[0].hash


OTHER: dict[str, Any] = {
    "tenant": "globex",
    "at_us": 5,
    "actor": "key:bbbbbbbb",
    "action": "camera.add",
    "object_kind": "rule",
    "object_id": "other",
    "address": None,
    "outcome": "refused",
    "reason": "because",
    "details": {"x": 1},
    "prev_hash": "1" * 64,
    "hash": "1" * 64,
}


def test_every_field_is_tried() -> None:
    assert set(OTHER) | {"sequence"} == {field.name for field in fields(AuditEntry)}


@pytest.mark.parametrize("name", sorted(OTHER))
@given(length=st.integers(1, 8), data=st.data())
def test_any_changed_field_is_found(name: str, length: int, data: st.DataObject) -> None:
    entries = make_chain(length)
    at = data.draw(st.integers(0, length - 1))
    entries[at] = replace(entries[at], **{name: OTHER[name]})
    found = first_fault("acme", entries)
    assert found is not None
    assert found.sequence == at + 1
    assert found.fault in (Fault.CHANGED, Fault.REORDERED)


@given(length=st.integers(2, 8), data=st.data())
def test_a_changed_row_with_a_new_hash_is_found_at_the_next_one(
    length: int, data: st.DataObject
) -> None:
    entries = make_chain(length)
    at = data.draw(st.integers(0, length - 2))
    forged = replace(entries[at], actor="key:mallory0")
    entries[at] = replace(forged, hash=entry_hash(forged))
    found = first_fault("acme", entries)
    assert found is not None
    assert (found.fault, found.sequence) == (Fault.REORDERED, at + 2)


@given(length=st.integers(2, 8), data=st.data())
def test_a_missing_row_is_found(length: int, data: st.DataObject) -> None:
    entries = make_chain(length)
    at = data.draw(st.integers(0, length - 2))
    del entries[at]
    found = first_fault("acme", entries)
    assert found is not None
    assert (found.fault, found.sequence) == (Fault.MISSING, at + 1)


@given(length=st.integers(2, 8), data=st.data())
def test_swapped_rows_are_found(length: int, data: st.DataObject) -> None:
    """Their contents, with the numbers in order, as somebody would who hides a swap."""
    entries = make_chain(length)
    one, two = data.draw(
        st.lists(st.integers(0, length - 1), min_size=2, max_size=2, unique=True).map(sorted)
    )
    first, second = entries[one], entries[two]
    entries[one] = replace(second, sequence=first.sequence)
    entries[two] = replace(first, sequence=second.sequence)
    found = first_fault("acme", entries)
    assert found is not None
    assert found.sequence == one + 1


def test_a_row_twice_is_found() -> None:
    entries = make_chain(3)
    entries.insert(2, entries[1])
    found = first_fault("acme", entries)
    assert found is not None
    assert (found.fault, found.sequence) == (Fault.REORDERED, 3)


@given(length=st.integers(1, 8), data=st.data())
def test_a_cut_end_is_found_with_an_anchor_only(length: int, data: st.DataObject) -> None:
    entries = make_chain(length)
    anchors = {length: entries[-1].hash}
    kept = data.draw(st.integers(0, length - 1))
    cut = entries[:kept]
    assert first_fault("acme", cut) is None
    found = first_fault("acme", cut, anchors)
    assert found is not None
    assert (found.fault, found.sequence) == (Fault.TRUNCATED, kept + 1)


@given(length=st.integers(1, 8), data=st.data())
def test_a_chain_that_is_written_anew_is_found_with_an_anchor(
    length: int, data: st.DataObject
) -> None:
    entries = make_chain(length)
    at = data.draw(st.integers(1, length))
    anchors = {at: entries[at - 1].hash}
    forged = chained("acme", EMPTY, [make_event(n, actor="key:mallory0") for n in range(length)])
    assert first_fault("acme", forged) is None
    found = first_fault("acme", forged, anchors)
    assert found is not None
    assert (found.fault, found.sequence) == (Fault.REWRITTEN, at)


@pytest.mark.parametrize("value", ["1", None, 1.0, b"1", True])
def test_a_row_that_holds_what_ours_never_hold_is_found(value: Any) -> None:
    [entry] = make_chain(1)
    for name in ("sequence", "at_us", "details"):
        found = first_fault("acme", [replace(entry, **{name: value})])
        assert found is not None, name


def test_details_that_are_no_json_are_found() -> None:
    [entry] = make_chain(1)
    assert first_fault("acme", [replace(entry, details={b"x": 1})]) is not None


# ------------------------------------------------------------ events


TEXTS = st.text(max_size=600)


@given(TEXTS, TEXTS, TEXTS, st.dictionaries(TEXTS, TEXTS | st.integers() | st.none(), max_size=20))
def test_whatever_comes_becomes_an_event_that_every_database_takes(
    actor: str, thing: str, reason: str, details: dict[str, object]
) -> None:
    event = AuditEvent.model_validate(
        {
            "at_us": T0_US,
            "actor": actor,
            "action": AuditAction.SEARCH,
            "object_id": thing,
            "address": actor,
            "reason": reason,
            "details": details,
        }
    )
    assert len(event.object_id) <= MAX_ID
    assert len(event.address or "") <= MAX_ADDRESS
    assert len(event.details) <= MAX_DETAILS
    for text in (event.actor, event.object_id, event.reason or "", *event.details):
        assert "\0" not in text
        text.encode("utf-8")
    [entry] = chained("acme", EMPTY, [event])
    assert first_fault("acme", [entry]) is None


def test_credentials_do_not_get_into_an_event() -> None:
    event = make_event(
        object_id="rtsp://viewer:hunter2@192.0.2.1/",
        reason="cannot open rtsp://viewer:hunter2@192.0.2.1/",
        details={"text": "rtsp://viewer:hunter2@192.0.2.1/", "list": ["http://u:hunter2@h/"]},
    )
    assert "hunter2" not in event.model_dump_json()


def test_keys_and_tokens_do_not_get_into_an_event() -> None:
    key = new_key()
    token = jwt.encode({"tenant": "acme"}, "a-secret-of-32-characters-0123456", algorithm="HS256")
    for secret in (key, token):
        for text in (secret, f"x {secret} y", "x" * 150 + f" {secret}", "x" * 240 + f" {secret}"):
            event = make_event(object_id=text, reason=text, details={"a": text, "b": [text]})
            said = event.model_dump_json()
            assert secret not in said
            assert secret[-20:] not in said
            assert key.split("_", 2)[2][:8] not in said


def test_details_are_small() -> None:
    event = make_event(details={"text": "x" * 10_000, "many": ["y" * 1_000] * 1_000, "f": 1.5})
    assert len(str(event.details["text"])) <= MAX_DETAIL
    assert len(event.model_dump_json()) < 3_000
    assert event.details["f"] == "1.5"
