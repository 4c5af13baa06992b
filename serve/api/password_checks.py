"""Checks passwords one at a time, in a thread: each check takes 64 MiB and a core for 0.2 s, and
strangers ask for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from pydantic import SecretStr

from cluster.core.passwords import hash_password, verify_password
from pipelines.errors import UnavailableError
from serve.api.problems import TooManyRequestsError
from serve.api.slots import Slots
from serve.api.throttle import site_of

# Some three seconds of work.
MAX_WAITING = 16
# So that one network, or with IPv6 one site, cannot take every place in the queue.
MAX_WAITING_PER_NETWORK = 4
# Places for those who are no strangers: browsers that the account has used, and admins.
RESERVED = 4

R = TypeVar("R")


class PasswordChecks:
    """Owned by the application."""

    def __init__(
        self,
        *,
        max_waiting: int = MAX_WAITING,
        per_network: int = MAX_WAITING_PER_NETWORK,
        reserved: int = RESERVED,
    ) -> None:
        self._max_waiting = max_waiting
        self._reserved = reserved
        self._per_network = per_network
        self._waiting = Slots()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passwords")

    async def verify(
        self, kept: SecretStr | None, password: SecretStr, network: str, *, known: bool = False
    ) -> bool:
        """Whether it is the right password. None: there is no such account; takes as long.

        Args:
            known: it is no stranger who asks, so that strangers cannot take the last places.

        Raises:
            TooManyRequestsError: too many of this network wait.
            UnavailableError: too many wait.
        """
        secret = kept.get_secret_value() if kept is not None else None
        return await self._run(
            partial(verify_password, secret, password.get_secret_value()), network, known
        )

    async def hash(self, password: SecretStr, network: str, *, known: bool = False) -> SecretStr:
        """What is kept of a password. Arguments and errors as those of `verify`."""
        work = partial(hash_password, password.get_secret_value())
        hashed = await self._run(work, network, known)
        return SecretStr(hashed)

    async def aclose(self) -> None:
        """Waits for the check that runs. Idempotent."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def _run(self, work: Callable[[], R], network: str, known: bool) -> R:
        # A stranger with a /48 would else take all places, from as many networks as there are.
        network = network if known else site_of(network)
        self._enter(network, known)
        loop = asyncio.get_running_loop()
        future = self._thread.submit(work)
        # Whoever goes away does not stop the thread: the place is free when the work is over, or
        # was cancelled before it began.
        future.add_done_callback(
            lambda _: loop.call_soon_threadsafe(self._waiting.give_back, network)
        )
        return await asyncio.wrap_future(future)

    def _enter(self, network: str, known: bool) -> None:
        if self._waiting.of(network) >= self._per_network:
            raise TooManyRequestsError(
                "Too many sign-ins of your network wait.", hint="Try again in a moment."
            )
        if self._waiting.taken >= self._max_waiting - (0 if known else self._reserved):
            raise UnavailableError("Too many sign-ins wait.", hint="Try again in a moment.")
        self._waiting.take(network)
