from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cluster.core.erasure_settings import ErasureSettings
from cluster.core.settings import AuditSettings, LiveKitSettings, Settings
from cluster.erasure.receipt import (
    ReceiptKeys,
    canonical,
    kid_of,
    public_key,
    read_receipt,
    verify,
)
from cluster.erasure.statement import statement
from cluster.stores.db import ErasedCount, ErasureRecord, StepReport
from pipelines.erasure import STEPS, ErasureKind, ErasureState, StepState
from pipelines.errors import ConfigError, InputError
from pipelines.times import rfc3339
from tests.factories import T0_US

NEW = SecretStr("the-secret-of-today-of-32-characters")
OLD = SecretStr("the-secret-of-last-year-32-chars-x")
BODY = {"format": "atalaia-erasure-receipt-1", "removed": {"sql": {"alarms": 3}}, "reason": "ação"}


def test_a_receipt_is_checked_with_the_public_key_alone() -> None:
    receipt = ReceiptKeys(NEW).sign(BODY)
    shown = receipt["key"]["ed25519"]
    kid, raw = public_key(shown)
    assert kid == receipt["key"]["kid"]
    verify(receipt, {kid: raw})
    # Through JSON, in another order and with spaces.
    again = json.loads(json.dumps(dict(reversed(list(receipt.items()))), indent=2))
    verify(again, {kid: raw})


def test_receipts_of_former_secrets_are_known_and_new_ones_signed_with_the_current() -> None:
    keys = ReceiptKeys(NEW, [OLD])
    verify(ReceiptKeys(OLD).sign(BODY), keys.public)
    assert keys.sign(BODY)["key"]["kid"] == ReceiptKeys(NEW).kid != ReceiptKeys(OLD).kid
    with pytest.raises(InputError, match="not known here"):
        verify(keys.sign(BODY), ReceiptKeys(OLD).public)


def test_the_key_is_not_that_of_the_anchors() -> None:
    """The same secret signs both; neither gives the other away."""
    receipt = ReceiptKeys(NEW).sign(BODY)
    assert NEW.get_secret_value() not in json.dumps(receipt)
    assert len(bytes.fromhex(receipt["signature"])) == 64


def test_a_key_in_the_receipt_proves_nothing() -> None:
    """Somebody signs with a key of their own, and names it."""
    forged = ReceiptKeys(SecretStr("x" * 32)).sign(BODY)
    trusted = ReceiptKeys(NEW)
    with pytest.raises(InputError, match="not known here"):
        verify(forged, trusted.public)
    forged["key"] = {"kid": trusted.kid, "ed25519": trusted.public[trusted.kid].hex()}
    with pytest.raises(InputError, match="changed"):
        verify(forged, trusted.public)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1), _JSON, max_size=4), st.text(min_size=1), _JSON)
def test_any_change_is_noticed(body: dict[str, Any], name: str, value: Any) -> None:
    keys = ReceiptKeys(NEW)
    receipt = keys.sign({**body, "format": BODY["format"]})
    verify(receipt, keys.public)
    changed = {**receipt, name: value}
    if canonical(changed) != canonical(receipt):
        with pytest.raises(InputError):
            verify(changed, keys.public)
    if name in receipt:
        with pytest.raises(InputError):
            verify({n: v for n, v in receipt.items() if n != name}, keys.public)


@pytest.mark.parametrize("signature", [None, "", "zz", "00" * 64, 5, "é"])
def test_what_is_no_signature(signature: object) -> None:
    keys = ReceiptKeys(NEW)
    with pytest.raises(InputError, match="wrong signature"):
        verify({**keys.sign(BODY), "signature": signature}, keys.public)


@pytest.mark.parametrize("key", ["", "abc", "zz" * 32, "00" * 31])
def test_what_is_no_public_key(key: str) -> None:
    with pytest.raises(InputError, match="64 hexadecimal"):
        public_key(key)


def test_where_the_secret_comes_from() -> None:
    livekit = LiveKitSettings(api_secret=NEW)
    assert ReceiptKeys.of(Settings(livekit=livekit)).kid == ReceiptKeys(NEW).kid
    audit = AuditSettings(secret=OLD, former_secrets=(NEW,))
    keys = ReceiptKeys.of(Settings(livekit=livekit, audit=audit))
    assert set(keys.public) == {ReceiptKeys(OLD).kid, ReceiptKeys(NEW).kid}
    assert keys.kid == kid_of(keys.public[keys.kid])
    with pytest.raises(ConfigError, match="fewer than 32"):
        ReceiptKeys.of(Settings())


def test_files_with_receipts(tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    receipt = ReceiptKeys(NEW).sign(BODY)
    for content in (receipt, {"id": "1", "receipt": receipt}):
        file.write_text(json.dumps(content))
        assert read_receipt(file) == receipt
    for text in ("", "[]", '{"a": 1, "a": 2}', "[" * 100_000, '"' + "x" * 1_000_001 + '"'):
        file.write_text(text)
        with pytest.raises(InputError, match="no receipt"):
            read_receipt(file)
    with pytest.raises(InputError, match="cannot read"):
        read_receipt(tmp_path / "none.json")


def test_what_a_receipt_says() -> None:
    record = ErasureRecord(
        id=UUID(int=1), tenant="acme", kind=ErasureKind.OBJECTS, objects=2, reason="case 7",
        created_us=T0_US, created_by="user:u1", state=ErasureState.RUNNING, marked_us=T0_US,
        steps=tuple(
            StepReport(step=step, state=StepState.DONE) for step in STEPS[ErasureKind.OBJECTS]
        ),
        counts={
            "sql.alarms": ErasedCount(removed=2),
            "blobs.clips": ErasedCount(removed=1, bytes=900),
        },
    )  # fmt: skip
    day_us = 86_400_000_000
    said = statement(
        record,
        ErasureSettings(backup_days=30),
        digests=["b" * 64, "a" * 64],
        held={"blobs.recordings": 1},
        checked_us=T0_US + day_us,
        audit=(12, "c" * 64),
        spool_bytes=1_000,
    )
    assert said["subject"] == {"kind": "objects", "asked": 2, "erased": ["a" * 64, "b" * 64]}
    assert said["removed"] == {
        "blobs": {"clips": {"count": 1, "bytes": 900}},
        "redis": {},
        "sql": {"alarms": {"count": 2}},
        "vectors": {},
    }
    until = {one["what"]: one["until"] for one in said["remainders"]}
    assert until["backups"] == rfc3339(T0_US + 31 * day_us)
    assert until["logs"] is None
    canonical(said)  # nothing in it is without a canonical spelling
