"""The plans of a host: the newest revision counts, and jobs may wait for one."""

from __future__ import annotations

import asyncio

from agents.plans import PlanBook
from tests.unit.agents.host_parts import make_plan

GATE, YARD = make_plan().key, make_plan(id="yard").key


def test_an_older_revision_is_ignored_and_the_same_is_taken() -> None:
    plans = PlanBook()
    plans.update([make_plan(2)], [])
    plans.update([make_plan(1, name="old")], [])
    assert plans.revisions == {GATE: 2}
    plans.update([make_plan(2, name="sent again")], [])
    plan = plans.plan(GATE)
    assert plan is not None
    assert plan.camera.name == "sent again"


def test_a_removed_camera_has_no_plan_and_starts_anew() -> None:
    plans = PlanBook()
    plans.update([make_plan(7), make_plan(id="yard")], [])
    plans.update([], [GATE])
    assert plans.plan(GATE) is None
    assert plans.revisions == {YARD: 1}
    plans.update([], [GATE])  # twice is once
    plans.update([make_plan(1)], [])
    assert plans.revisions == {YARD: 1, GATE: 1}


def test_a_camera_is_wanted_while_it_has_an_enabled_plan() -> None:
    plans = PlanBook()
    assert not plans.wants(GATE)
    plans.update([make_plan(1)], [])
    assert plans.wants(GATE)
    plans.update([make_plan(2, enabled=False)], [])
    assert not plans.wants(GATE)


async def test_a_job_waits_for_a_plan_that_comes_a_moment_later() -> None:
    plans = PlanBook(wait_s=60.0, poll_s=0.001)
    waiting = asyncio.create_task(plans.wait_for(GATE))
    await asyncio.sleep(0)
    assert not waiting.done()
    plans.update([make_plan(3)], [])
    assert await waiting == make_plan(3)


async def test_a_plan_that_never_comes_is_given_up() -> None:
    assert await PlanBook(wait_s=0.003, poll_s=0.001).wait_for(GATE) is None
