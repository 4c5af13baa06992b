"""The coverage of cameras in SQL: merged however often it is told, read as totals and gaps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, event

from cluster.controller.coverage import CoverageKeeper
from cluster.stores.db import CoverTotal, Database, Gap
from pipelines.domain import CameraKey
from pipelines.errors import InputError
from pipelines.ledger import SLOT_US, Cover, CoverageReport, Stretch
from pipelines.retention import Window
from tests.factories import make_camera

S = 1_000_000
T0 = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * S
DAY = (T0, T0 + 86_400 * S)
GATE, YARD = CameraKey("acme", "gate"), CameraKey("acme", "yard")


def stretch(from_s: float, to_s: float, cover: Cover) -> Stretch:
    return Stretch(T0 + round(from_s * S), T0 + round(to_s * S), cover)


def gap(camera: str, from_s: float, to_s: float, cover: Cover) -> Gap:
    return Gap(camera, *stretch(from_s, to_s, cover))


@pytest.fixture
async def cameras(database: Database) -> Database:
    for tenant, camera in (("acme", "gate"), ("acme", "yard"), ("globex", "gate")):
        await database.tenant(tenant).add_camera(make_camera(tenant, camera))
    return database


async def test_what_is_told_twice_counts_once(cameras: Database) -> None:
    coverage = cameras.coverage("acme")
    told = [
        stretch(0, 1_000, Cover.ANALYSED),
        stretch(1_000, 1_100, Cover.CAMERA),
        stretch(1_100, 2_000, Cover.ANALYSED),
    ]
    for some in (told[1:], told, told[:1]):
        await coverage.add({"gate": some})
    assert await coverage.totals(*DAY) == [
        CoverTotal("gate", Cover.ANALYSED, 1_900_000),
        CoverTotal("gate", Cover.CAMERA, 100_000),
    ]
    assert (await coverage.gaps(*DAY, limit=10)).items == [gap("gate", 1_000, 1_100, Cover.CAMERA)]
    assert await coverage.last() == {"gate": stretch(1_800, 2_000, Cover.ANALYSED)}
    # What turns out to have been analysed is no gap any more.
    await coverage.add({"gate": [stretch(900, 1_150, Cover.ANALYSED)]})
    assert (await coverage.gaps(*DAY, limit=10)).items == []
    assert await coverage.totals(*DAY) == [CoverTotal("gate", Cover.ANALYSED, 2_000_000)]


async def test_a_long_gap_is_one_and_pages_miss_none(cameras: Database) -> None:
    """600 quarters of an hour of one outage, and 250 short ones of another camera."""
    quarter = SLOT_US // S
    coverage = cameras.coverage("acme")
    short = [stretch(n * quarter, n * quarter + 5, Cover.WATCHER) for n in range(250)]
    await coverage.add({"gate": [stretch(0, 600 * quarter, Cover.CAMERA)], "yard": short})
    until_us = T0 + 600 * SLOT_US
    found, cursor = list[Gap](), None
    while True:
        page = await coverage.gaps(T0, until_us, limit=100, cursor=cursor)
        assert len(page.items) <= 100
        found, cursor = [*found, *page.items], page.next_cursor
        if cursor is None:
            break
    assert found == [
        gap("gate", 0, 600 * quarter, Cover.CAMERA),
        *(Gap("yard", *one) for one in short),
    ]
    only = await coverage.gaps(T0, until_us, "yard", limit=3)
    assert only.items == [Gap("yard", *one) for one in short[:3]]
    with pytest.raises(InputError):
        await coverage.gaps(T0, until_us, limit=3, cursor="broken")


async def test_tenants_and_removed_cameras_have_nothing_of_it(cameras: Database) -> None:
    away = stretch(0, 60, Cover.CAMERA)
    await cameras.coverage("acme").add({"gate": [away], "never-was": [away]})
    theirs = cameras.coverage("globex")
    assert (await theirs.totals(*DAY), await theirs.last()) == ([], {})
    assert (await theirs.gaps(*DAY, limit=9)).items == []
    assert {t.camera for t in await cameras.coverage("acme").totals(*DAY)} == {"gate"}
    await cameras.tenant("acme").remove_camera("gate")
    assert await cameras.coverage("acme").totals(*DAY) == []


# ------------------------------------------------------------ as the controller writes it


def analysed(at_s: float, from_s: float) -> CoverageReport:
    at_us = T0 + round(at_s * S)
    return CoverageReport(at_us, None, (T0 + round(from_s * S), at_us))


async def test_a_controller_that_was_away_is_a_gap_where_nothing_was_analysed(
    cameras: Database,
) -> None:
    """The watcher of the gate goes on meanwhile, that of the yard does not."""
    first = CoverageKeeper(cameras.coverage)
    first.observe({GATE: analysed(100, 0), YARD: analysed(100, 0)})
    await first.aclose()
    second = CoverageKeeper(cameras.coverage)
    for at_s in (400, 402):
        second.observe({GATE: analysed(at_s, 0), YARD: analysed(at_s, 390)})
    await second.aclose()
    coverage = cameras.coverage("acme")
    assert (await coverage.gaps(*DAY, limit=9)).items == [gap("yard", 100, 390, Cover.UNOBSERVED)]
    assert await coverage.totals(*DAY) == [
        CoverTotal("gate", Cover.ANALYSED, 402_000),
        CoverTotal("yard", Cover.ANALYSED, 112_000),
        CoverTotal("yard", Cover.UNOBSERVED, 290_000),
    ]


async def test_metrics_count_each_second_once(cameras: Database) -> None:
    spent, blind_now = list[dict[Cover, float]](), list[int]()

    def observe(seconds: Mapping[Cover, float], blind: Mapping[Cover, int]) -> None:
        spent.append(dict(seconds))
        blind_now.append(sum(blind.values()))

    keeper = CoverageKeeper(cameras.coverage, observe)
    for report in (analysed(0, 0), analysed(2, 0), CoverageReport(T0 + 8 * S, Cover.CAMERA)):
        keeper.observe({GATE: report})
    assert spent == [{}, {Cover.ANALYSED: 2.0}, {Cover.CAMERA: 6.0}]
    assert blind_now == [0, 0, 1]


async def test_retention_removes_what_ended_before_its_age(cameras: Database) -> None:
    coverage, quarter = cameras.coverage("acme"), SLOT_US // S
    await coverage.add({"gate": [stretch(0, 3 * quarter, Cover.ANALYSED)], "yard": [
        stretch(0, quarter, Cover.CAMERA)]})  # fmt: skip
    window = Window(0, T0 + 2 * SLOT_US + 1)
    assert await cameras.expiry("acme").remove_coverage("gate", window, 99) == 2
    assert await coverage.totals(*DAY) == [
        CoverTotal("gate", Cover.ANALYSED, quarter * 1000),
        CoverTotal("yard", Cover.CAMERA, quarter * 1000),
    ]


async def test_nothing_reads_the_rows_of_other_cameras_and_times(
    cameras: Database, engine: str
) -> None:
    """SQLite read all rows of the tenant for each of these: 7 s for a week of 1,000 cameras."""
    if engine != "sqlite":
        pytest.skip("PostgreSQL knows how many rows there are, and plans by that")
    coverage = cameras.coverage("acme")
    said: list[tuple[str, Any]] = []
    listening = "before_cursor_execute"

    def listen(_c: object, _r: object, statement: str, values: Any, *_: object) -> None:
        said.append((statement, values))

    event.listen(Engine, listening, listen)
    try:
        told = [stretch(0, 100, Cover.ANALYSED), stretch(100, 200, Cover.CAMERA)]
        await coverage.add({"gate": told, "yard": told})
        await coverage.totals(*DAY)
        await coverage.last()
        await coverage.gaps(*DAY, limit=10, cursor=(await coverage.gaps(*DAY, limit=1)).next_cursor)
    finally:
        event.remove(Engine, listening, listen)
    plans = list[str]()
    for statement, values in said:
        if re.match(r"(SELECT|DELETE) .*coverage", statement, re.DOTALL):
            plans += await _plans(cameras, statement, values)
    plans = [plan for plan in plans if "coverage" in plan]
    assert len(plans) >= 6
    for plan in plans:
        assert "(tenant=? AND camera=?" in plan, plan


async def _plans(database: Database, statement: str, values: Any) -> list[str]:
    """How SQLite would look for each table of a statement."""
    async with database._engine.connect() as connection:
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        return [str(row["detail"]) for row in rows.mappings()]


async def test_the_cameras_of_a_large_tenant_are_all_told_of(database: Database) -> None:
    """More of them than one statement asks for."""
    coverage, names = database.coverage("acme"), [f"cam-{n:03}" for n in range(130)]
    for name in names:
        await database.tenant("acme").add_camera(make_camera("acme", name))
    await coverage.add({name: [stretch(0, 5, Cover.CAMERA)] for name in names})
    assert [total.camera for total in await coverage.totals(*DAY)] == names
    assert sorted(await coverage.last()) == names
    found, cursor = list[str](), None
    while True:
        page = await coverage.gaps(*DAY, limit=50, cursor=cursor)
        found, cursor = [*found, *(one.camera for one in page.items)], page.next_cursor
        if cursor is None:
            break
    assert found == names
