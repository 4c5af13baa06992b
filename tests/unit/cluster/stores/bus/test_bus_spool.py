from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cluster.stores.bus import AlarmSpool, SpoolFullError
from cluster.stores.bus.spool import MAX_SPOOL_BYTES
from cluster.stores.bus.spool_file import PAGE_BYTES, SpoolFile
from pipelines.domain import Alarm
from pipelines.errors import UnavailableError
from tests.factories import make_alarm
from tests.unit.cluster.stores.bus.spools import DATABASE, beside, old_line


class Sink:
    """Takes alarms until told to be away."""

    def __init__(self, away_after: int | None = None) -> None:
        self.taken: list[Alarm] = []
        self.away_after = away_after

    async def __call__(self, alarm: Alarm) -> None:
        await asyncio.sleep(0)
        if self.away_after is not None and len(self.taken) >= self.away_after:
            raise UnavailableError("away.")
        self.taken.append(alarm)


async def _opened(path: Path, max_bytes: int = MAX_SPOOL_BYTES) -> AlarmSpool:
    spool = AlarmSpool(path, max_bytes)
    await spool.open()
    return spool


def _payload(number: int) -> bytes:
    return make_alarm(number).model_dump_json().encode()


async def test_drains_in_order_and_only_once(tmp_path: Path) -> None:
    spool, sink = await _opened(tmp_path / "a"), Sink()
    alarms = [make_alarm(n) for n in range(150)]
    for alarm in alarms:
        await spool.append(alarm)
    assert spool.pending == 150
    assert await spool.drain(sink) == 150
    assert await spool.drain(sink) == 0
    assert sink.taken == alarms
    assert spool.pending == 0
    await spool.aclose()
    await spool.aclose()


async def test_what_was_not_taken_stays(tmp_path: Path) -> None:
    spool, sink = await _opened(tmp_path / "a"), Sink(away_after=70)
    alarms = [make_alarm(n) for n in range(100)]
    for alarm in alarms:
        await spool.append(alarm)
    with pytest.raises(UnavailableError):
        await spool.drain(sink)
    assert spool.pending == 30
    sink.away_after = None
    assert await spool.drain(sink) == 30
    assert sink.taken == alarms
    await spool.aclose()


async def test_alarms_that_come_while_it_drains_follow(tmp_path: Path) -> None:
    spool, sink = await _opened(tmp_path / "a"), Sink()
    alarms = [make_alarm(n) for n in range(200)]
    await spool.append(alarms[0])
    drain = asyncio.create_task(spool.drain(sink))
    for alarm in alarms[1:]:
        await spool.append(alarm)
    await drain
    await spool.drain(sink)
    assert sink.taken == alarms
    await spool.aclose()


async def test_one_that_is_being_written_is_pending_at_once(tmp_path: Path) -> None:
    spool = await _opened(tmp_path / "a")
    writing = asyncio.create_task(spool.append(make_alarm()))
    await asyncio.sleep(0)
    assert spool.pending == 1
    await writing
    assert spool.pending == 1
    await spool.aclose()


async def test_a_cancelled_drain_forgets_only_what_was_taken(tmp_path: Path) -> None:
    spool, sink = await _opened(tmp_path / "a"), Sink()
    alarms = [make_alarm(n) for n in range(64)]
    for alarm in alarms:
        await spool.append(alarm)
    drain = asyncio.create_task(spool.drain(sink))
    while len(sink.taken) < 10:  # noqa: ASYNC110 - a place between two awaits
        await asyncio.sleep(0)
    drain.cancel()
    with pytest.raises(asyncio.CancelledError):
        await drain
    assert spool.pending == 64 - len(sink.taken)
    await spool.drain(sink)
    assert sink.taken == alarms
    await spool.aclose()


async def test_refusals_are_counted(tmp_path: Path) -> None:
    # The schema takes a page, the first two records one each, and a node above them one more.
    spool = await _opened(tmp_path / "a", max_bytes=4 * PAGE_BYTES)
    large = {"snapshot": "x" * (PAGE_BYTES // 2)}
    for number in (1, 2):
        await spool.append(make_alarm(number, **large))
    for number in (3, 4):
        with pytest.raises(SpoolFullError) as caught:
            await spool.append(make_alarm(number, **large))
        assert caught.value.retryable
    assert (spool.pending, spool.refused) == (2, 2)
    await spool.aclose()


async def test_a_damaged_record_does_not_stop_the_others(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with SpoolFile(path, 1 << 20) as file:
        for payload in (*map(_payload, (0, 1)), b'{"version":2}', _payload(3)):
            file.append(payload)
    place = beside(path, DATABASE)
    place.write_bytes(place.read_bytes().replace(b"track-1", b"track-7"))
    spool, sink = await _opened(path), Sink()
    assert await spool.drain(sink) == 2
    assert sink.taken == [make_alarm(0), make_alarm(3)]
    assert (spool.pending, spool.damaged) == (0, 2)
    await spool.aclose()


async def test_what_an_earlier_version_left_follows(tmp_path: Path) -> None:
    path = tmp_path / "a"
    lines = [old_line(_payload(number)) for number in range(3)]
    path.write_bytes(lines[0] + b"garbage\n" + old_line(b'{"version":2}') + lines[2])
    spool, sink = await _opened(path), Sink()
    await spool.append(make_alarm(3))
    assert await spool.drain(sink) == 3
    assert sink.taken == [make_alarm(0), make_alarm(2), make_alarm(3)]
    assert (spool.pending, spool.damaged) == (0, 2)
    await spool.aclose()
