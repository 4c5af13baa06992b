"""Passwords are checked one at a time, and few wait."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from cluster.core.passwords import hash_password
from pipelines.errors import UnavailableError
from serve.api.password_checks import PasswordChecks
from serve.api.problems import TooManyRequestsError

PASSWORD = SecretStr("correct horse battery staple")


async def test_right_and_wrong_and_nobodys() -> None:
    checks = PasswordChecks()
    kept = await checks.hash(PASSWORD, "a")
    assert await checks.verify(kept, PASSWORD, "a")
    assert not await checks.verify(kept, SecretStr("another horse"), "a")
    assert not await checks.verify(None, PASSWORD, "a")
    await checks.aclose()
    await checks.aclose()


async def test_few_wait_and_fewer_of_one_network() -> None:
    """All are asked for before the first can have been checked."""
    checks = PasswordChecks(max_waiting=3, per_network=2, reserved=0)
    kept = SecretStr(hash_password(PASSWORD.get_secret_value()))
    asked = [asyncio.create_task(checks.verify(kept, PASSWORD, network)) for network in "aaabcc"]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    kinds = [answer if answer is True else type(answer) for answer in answers]
    assert kinds == [True, True, TooManyRequestsError, True, UnavailableError, UnavailableError]
    assert await checks.verify(kept, PASSWORD, "a"), "there is place again"
    await checks.aclose()


async def test_many_networks_of_one_site_are_one() -> None:
    """Whoever has a /48 has 65,536 networks."""
    checks = PasswordChecks(max_waiting=9, per_network=2, reserved=0)
    networks = ["2001:db8:1:1::/64", "2001:db8:1:2::/64", "2001:db8:1:3::/64", "2001:db8:2:1::/64"]
    asked = [asyncio.create_task(checks.verify(None, PASSWORD, network)) for network in networks]
    known = asyncio.create_task(checks.verify(None, PASSWORD, networks[0], known=True))
    answers = await asyncio.gather(*asked, known, return_exceptions=True)
    kinds = [answer if answer is False else type(answer) for answer in answers]
    assert kinds == [False, False, TooManyRequestsError, False, False]
    await checks.aclose()


async def test_strangers_leave_places_for_those_who_are_known() -> None:
    checks = PasswordChecks(max_waiting=3, per_network=2, reserved=1)
    strangers = [asyncio.create_task(checks.verify(None, PASSWORD, network)) for network in "abc"]
    known = asyncio.create_task(checks.verify(None, PASSWORD, "device", known=True))
    answers = await asyncio.gather(*strangers, known, return_exceptions=True)
    kinds = [answer if answer is False else type(answer) for answer in answers]
    assert kinds == [False, False, UnavailableError, False]
    await checks.aclose()


async def test_whoever_goes_away_leaves_the_queue() -> None:
    checks = PasswordChecks(max_waiting=2, per_network=2, reserved=0)
    first, second = (asyncio.create_task(checks.verify(None, PASSWORD, "a")) for _ in range(2))
    await asyncio.sleep(0)
    second.cancel()
    assert await first is False
    with pytest.raises(asyncio.CancelledError):
        await second
    assert await asyncio.gather(*(checks.verify(None, PASSWORD, "a") for _ in range(2))) == [
        False,
        False,
    ]
    await checks.aclose()
