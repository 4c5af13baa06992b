"""Spools of versions before SQLite: an upgrade loses nothing of them."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.stores.bus.spool_file import PAGE_BYTES, SpoolFile, SpoolFullError
from cluster.stores.bus.spool_lines import _payload, read_lines
from pipelines.errors import ConfigError
from tests.unit.cluster.stores.bus.spools import beside, old_line

RECORDS = [b"one", b"", b"three" * 9, b"\x00\xff\r four"]
MUCH = 1 << 20


def _all(spool: SpoolFile) -> list[bytes | None]:
    return [payload for _, payload in spool.peek(1000)]


@given(st.binary().filter(lambda payload: b"\n" not in payload))
def test_records_round_trip(payload: bytes) -> None:
    assert _payload(old_line(payload)[:-1]) == payload


@given(st.binary(max_size=40))
def test_any_bytes_are_a_record_or_damaged(line: bytes) -> None:
    payload = _payload(line)
    assert payload is None or old_line(payload)[:-1] == line


def test_no_such_file(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "a") is None
    (tmp_path / "a").touch()
    assert read_lines(tmp_path / "a") == []


def test_a_torn_write_at_every_byte_loses_at_most_the_torn_record(tmp_path: Path) -> None:
    content = b"".join(map(old_line, RECORDS))
    ends = [sum(len(old_line(r)) for r in RECORDS[: n + 1]) for n in range(len(RECORDS))]
    for size in range(len(content) + 1):
        (tmp_path / "torn").write_bytes(content[:size])
        torn = [None] if size not in (0, *ends) else []
        assert read_lines(tmp_path / "torn") == RECORDS[: sum(end <= size for end in ends)] + torn


def test_a_flipped_bit_anywhere_never_yields_a_wrong_record(tmp_path: Path) -> None:
    content = b"".join(map(old_line, RECORDS))
    for place in range(len(content)):
        for bit in (0, 3, 6):
            flipped = content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]
            (tmp_path / "flipped").write_bytes(flipped)
            lines = read_lines(tmp_path / "flipped")
            assert lines is not None
            survivors = [record for record in lines if record is not None]
            # One record is hit; a damaged line feed also spoils its neighbour.
            assert len(survivors) >= len(RECORDS) - 2
            assert all(record in RECORDS for record in survivors)
            assert None in lines


def test_they_are_taken_over_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.spool"
    path.write_bytes(b"".join(map(old_line, RECORDS)))
    with SpoolFile(path, MUCH) as spool:
        assert _all(spool) == RECORDS
        spool.append(b"new")
    assert not path.exists(), "taken over once"
    with SpoolFile(path, MUCH) as spool:
        assert _all(spool) == [*RECORDS, b"new"]
        assert spool.damaged == 0


def test_what_is_damaged_in_them_is_told_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.spool"
    content = old_line(b"one") + b"garbage\n" + old_line(b"two") + old_line(b"torn")[:-3]
    path.write_bytes(content)
    with SpoolFile(path, MUCH) as spool:
        assert _all(spool) == [b"one", b"two"]
        assert spool.damaged == 2
    assert not path.exists()
    assert beside(path, ".damaged").read_bytes() == content


def test_more_than_the_bound_is_taken_over_and_then_no_more(tmp_path: Path) -> None:
    path = tmp_path / "a.spool"
    records = [b"%d " % number * 500 for number in range(100)]
    path.write_bytes(b"".join(map(old_line, records)))
    with SpoolFile(path, 4 * PAGE_BYTES) as spool:
        assert _all(spool) == records
        with pytest.raises(SpoolFullError):
            spool.append(b"x" * 2 * PAGE_BYTES)


def test_one_that_an_earlier_version_has_open_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.spool"
    path.write_bytes(old_line(b"one"))
    with beside(path, ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="in use"):
            SpoolFile(path, MUCH).open()
    assert path.exists()
    with SpoolFile(path, MUCH) as spool:
        assert _all(spool) == [b"one"]
