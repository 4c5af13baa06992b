"""When a refused account is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.target import Target
from cluster.media.urls import parse_camera_url
from cluster.relay.fair_memory import FairMemory
from cluster.relay.refusals import MAX_WAIT_S, TRY_S, Account, Refusals
from pipelines.clock import ManualClock

HOUR_S = 3600


def account(userinfo: str = "admin:wrong", tenant: str = "acme", path: str = "/a") -> Account:
    return Account.of(Target(tenant, parse_camera_url(f"rtsp://{userinfo}@10.0.0.5{path}")))


def led(userinfo: str, host: str = "10.0.0.5", peer: str = "10.0.0.5 554") -> Account:
    """One whose user name and password a camera chose."""
    url = parse_camera_url(f"rtsp://{userinfo}@{host}/a")
    return Account.of(Target("acme", url, led=True), peer)


def may_try(refusals: Refusals, account: Account) -> bool:
    try:
        refusals.require_due(account)
    except UnreadableCameraError as error:
        return error.problem is not CameraProblem.CREDENTIALS
    return True


def tries_s(step_s: float, until_s: float) -> list[float]:
    """When a gateway that asks every `step_s` gets through to a camera that always refuses."""
    clock = ManualClock()
    refusals, found = Refusals(clock), []
    while clock.monotonic() <= until_s:
        if may_try(refusals, account()):
            found.append(clock.monotonic())
            refusals.refused(account())
        clock.advance(step_s)
    return found


def test_tries_are_minutes_apart_and_more_each_time() -> None:
    assert tries_s(1.0, 2 * HOUR_S) == [0, 120, 480, 1560, 3360, 5160, 6960]


@given(st.floats(10, 600))
def test_no_half_hour_has_five_tries(step_s: float) -> None:
    found = tries_s(step_s, 3 * HOUR_S)
    for at_s in found:
        assert len([other for other in found if at_s <= other < at_s + 1800]) < 5


def test_it_is_the_account_that_waits_not_the_stream_nor_another_tenant() -> None:
    refusals = Refusals(ManualClock())
    refusals.refused(account())
    assert not may_try(refusals, account())
    assert not may_try(refusals, account(path="/b"))
    assert may_try(refusals, account("admin:other"))
    assert may_try(refusals, account("other:wrong"))
    assert may_try(refusals, account(tenant="globex"))


def test_one_try_at_a_time() -> None:
    clock = ManualClock()
    refusals = Refusals(clock)
    refusals.refused(account())
    clock.advance(121)
    assert [may_try(refusals, account()) for _ in range(3)] == [True, False, False]
    clock.advance(TRY_S + 1)  # it came to nothing: the camera was away
    assert may_try(refusals, account())
    refusals.accepted(account())
    assert [may_try(refusals, account()) for _ in range(2)] == [True, True]


def test_after_success_the_waits_start_anew() -> None:
    clock = ManualClock()
    refusals = Refusals(clock)
    for _ in range(9):
        refusals.refused(account())
    clock.advance(MAX_WAIT_S + 1)
    assert may_try(refusals, account())
    refusals.accepted(account())
    refusals.refused(account())
    clock.advance(121)
    assert may_try(refusals, account())


def test_without_a_user_name_nothing_was_tried() -> None:
    refusals = Refusals(ManualClock())
    anonymous = Account.of(Target("acme", parse_camera_url("rtsp://10.0.0.5/a")))
    refusals.refused(anonymous)
    refusals.require_due(anonymous)


def test_memory_is_bounded() -> None:
    refusals = Refusals(ManualClock(), limit=3)
    for n in range(9):
        refusals.refused(account(f"admin:{n}"))
    assert [may_try(refusals, account(f"admin:{n}")) for n in range(5, 9)] == [
        True, False, False, False,
    ]  # fmt: skip


def test_a_camera_that_describes_itself_to_everybody_is_tried_no_more_often() -> None:
    """Each try gets as far as a refusal, and was called a success until then."""
    clock = ManualClock()
    refusals, found = Refusals(clock), []
    while clock.monotonic() <= 2 * HOUR_S:
        if may_try(refusals, account()):
            found.append(clock.monotonic())
            refusals.untried(account())
            refusals.refused(account())
        clock.advance(1)
    assert found == [0, 120, 480, 1560, 3360, 5160, 6960]


def test_a_try_that_came_to_no_password_makes_room_for_the_next_one() -> None:
    clock = ManualClock()
    refusals = Refusals(clock)
    refusals.refused(account())
    clock.advance(121)
    assert may_try(refusals, account())
    refusals.untried(account())
    assert may_try(refusals, account())
    assert not may_try(refusals, account())


def test_passwords_that_a_camera_chooses_count_by_where_they_are_used() -> None:
    """Each redirect may bring another one, under another name of the same address."""
    clock = ManualClock()
    refusals = Refusals(clock)
    assert may_try(refusals, led("admin:1"))
    assert not may_try(refusals, led("admin:2"))  # while the first is being tried
    refusals.refused(led("admin:1"))
    others = [led("admin:3"), led("root:4"), led("admin:1", host="cam.example")]
    assert not any(may_try(refusals, other) for other in others)
    assert may_try(refusals, led("admin:1", peer="10.0.0.5 8554"))
    assert may_try(refusals, account())
    # One that is right does not buy guesses.
    clock.advance(121)
    assert may_try(refusals, led("guest:right"))
    refusals.accepted(led("guest:right"))
    assert may_try(refusals, led("admin:5"))
    refusals.refused(led("admin:5"))
    clock.advance(121)
    assert not may_try(refusals, led("admin:6"))


def test_no_tenant_pushes_out_what_is_remembered_of_another() -> None:
    refusals = Refusals(ManualClock(), limit=100)
    own = [account(f"admin:{n}") for n in range(40)]
    for one in own:
        refusals.refused(one)
    for n in range(1_000):
        refusals.refused(account(f"admin:{n}", tenant="globex"))
    assert not any(may_try(refusals, one) for one in own)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), max_size=200))
def test_a_tenant_loses_none_of_its_share(puts: list[tuple[str, int]]) -> None:
    memory = FairMemory[int](12)
    kept: dict[str, list[str]] = {}
    for tenant, number in puts:
        key = f"{tenant}{number}"
        memory.put(tenant, key, number)
        of_tenant = kept.setdefault(tenant, [])
        if key in of_tenant:
            of_tenant.remove(key)
        of_tenant.append(key)
    assert len(memory) == min(12, sum(map(len, kept.values())))
    for keys in kept.values():
        assert all(memory.get(key) is not None for key in keys[-4:])


@pytest.mark.parametrize("secret", ["wrong", "admin"])
def test_no_password_is_kept(secret: str) -> None:
    refusals = Refusals(ManualClock())
    refusals.refused(account())
    assert secret not in repr(refusals._known)
