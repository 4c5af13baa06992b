"""The spool's database against crashes and damage everywhere, and against an oracle."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.stores.bus.spool_file import PAGE_BYTES, SpoolFile, SpoolFullError, left_spools
from pipelines.errors import ConfigError
from tests.unit.cluster.stores.bus.spools import DATABASE, LOG, beside, crashed

RECORDS = [b"one", b"", b"three" * 9, b"\x00\xff\r four\n"]
MUCH = 1 << 20


def _all(spool: SpoolFile) -> list[bytes | None]:
    return [payload for _, payload in spool.peek(1000)]


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: these tests open hundreds of spools, and each opening
    waits for the disk several times."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="atalaia-spool-", dir=memory) as folder:
        yield Path(folder)


def _is_part_of(records: list[bytes], whole: list[bytes]) -> bool:
    """Whether `records` are some of `whole`, in their order."""
    rest = iter(whole)
    return all(record in rest for record in records)


def test_what_is_appended_survives_in_order(tmp_path: Path) -> None:
    with SpoolFile(tmp_path / "a", MUCH) as spool:
        for record in RECORDS:
            spool.append(record)
    with SpoolFile(tmp_path / "a", MUCH) as spool:
        assert _all(spool) == RECORDS
        assert len(spool) == 4
        assert [payload for _, payload in spool.peek(2)] == RECORDS[:2]
        spool.advance(spool.peek(3)[-1][0])
        assert _all(spool) == RECORDS[3:]
    with SpoolFile(tmp_path / "a", MUCH) as spool:
        assert _all(spool) == RECORDS[3:]
        assert spool.damaged == 0


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    with SpoolFile(tmp_path / "a", MUCH) as spool:
        spool.append(b"x")
        for suffix in (DATABASE, LOG):
            assert beside(tmp_path / "a", suffix).stat().st_mode & 0o077 == 0


@pytest.fixture(params=["crashed", "closed"])
def left(request: pytest.FixtureRequest, quick: Path) -> Path:
    """A spool with RECORDS whose owner died, or left; in the first case they are in the log."""
    spool = SpoolFile(quick / "whole", MUCH)
    spool.open()
    for record in RECORDS:
        spool.append(record)
    if request.param == "closed":
        spool.close()
    copy = crashed(quick / "whole", quick / "left")
    spool.close()
    return copy


def test_a_torn_log_at_any_byte_loses_at_most_the_torn_record(quick: Path) -> None:
    log, ends = beside(quick / "copy", LOG), []
    with SpoolFile(quick / "whole", MUCH) as spool:
        for record in RECORDS:
            spool.append(record)
            ends.append(beside(quick / "whole", LOG).stat().st_size)
        near = {end + step for end in (0, 32, *ends) for step in (-1, 0, 1)}
        for size in sorted(near & {*range(ends[-1] + 1)} | {*range(0, ends[-1], 331)}):
            crashed(quick / "whole", quick / "copy")
            log.write_bytes(log.read_bytes()[:size])
            whole = sum(end <= size for end in ends)
            with SpoolFile(quick / "copy", MUCH) as found:
                assert _all(found) == RECORDS[:whole]
                assert found.damaged == (size > 32 and size not in ends)
                found.append(b"after")
            with SpoolFile(quick / "copy", MUCH) as found:
                assert _all(found) == [*RECORDS[:whole], b"after"]
                assert found.damaged == 0


def _flips(size: int) -> Iterator[tuple[int, int]]:
    """Places and bits: the header and the schema densely, then here and there."""
    yield from ((place, bit) for place in range(0, min(size, 120)) for bit in (0, 3, 7))
    chance = random.Random(1)
    yield from ((chance.randrange(size), chance.randrange(8)) for _ in range(300))


def test_a_flipped_bit_anywhere_is_told_and_never_yields_a_wrong_record(
    left: Path, quick: Path
) -> None:
    for suffix in (DATABASE, LOG):
        place = beside(left, suffix)
        for byte, bit in _flips(place.stat().st_size) if place.exists() else ():
            copy = crashed(left, quick / "copy")
            content = bytearray(place.read_bytes())
            content[byte] ^= 1 << bit
            beside(copy, suffix).write_bytes(content)
            with SpoolFile(copy, MUCH) as spool:
                found = _all(spool)
                survivors = [record for record in found if record is not None]
                assert _is_part_of(survivors, RECORDS)
                told = spool.damaged + found.count(None)
                assert told or survivors == RECORDS, (suffix, byte, bit)
                spool.append(b"after")
                assert _all(spool)[-1] == b"after"


def test_a_damaged_page_costs_the_records_in_it(tmp_path: Path) -> None:
    records = [b"%d " % number * 100 for number in range(200)]
    with SpoolFile(tmp_path / "a", MUCH) as spool:
        for record in records:
            spool.append(record)
    place = beside(tmp_path / "a", DATABASE)
    content = bytearray(place.read_bytes())
    content[5 * PAGE_BYTES : 6 * PAGE_BYTES] = bytes(PAGE_BYTES)
    place.write_bytes(content)
    with SpoolFile(tmp_path / "a", MUCH) as spool:
        survivors = [record for record in _all(spool) if record is not None]
        assert 150 < len(survivors) < 200
        assert _is_part_of(survivors, records)
        assert spool.damaged
    assert beside(tmp_path / "a", ".damaged").read_bytes() == content, "kept for people"


def test_damage_under_the_owner(tmp_path: Path) -> None:
    """The disk goes bad while the spool is open; what was peeked keeps its number."""
    spool = SpoolFile(tmp_path / "a", MUCH)
    spool.open()
    for number in range(200):
        spool.append(b"%d " % number * 1000)
    before = spool.peek(64)
    spool._database.execute("PRAGMA wal_checkpoint(PASSIVE)")
    place = beside(tmp_path / "a", DATABASE)
    size = place.stat().st_size
    with place.open("r+b") as file:
        file.seek(PAGE_BYTES)
        file.write(b"\xff" * (size - PAGE_BYTES))
    spool._database.execute("PRAGMA shrink_memory")
    spool.append(b"after")
    spool.advance(before[-1][0])
    assert all(number > before[-1][0] for number, _ in spool.peek(10))
    assert _all(spool)[-1] == b"after"
    assert spool.damaged
    spool.close()


def test_full_refuses_the_newest_and_keeps_the_others(tmp_path: Path) -> None:
    with SpoolFile(tmp_path / "a", 5 * PAGE_BYTES) as spool:
        kept = [b"%d" % number * 3000 for number in range(3)]
        for record in kept:
            spool.append(record)
        for _ in range(2):
            with pytest.raises(SpoolFullError, match="full"):
                spool.append(b"d" * 3000)
        assert _all(spool) == kept
        spool.advance(spool.peek(1)[0][0])
        spool.append(b"e" * 3000)
        assert _all(spool) == [*kept[1:], b"e" * 3000]


def test_on_a_full_disk_what_was_taken_is_not_given_again(tmp_path: Path) -> None:
    """The disk takes nothing, not even that a record has gone; the owner remembers it."""
    with SpoolFile(tmp_path / "a", MUCH) as spool:
        for record in RECORDS:
            spool.append(record)
        spool._database.execute("PRAGMA query_only = 1")
        spool.advance(spool.peek(3)[-1][0])
        assert _all(spool) == RECORDS[3:]
        spool._database.execute("PRAGMA query_only = 0")
        spool.append(b"next")
        assert _all(spool) == [*RECORDS[3:], b"next"]
        spool.advance(spool.peek(1)[-1][0])
    with SpoolFile(tmp_path / "a", MUCH) as spool:
        assert _all(spool) == [b"next"]


def test_one_publisher_at_a_time(tmp_path: Path) -> None:
    second = SpoolFile(tmp_path / "a", MUCH)
    with SpoolFile(tmp_path / "a", MUCH), pytest.raises(ConfigError, match="in use"):
        second.open()
    second.open()
    second.close()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "b.db").mkdir()
    for place in (tmp_path / "file" / "a", tmp_path / "b"):
        spool = SpoolFile(place, MUCH)
        for _ in range(2):
            with pytest.raises(ConfigError, match="cannot use the spool"):
                spool.open()


def test_closing_twice(tmp_path: Path) -> None:
    spool = SpoolFile(tmp_path / "a", MUCH)
    spool.close()
    spool.open()
    spool.close()
    spool.close()


def test_the_spools_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.1.spool.db", "b.1.spool.db-wal", "b.1.spool.lock", "a.spool.damaged", "c"):
        (tmp_path / name).touch()
    (tmp_path / "a.spool").touch()
    (tmp_path / "b.1.spool").touch()
    assert left_spools(tmp_path) == [tmp_path / "a.spool", tmp_path / "b.1.spool"]


class SpoolMachine(RuleBasedStateMachine):
    """Append, take, close, crash; the oracle is a list."""

    MAX_BYTES = 16 * PAGE_BYTES

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="atalaia-spool-"))
        self.path = self.folder / "spool-0"
        self.waiting: list[bytes] = []
        self.number = self.crashes = 0
        self._open()

    def _open(self) -> None:
        self.spool = SpoolFile(self.path, self.MAX_BYTES)
        self.spool.open()

    @rule(size=st.integers(0, 6000))
    def append(self, size: int) -> None:
        self.number += 1
        payload = b"%d:" % self.number + b"x" * size
        try:
            self.spool.append(payload)
        except SpoolFullError:
            # A page may be half empty: a record of a little over 2 kB has one of its own.
            used = sum(map(len, self.waiting)) + len(payload)
            assert used > 0.4 * self.MAX_BYTES
        else:
            self.waiting.append(payload)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, len(self.waiting)))
        records = self.spool.peek(count)
        assert [payload for _, payload in records] == self.waiting[:count]
        self.spool.advance(records[-1][0])
        del self.waiting[:count]

    @rule()
    def close(self) -> None:
        self.spool.close()
        self._open()

    @rule()
    def crash(self) -> None:
        """Whatever the disk holds at this moment is what the next process finds."""
        self.crashes += 1
        copy = crashed(self.path, self.folder / f"spool-{self.crashes}")
        self.spool.close()
        self.path = copy
        self._open()
        assert _all(self.spool) == self.waiting

    @invariant()
    def holds_what_waits(self) -> None:
        assert len(self.spool) == len(self.waiting)
        assert beside(self.path, DATABASE).stat().st_size <= self.MAX_BYTES
        assert self.spool.damaged == 0

    def teardown(self) -> None:
        self.spool.close()
        shutil.rmtree(self.folder)


SpoolMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestSpoolMachine = SpoolMachine.TestCase
