"""Who guesses passwords waits; whoever else shares the account or the network does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clock import ManualClock
from serve.api.problems import TooManyRequestsError
from serve.api.throttle import SignInThrottle, Throttle, network_of, site_of

ANA, BOB = ("acme", "ana@acme.example"), ("acme", "bob@acme.example")


def refused(throttle: SignInThrottle, account: tuple[str, str], network: str) -> int | None:
    """For how many seconds; None: admitted."""
    try:
        throttle.admit(account, network)
    except TooManyRequestsError as error:
        return error.retry_after_s
    return None


def test_a_bucket_fills_again_over_time() -> None:
    clock = ManualClock()
    throttle = Throttle(clock, 2, 10.0)
    assert [throttle.take("a") for _ in range(3)] == [0, 0, 10]
    clock.advance(4)
    assert throttle.take("a") == pytest.approx(6)
    clock.advance(6)
    assert throttle.take("a") == 0
    assert throttle.take("a") == pytest.approx(10)
    clock.advance(1_000)
    assert [throttle.take("a") > 0 for _ in range(3)] == [False, False, True]


@given(st.lists(st.tuples(st.floats(0, 40), st.booleans()), max_size=80))
def test_no_more_pass_than_the_time_allows(steps: list[tuple[float, bool]]) -> None:
    clock = ManualClock()
    throttle = Throttle(clock, 5, 12.0)
    passed, began = 0, clock.monotonic()
    for wait, forgiven in steps:
        clock.advance(wait)
        if throttle.take("a") == 0:
            if forgiven:
                throttle.give_back("a")
            else:
                passed += 1
        assert passed <= 5 + (clock.monotonic() - began) / 12.0 + 1e-6


def test_what_is_remembered_is_bounded() -> None:
    throttle = Throttle(ManualClock(), 1, 60.0, max_buckets=10)
    assert all(throttle.take(n) == 0 for n in range(1_000))
    assert len(throttle._buckets) == 10


def test_an_account_is_slowed_where_it_is_guessed_and_nowhere_else() -> None:
    throttle = SignInThrottle(ManualClock(), per_account=(3, 60.0), per_network=(100, 1.0))
    assert [refused(throttle, ANA, "192.0.2.1") for _ in range(4)] == [None, None, None, 60]
    assert refused(throttle, ANA, "192.0.2.2") is None
    assert refused(throttle, BOB, "192.0.2.1") is None


def test_a_network_is_slowed_over_all_accounts_and_others_are_not() -> None:
    throttle = SignInThrottle(ManualClock(), per_account=(3, 60.0), per_network=(10, 2.0))
    tried = [refused(throttle, ("acme", f"user{n}"), "192.0.2.1") for n in range(12)]
    assert tried == [None] * 10 + [2, 2]
    assert refused(throttle, ANA, "192.0.2.2") is None


def test_a_network_that_waits_costs_the_account_nothing() -> None:
    clock = ManualClock()
    throttle = SignInThrottle(clock, per_account=(1, 600.0), per_network=(1, 2.0))
    assert refused(throttle, BOB, "192.0.2.1") is None
    assert [refused(throttle, ANA, "192.0.2.1") for _ in range(5)] == [2] * 5
    clock.advance(2)
    assert refused(throttle, ANA, "192.0.2.1") is None


def test_a_known_device_has_a_budget_of_its_own() -> None:
    throttle = SignInThrottle(ManualClock(), per_account=(2, 60.0), per_network=(2, 60.0))
    for account in (ANA, BOB):
        throttle.admit(account, "192.0.2.1")
    assert refused(throttle, ANA, "192.0.2.1") == 60
    for network in ("192.0.2.1", "192.0.2.9"):
        throttle.admit(ANA, network, "laptop")
    with pytest.raises(TooManyRequestsError):
        throttle.admit(ANA, "192.0.2.5", "laptop")
    throttle.forgive(ANA, "192.0.2.5", "laptop")
    throttle.admit(ANA, "192.0.2.5", "laptop")
    assert refused(throttle, BOB, "192.0.2.1") == 60


def test_a_right_password_costs_nothing() -> None:
    throttle = SignInThrottle(ManualClock(), per_account=(2, 60.0), per_network=(2, 60.0))
    for _ in range(50):
        throttle.admit(ANA, "192.0.2.1")
        throttle.forgive(ANA, "192.0.2.1")
    assert [refused(throttle, ANA, "192.0.2.1") for _ in range(3)] == [None, None, 60]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("unknown", "unknown"),
    ],
)
def test_what_one_subscriber_has(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("network", "site"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("2001:db8:1:ffff::/64", "2001:db8:1::/48"),
        ("2001:db8:2:2::/64", "2001:db8:2::/48"),
        ("unknown", "unknown"),
    ],
)
def test_what_one_subscriber_may_have_been_given(network: str, site: str) -> None:
    assert site_of(network) == site
