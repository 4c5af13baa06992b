"""Orders that say whose work a call inside the cluster is."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cluster.core.settings import LiveKitSettings, RaySettings, Settings
from cluster.core.work_orders import LIFE_S, MAX_KEPT, PLATFORM, Purpose, WorkOrder, WorkOrders
from pipelines.clock import ManualClock
from pipelines.domain import WorkOwner
from pipelines.errors import ConfigError, WorkRefusedError

OLD, NEW, OTHER = (SecretStr(letter * 32) for letter in "abc")
GATE = WorkOwner("acme", "gate")
ACME = WorkOwner("acme")

slugs = st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True)
owners = st.builds(WorkOwner, slugs, st.none() | slugs)
purposes = st.sampled_from(Purpose)


def pair(*ring: SecretStr) -> tuple[WorkOrders, ManualClock]:
    clock = ManualClock()
    return WorkOrders(ring or (NEW,), clock), clock


@given(owners, purposes)
def test_what_one_process_signs_another_takes(owner: WorkOwner, purpose: Purpose) -> None:
    caller, callee = pair()[0], pair()[0]
    order = pickle.loads(pickle.dumps(caller.issue(owner, purpose)))
    assert callee.check(order, purpose) == owner
    assert callee.check(order, purpose, of=owner) == owner


@given(owners, owners, purposes)
def test_an_order_is_for_its_own_tenant_and_camera(
    owner: WorkOwner, of: WorkOwner, purpose: Purpose
) -> None:
    orders, _ = pair()
    order = orders.issue(owner, purpose)
    if owner.tenant == of.tenant and (owner.camera is None or owner.camera == of.camera):
        assert orders.check(order, purpose, of=of) == owner
    else:
        with pytest.raises(WorkRefusedError, match="another tenant or camera"):
            orders.check(order, purpose, of=of)


junk = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.binary(max_size=8)


@given(owners, purposes, st.data())
def test_an_order_that_was_changed_is_refused(
    owner: WorkOwner, purpose: Purpose, data: st.DataObject
) -> None:
    """Any field replaced by any value, of the same kind or not."""
    orders, _ = pair()
    order = orders.issue(owner, purpose)
    field = data.draw(st.sampled_from(WorkOrder._fields))
    value: Any = data.draw(junk | owners | st.builds(WorkOwner, junk, junk) | purposes)
    forged = order._replace(**{field: value})
    if forged == order:
        return
    with pytest.raises(WorkRefusedError):
        orders.check(forged, purpose)


@given(st.text(max_size=6), st.text(max_size=6), st.text(max_size=6), st.text(max_size=6))
def test_no_two_owners_have_one_signature(a: str, b: str, c: str, d: str) -> None:
    """Also where they are no slugs: quotes, commas and line ends move nothing from one to the
    other."""
    orders, _ = pair()
    first = orders.issue(WorkOwner(a, b), Purpose.DETECT)
    second = orders.issue(WorkOwner(c, d), Purpose.DETECT)
    assert (first.signature == second.signature) == ((a, b) == (c, d))


@pytest.mark.parametrize("nothing", [None, "acme", GATE, (GATE, "detect", 1, "k", b"")])
def test_a_call_without_an_order_is_refused(nothing: object) -> None:
    with pytest.raises(WorkRefusedError, match="without a work order"):
        pair()[0].check(nothing, Purpose.DETECT)


def test_an_order_of_who_has_no_key_is_refused() -> None:
    with pytest.raises(WorkRefusedError, match="no process of this cluster signed"):
        pair()[0].check(pair(OTHER)[0].issue(GATE, Purpose.DETECT), Purpose.DETECT)


def test_an_order_expires() -> None:
    orders, clock = pair()
    order = orders.issue(GATE, Purpose.DETECT)
    clock.advance(LIFE_S - 1)
    assert orders.check(order, Purpose.DETECT) == GATE
    clock.advance(1)
    with pytest.raises(WorkRefusedError, match="expired"):
        orders.check(order, Purpose.DETECT)


@given(st.lists(st.floats(0, LIFE_S), max_size=8))
def test_an_order_is_used_again_and_always_good_for_half_its_life(pauses: list[float]) -> None:
    orders, clock = pair()
    for pause in pauses:
        clock.advance(pause)
        order = orders.issue(GATE, Purpose.DETECT)
        assert orders.issue(GATE, Purpose.DETECT) is order
        assert order.expires_s >= clock.now_us() / 1e6 + LIFE_S / 2 - 1


def test_an_order_that_a_clock_set_back_made_last_too_long_is_not_used_again() -> None:
    orders, clock = pair()
    ahead = orders.issue(GATE, Purpose.DETECT)
    orders._clock = ManualClock(clock.now_us() - 3_600_000_000)
    assert orders.issue(GATE, Purpose.DETECT).expires_s < ahead.expires_s


def test_an_order_is_for_one_purpose() -> None:
    orders, _ = pair()
    with pytest.raises(WorkRefusedError, match="to search, not to forget"):
        orders.check(orders.issue(ACME, Purpose.SEARCH), Purpose.FORGET)


def test_what_needs_a_whole_tenant_or_one_camera_gets_no_less_and_no_more() -> None:
    orders, _ = pair()
    camera, tenant = (orders.issue(owner, Purpose.SNAPSHOT) for owner in (GATE, ACME))
    assert orders.check_camera(camera, Purpose.SNAPSHOT) == ("acme", "gate")
    assert orders.check_tenant(tenant, Purpose.SNAPSHOT) == "acme"
    with pytest.raises(WorkRefusedError, match="names no camera"):
        orders.check_camera(tenant, Purpose.SNAPSHOT)
    with pytest.raises(WorkRefusedError, match="one camera only"):
        orders.check_tenant(camera, Purpose.SNAPSHOT)
    with pytest.raises(WorkRefusedError, match="another tenant"):
        orders.check(tenant, Purpose.SNAPSHOT, of=PLATFORM)


def test_keys_change_one_process_after_the_other() -> None:
    """Added, moved to the front, dropped: at each step those before and after it talk."""
    steps = [(OLD,), (OLD, NEW), (NEW, OLD), (NEW,)]
    for before, after in pairwise(steps):
        one, other = pair(*before)[0], pair(*after)[0]
        for caller, callee in ((one, other), (other, one)):
            assert callee.check(caller.issue(GATE, Purpose.DETECT), Purpose.DETECT) == GATE
    with pytest.raises(WorkRefusedError):
        pair(*steps[-1])[0].check(pair(*steps[0])[0].issue(GATE, Purpose.DETECT), Purpose.DETECT)


def test_as_many_orders_are_kept_as_a_process_needs() -> None:
    orders, _ = pair()
    for number in range(2 * MAX_KEPT):
        orders.issue(WorkOwner("acme", str(number)), Purpose.DETECT)
        assert len(orders._kept) <= MAX_KEPT


def test_the_keys_are_those_of_the_settings() -> None:
    livekit = LiveKitSettings(api_secret=OLD)
    derived = WorkOrders.of(Settings(livekit=livekit), ManualClock())
    own = WorkOrders.of(Settings(livekit=livekit, ray=RaySettings(work_keys=(NEW, OLD))),
                        ManualClock())  # fmt: skip
    assert own.check(derived.issue(GATE, Purpose.DETECT), Purpose.DETECT) == GATE
    with pytest.raises(WorkRefusedError):
        derived.check(own.issue(GATE, Purpose.DETECT), Purpose.DETECT)


@pytest.mark.parametrize("settings", [Settings(), Settings(ray=RaySettings(
    work_keys=(NEW, SecretStr("short"))))])  # fmt: skip
def test_a_short_key_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="work_keys") as caught:
        WorkOrders.of(settings, ManualClock())
    assert "short" not in str(caught.value)


def test_the_error_arrives_as_it_was_raised() -> None:
    error = WorkRefusedError("no.", hint="why")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.message, again.hint, again.code) == (
        WorkRefusedError, "no.", "why", "work-refused",
    )  # fmt: skip
