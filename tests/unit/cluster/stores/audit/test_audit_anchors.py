"""Anchors: signed, checked, and written for each chain that has grown."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cluster.core.settings import AuditSettings, LiveKitSettings, Settings
from cluster.stores.audit.anchors import (
    AnchorKeys,
    append_anchors,
    by_chain,
    read_anchors,
)
from cluster.stores.audit.chain import Head
from cluster.stores.audit.keeper import AnchorKeeper
from pipelines.clock import ManualClock
from pipelines.errors import ConfigError, InputError, UnavailableError
from tests.factories import T0_US

SECRET = SecretStr("a-secret-of-the-anchors-0123456789")
OTHER = SecretStr("another-secret-of-anchors-0123456789")
HEAD = Head(7, "ab" * 32)


def test_the_signature_is_the_documented_one() -> None:
    anchor = AnchorKeys(SECRET).sign("acme", HEAD, T0_US)
    key = hmac.new(
        SECRET.get_secret_value().encode(),
        b"atalaia: anchors of the audit log, version 1",
        hashlib.sha256,
    ).digest()
    kid = hashlib.sha256(key).hexdigest()[:8]
    at = "2023-11-14T22:13:20.000000Z"
    said = f'["atalaia-audit-anchor-1","acme",7,"{"ab" * 32}","{at}","{kid}"]'
    assert anchor.model_dump() == {
        "tenant": "acme",
        "sequence": 7,
        "hash": "ab" * 32,
        "at": at,
        "kid": kid,
        "signature": hmac.new(key, said.encode(), hashlib.sha256).hexdigest(),
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tenant", "globex"),
        ("sequence", 6),
        ("hash", "cd" * 32),
        ("at", "2023-11-14T22:13:21.000000Z"),
        ("signature", "0" * 64),
    ],
)
def test_a_changed_anchor_is_refused(name: str, value: object) -> None:
    keys = AnchorKeys(SECRET)
    anchor = keys.sign("acme", HEAD, T0_US)
    keys.check(anchor)
    with pytest.raises(InputError, match="wrong signature"):
        keys.check(anchor.model_copy(update={name: value}))


def test_anchors_of_a_former_secret_are_known_by_their_key_id() -> None:
    old = AnchorKeys(OTHER).sign("acme", HEAD, T0_US)
    AnchorKeys(SECRET, [OTHER]).check(old)
    with pytest.raises(InputError, match="not known") as caught:
        AnchorKeys(SECRET).check(old)
    assert "former_secrets" in caught.value.hint


def test_the_secret_is_that_of_the_settings_or_livekits() -> None:
    livekit = LiveKitSettings(api_secret=OTHER)
    own = Settings(livekit=livekit, audit=AuditSettings(secret=SECRET))
    assert AnchorKeys.of(own).sign("", HEAD, 1) == AnchorKeys(SECRET).sign("", HEAD, 1)
    assert AnchorKeys.of(Settings(livekit=livekit)).sign("", HEAD, 1) == AnchorKeys(OTHER).sign(
        "", HEAD, 1
    )
    for wrong in (
        Settings(),
        Settings(audit=AuditSettings(secret=SecretStr("short"))),
        Settings(livekit=livekit, audit=AuditSettings(former_secrets=(SecretStr("short"),))),
    ):
        with pytest.raises(ConfigError, match="32 characters"):
            AnchorKeys.of(wrong)


def test_a_file_of_anchors_is_read_as_it_was_written(tmp_path: Path) -> None:
    keys, path = AnchorKeys(SECRET), tmp_path / "deep" / "anchors.jsonl"
    first, second = keys.sign("", HEAD, T0_US), keys.sign("acme", Head(1, "cd" * 32), T0_US)
    append_anchors(path, [first])
    append_anchors(path, [second])
    assert list(read_anchors(path)) == [first, second]
    assert by_chain(read_anchors(path), keys) == {"": {7: "ab" * 32}, "acme": {1: "cd" * 32}}
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("line", ["{}", "no json", '{"tenant": "acme"}', "\x80"])
def test_what_is_no_anchor_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "anchors.jsonl"
    good = AnchorKeys(SECRET).sign("acme", HEAD, T0_US).model_dump_json()
    path.write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        list(read_anchors(path))
    with pytest.raises(InputError, match="cannot read"):
        list(read_anchors(tmp_path / "none"))


@pytest.mark.parametrize("torn", ['{"tenant":"acme","seq', "{", "x"])
def test_a_line_that_a_crash_tore_is_left_out_and_replaced(tmp_path: Path, torn: str) -> None:
    keys, path = AnchorKeys(SECRET), tmp_path / "anchors.jsonl"
    first, second = keys.sign("", HEAD, T0_US), keys.sign("acme", Head(1, "cd" * 32), T0_US)
    for whole in ([], [first]):
        path.unlink(missing_ok=True)
        append_anchors(path, whole)
        with path.open("a") as file:
            file.write(torn)
        assert list(read_anchors(path)) == whole
        append_anchors(path, [second])
        assert list(read_anchors(path)) == [*whole, second]


def test_a_line_that_lacks_only_its_end_is_kept(tmp_path: Path) -> None:
    keys, path = AnchorKeys(SECRET), tmp_path / "anchors.jsonl"
    first, second = keys.sign("", HEAD, T0_US), keys.sign("acme", Head(1, "cd" * 32), T0_US)
    path.write_text(first.model_dump_json())
    append_anchors(path, [second])
    assert list(read_anchors(path)) == [first, second]


def test_two_anchors_of_one_row_must_agree() -> None:
    keys = AnchorKeys(SECRET)
    anchors = [keys.sign("acme", HEAD, 1), keys.sign("acme", Head(7, "cd" * 32), 2)]
    with pytest.raises(InputError, match="contradict"):
        by_chain(anchors, keys)


async def test_each_chain_that_grew_gets_one_anchor(tmp_path: Path) -> None:
    heads = {"": Head(2, "aa" * 32), "acme": Head(5, "bb" * 32)}
    clock = ManualClock(T0_US)

    async def now() -> dict[str, Head]:
        return dict(heads)

    def keeper() -> AnchorKeeper:
        return AnchorKeeper(now, lambda: AnchorKeys(SECRET), tmp_path, clock, 3600.0)

    first = await keeper().anchor_growth()
    assert [(one.tenant, one.sequence) for one in first] == [("", 2), ("acme", 5)]
    assert await keeper().anchor_growth() == []
    heads["acme"] = Head(6, "cc" * 32)
    clock.advance(3600)
    # Another one, as after a restart: what is known is in the file.
    [grown] = await keeper().anchor_growth()
    assert (grown.tenant, grown.sequence, grown.at) == ("acme", 6, "2023-11-14T23:13:20.000000Z")
    lines = (tmp_path / "anchors.jsonl").read_text().splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == [2, 5, 6]


BAD_HEADS: list[Any] = [
    Head("7", "ab" * 32),  # type: ignore[arg-type]
    Head(b"7", "ab" * 32),  # type: ignore[arg-type]
    Head(7.0, "ab" * 32),  # type: ignore[arg-type]
    Head(None, "ab" * 32),  # type: ignore[arg-type]
    Head(True, "ab" * 32),
    Head(0, "ab" * 32),
    Head(-7, "ab" * 32),
    Head(7, "ab"),
    Head(7, "\udcff" * 64),
    Head(7, b"ab" * 32),  # type: ignore[arg-type]
    Head(7, None),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("bad", BAD_HEADS)
async def test_a_forged_last_row_does_not_stop_the_anchors_of_others(
    tmp_path: Path, bad: Head
) -> None:
    async def heads() -> dict[str, Head]:
        return {"": HEAD, "acme": bad, "globex": HEAD}

    keys, clock = AnchorKeys(SECRET), ManualClock(T0_US)
    with pytest.raises(InputError, match="last row of acme"):
        keys.sign("acme", bad, T0_US)
    made = await AnchorKeeper(heads, lambda: keys, tmp_path, clock, 3600.0).anchor_growth()
    assert [one.tenant for one in made] == ["", "globex"]
    # Every line of the file is one that a check takes.
    assert by_chain(read_anchors(tmp_path / "anchors.jsonl"), keys).keys() == {"", "globex"}


async def test_the_keeper_outlives_whatever_happens(tmp_path: Path) -> None:
    rounds, done = 0, asyncio.Event()

    async def heads() -> dict[str, Head]:
        nonlocal rounds
        rounds += 1
        if rounds < 3:
            raise [RuntimeError("a bug"), UnavailableError("away.")][rounds - 1]
        done.set()
        return {"acme": HEAD}

    keys, clock = AnchorKeys(SECRET), ManualClock(T0_US)
    keeper = AnchorKeeper(heads, lambda: keys, tmp_path, clock, 0.001)
    task = asyncio.create_task(keeper.run())
    await asyncio.wait((task, asyncio.create_task(done.wait())), return_when="FIRST_COMPLETED")
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
