"""The spool's file against crashes at every byte, and against an oracle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.stores.bus import spool_file
from cluster.stores.bus.spool_file import SpoolFile, SpoolFullError, decode_record, encode_record
from pipelines.errors import ConfigError

RECORDS = [b"one", b"", b"three" * 9, b"\x00\xff\r four"]


def _all(spool: SpoolFile) -> list[bytes | None]:
    return spool.peek(1000)


@given(st.binary().filter(lambda payload: b"\n" not in payload))
def test_records_round_trip(payload: bytes) -> None:
    assert decode_record(encode_record(payload)[:-1]) == payload


@given(st.binary(max_size=40))
def test_any_bytes_are_a_record_or_damaged(line: bytes) -> None:
    payload = decode_record(line)
    assert payload is None or encode_record(payload)[:-1] == line


def test_a_record_with_a_line_feed_is_refused() -> None:
    with pytest.raises(ValueError, match="line feed"):
        encode_record(b"a\nb")


def test_what_is_appended_survives_in_order(tmp_path: Path) -> None:
    with SpoolFile(tmp_path / "a", 10_000) as spool:
        for record in RECORDS:
            spool.append(record)
    with SpoolFile(tmp_path / "a", 10_000) as spool:
        assert _all(spool) == RECORDS
        assert spool.peek(2) == RECORDS[:2]
        spool.advance(3)
        assert _all(spool) == RECORDS[3:]


def _written(folder: Path) -> bytes:
    with SpoolFile(folder / "whole", 10_000) as spool:
        for record in RECORDS:
            spool.append(record)
    return (folder / "whole").read_bytes()


def test_a_torn_write_at_every_byte_loses_at_most_the_torn_record(tmp_path: Path) -> None:
    content = _written(tmp_path)
    ends = [sum(len(encode_record(r)) for r in RECORDS[: n + 1]) for n in range(len(RECORDS))]
    for size in range(len(content) + 1):
        path = tmp_path / "torn"
        path.write_bytes(content[:size])
        whole = sum(end <= size for end in ends)
        with SpoolFile(path, 10_000) as spool:
            assert _all(spool) == RECORDS[:whole]
            assert spool.damaged == (size not in (0, *ends))
            spool.append(b"after")
        with SpoolFile(path, 10_000) as spool:
            assert _all(spool) == [*RECORDS[:whole], b"after"]


def test_a_flipped_bit_anywhere_never_yields_a_wrong_record(tmp_path: Path) -> None:
    content = _written(tmp_path)
    for place in range(len(content)):
        for bit in (0, 3, 6):
            path = tmp_path / "flipped"
            path.write_bytes(
                content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]
            )
            with SpoolFile(path, 10_000) as spool:
                survivors = [record for record in _all(spool) if record is not None]
            # One record is hit; a damaged line feed also spoils its neighbour.
            assert len(survivors) >= len(RECORDS) - 2
            assert all(record in RECORDS for record in survivors)


def test_full_refuses_the_newest_and_keeps_the_others(tmp_path: Path) -> None:
    with SpoolFile(tmp_path / "a", 3 * len(encode_record(b"x" * 20))) as spool:
        for letter in (b"a", b"b", b"c"):
            spool.append(letter * 20)
        with pytest.raises(SpoolFullError, match="full"):
            spool.append(b"d" * 20)
        assert _all(spool) == [b"a" * 20, b"b" * 20, b"c" * 20]
        spool.advance(1)
        spool.append(b"e" * 20)
        assert _all(spool) == [b"b" * 20, b"c" * 20, b"e" * 20]


def test_one_publisher_at_a_time(tmp_path: Path) -> None:
    with SpoolFile(tmp_path / "a", 100), pytest.raises(ConfigError, match="in use"):
        SpoolFile(tmp_path / "a", 100)
    SpoolFile(tmp_path / "a", 100).close()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot use the spool"):
        SpoolFile(tmp_path / "file" / "a", 100)


def test_closing_twice(tmp_path: Path) -> None:
    spool = SpoolFile(tmp_path / "a", 100)
    spool.close()
    spool.close()


@pytest.fixture(scope="module", autouse=True)
def small_compaction() -> object:
    """Compact from a few bytes on, so that small examples do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool_file, "COMPACT_FROM_BYTES", 40)
        yield


class SpoolMachine(RuleBasedStateMachine):
    """Append, take, reopen, crash; the oracle is a list.

    `taken` are records that were taken out since the file last forgot any: a crash may bring a
    tail of them back, in order, in front of those that wait.
    """

    MAX_BYTES = 300

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = Path(tempfile.mkdtemp(prefix="atalaia-spool-"))
        self.path = self.folder / "spool"
        self.spool = SpoolFile(self.path, self.MAX_BYTES)
        self.waiting: list[bytes] = []
        self.taken: list[bytes] = []
        self.number = 0

    @rule(size=st.integers(0, 30))
    def append(self, size: int) -> None:
        self.number += 1
        payload = b"%d:" % self.number + b"x" * size
        try:
            self.spool.append(payload)
        except SpoolFullError:
            used = sum(len(encode_record(record)) for record in self.waiting)
            assert used + len(encode_record(payload)) > self.MAX_BYTES
        else:
            self.waiting.append(payload)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, len(self.waiting)))
        assert self.spool.peek(count) == self.waiting[:count]
        self.spool.advance(count)
        self.taken += self.waiting[:count]
        del self.waiting[:count]

    @rule()
    def crash(self) -> None:
        """Whatever the disk holds at this moment is what the next process finds."""
        self.spool.close()
        self.spool = SpoolFile(self.path, self.MAX_BYTES)
        found = self.spool.peek(1000)
        again = len(found) - len(self.waiting)
        assert again >= 0
        everything = self.taken + self.waiting
        assert found == everything[len(everything) - len(found) :]
        self.waiting = everything[len(everything) - len(found) :]
        del self.taken[len(everything) - len(found) :]

    @invariant()
    def holds_what_waits(self) -> None:
        assert len(self.spool) == len(self.waiting)
        assert self.path.stat().st_size <= self.MAX_BYTES

    def teardown(self) -> None:
        self.spool.close()
        shutil.rmtree(self.folder)


SpoolMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestSpoolMachine = SpoolMachine.TestCase
