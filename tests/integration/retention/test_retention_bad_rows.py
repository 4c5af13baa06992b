"""A row that nobody expected stops what cannot be done without it, and nothing of anybody else."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from pipelines.retention import HeldSpan, RetentionKind, RetentionPolicy, Usage
from tests.integration.retention.site import Site

K = RetentionKind


async def _spoil(site: Site, statement: str) -> None:
    """Change rows past the application, which would not do it."""
    async with site.database._engine.begin() as connection:
        await connection.execute(text(statement))


async def _fill(site: Site) -> None:
    """Each tenant has an alarm that is too old, recordings that fill the disk, a hold, a report."""
    for tenant in ("acme", "globex"):
        retention = site.database.retention(tenant)
        await retention.set_policy(RetentionPolicy(days={K.ALARMS: 30}), "key:k1")
        await retention.add_hold(HeldSpan("yard", 1, 2), "a case", "key:k1")
        await site.alarm(40, tenant)
    await site.sweeper().round()
    for tenant in ("acme", "globex"):
        await site.alarm(41, tenant)
        for days in (5, 4):
            await site.recording(days, tenant, size=1_000)
    site.seen.runs.clear()
    site.clock.advance(600)


async def _round(site: Site) -> None:
    sweeper = site.sweeper(probe=lambda: Usage(site.size(), 2_000), high_water=0.5, low_water=0.1)
    await sweeper.round()


BAD_ROWS = {
    "policy": 'UPDATE retention_policies SET body = \'{"days": {"alarms": -1}}\'',
    "policy that is no JSON": "UPDATE retention_policies SET body = 'xx'",
    "hold": "UPDATE holds SET from_us = 'abc'",
    "report": "UPDATE retention_runs SET counts = 'xx'",
    "name of a recording": "UPDATE recordings SET blob = '../globex/x'",
    "size of a recording": "UPDATE recordings SET size = 'big'",
    "picture": "UPDATE alarms SET snapshot = '../../x'",
}


@pytest.mark.parametrize("sort", BAD_ROWS)
async def test_a_bad_row_of_one_tenant_stops_nothing_of_another(site: Site, sort: str) -> None:
    await _fill(site)
    await _spoil(site, f"{BAD_ROWS[sort]} WHERE tenant = 'acme'")
    before = len(await site.database.retention("globex").runs())
    await _round(site)
    assert await site.alarms("globex") == set()
    assert await site.recordings("globex") == set()
    runs = await site.database.retention("globex").runs()
    assert len(runs) == before + 1
    assert (runs[0].complete, runs[0].error) == (True, "")
    assert await site.audited("globex", "retention.remove") != []


@pytest.mark.parametrize("sort", ["policy", "policy that is no JSON", "hold"])
async def test_a_run_that_could_not_look_says_so(site: Site, sort: str) -> None:
    await _fill(site)
    await _spoil(site, f"{BAD_ROWS[sort]} WHERE tenant = 'acme'")
    await _round(site)
    (run,) = [run for run in await site.database.retention("acme").runs() if not run.complete]
    assert "internal error" in run.error
    assert len(await site.alarms("acme")) == 1


async def test_a_hold_that_cannot_be_read_may_hold_anything(site: Site) -> None:
    await _fill(site)
    before = site.files()
    await _spoil(site, f"{BAD_ROWS['hold']} WHERE tenant = 'acme'")
    await _round(site)
    assert site.files() == before


@pytest.mark.parametrize("sort", ["size of a recording", "name of a recording"])
async def test_one_bad_recording_stops_no_other_of_its_camera(site: Site, sort: str) -> None:
    await _fill(site)
    oldest = "(SELECT min(start_us) FROM recordings)"
    await _spoil(site, f"{BAD_ROWS[sort]} WHERE tenant = 'acme' AND start_us = {oldest}")
    await _round(site)
    left = await site.database.expiry("acme").cameras(K.RECORDINGS)
    # A name that is none cannot be removed; a size is only counted.
    files = [key for key in site.files() if key.startswith("recordings/")]
    assert (left, len(files)) == ((["gate"], 1) if sort == "name of a recording" else ([], 0))


async def test_a_report_that_cannot_be_read_leaves_the_audit_log(site: Site) -> None:
    await _fill(site)
    await _spoil(site, f"{BAD_ROWS['report']} WHERE tenant = 'acme'")
    logged = len(await site.audited("acme", "retention.remove"))
    await _round(site)
    # What went by age, and what went to make space.
    assert len(await site.audited("acme", "retention.remove")) == logged + 2
