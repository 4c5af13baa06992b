"""Cursor pages against an oracle: the sorted list, while alarms keep arriving."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.stores.db import AlarmQuery, Database, migrate
from pipelines.domain import Alarm, Stages
from tests.factories import make_alarm


@pytest.fixture(scope="module")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "empty.db"
    asyncio.run(migrate(f"sqlite:///{path}"))
    return path


def _alarms(captures: list[int], first: int) -> list[Alarm]:
    return [
        make_alarm(first + i, stages=Stages(capture_us=capture))
        for i, capture in enumerate(captures)
    ]


def _newest_first(alarms: list[Alarm]) -> list[Alarm]:
    return sorted(alarms, key=lambda alarm: (alarm.capture_us, alarm.id), reverse=True)


# Few distinct capture times, so that many rows tie and the id must break the tie.
_CAPTURES = st.lists(st.integers(0, 4), max_size=25)


@settings(max_examples=30, deadline=None)
@given(before=_CAPTURES, between=st.lists(_CAPTURES, max_size=4), limit=st.integers(1, 7))
def test_pages_hold_what_was_there_once_and_in_order(
    migrated_file: Path, before: list[int], between: list[list[int]], limit: int
) -> None:
    asyncio.run(_walk(migrated_file, before, between, limit))


async def _walk(
    migrated_file: Path, before: list[int], between: list[list[int]], limit: int
) -> None:
    with tempfile.TemporaryDirectory(dir=migrated_file.parent) as folder:
        path = shutil.copy(migrated_file, folder)
        async with Database(f"sqlite:///{path}") as database:
            await database.platform().ensure_tenant("acme", "Acme")
            records = database.tenant("acme")
            old = _alarms(before, first=0)
            await records.record_alarms(old)
            arriving = [_alarms(captures, 1000 * (n + 1)) for n, captures in enumerate(between)]
            seen: list[Alarm] = []
            cursor = None
            while True:
                page = await records.alarms(AlarmQuery(limit=limit, cursor=cursor))
                assert len(page.items) <= limit
                seen += [item.alarm for item in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    break
                await records.record_alarms(arriving.pop() if arriving else [])
    assert seen == _newest_first(seen), "out of order"
    assert len({alarm.id for alarm in seen}) == len(seen), "twice"
    old_ids = {alarm.id for alarm in old}
    assert [alarm for alarm in seen if alarm.id in old_ids] == _newest_first(old), "lost"
