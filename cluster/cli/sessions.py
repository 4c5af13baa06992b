"""The sessions of `atalaia up` and `atalaia demo`; imported late, as Ray takes two seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cluster.core.settings import Settings
from cluster.demo.session import DemoAccess, DemoSession
from cluster.local.stack import LocalStack, StackEvent
from cluster.runtime.application import Application
from cluster.stores.db import Database
from pipelines.errors import AtalaiaError


@dataclass(frozen=True, slots=True)
class UpAccess:
    """What `up` shows once everything runs."""

    api: str
    has_keys: bool


class UpSession:
    """The local stack and the application on it.

    Args:
        on_event: called on every phase change of a part of the local stack.
        on_step: called with a description of the next step.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_event: Callable[[StackEvent], None],
        on_step: Callable[[str], None],
    ) -> None:
        self._on_step = on_step
        self.stack = LocalStack(settings, on_event=on_event)
        self._application: Application | None = None

    async def start(self) -> UpAccess:
        """Start everything and return once the API is ready.

        Raises:
            AtalaiaError: something did not start; the hint says what to do.
        """
        self._on_step("Starting the servers")
        await self.stack.start()
        self._on_step("Starting the models and the API")
        self._application = Application(self.stack.settings)
        await self._application.start()
        async with Database.of(self.stack.settings) as database:
            keys, _ = await database.platform().page(1)
        return UpAccess(self.stack.settings.api_url, bool(keys))

    async def wait_failed(self) -> AtalaiaError:
        return await self.stack.wait_failed()

    async def aclose(self) -> None:
        application, self._application = self._application, None
        try:
            if application is not None:
                await application.aclose()
        finally:
            await self.stack.aclose()


class ForegroundDemo:
    """Adapts the demo to the `Session` protocol."""

    def __init__(self, session: DemoSession) -> None:
        self._session = session

    async def start(self) -> DemoAccess:
        return await self._session.start()

    async def wait_failed(self) -> AtalaiaError:
        return await self._session.stack.wait_failed()

    async def aclose(self) -> None:
        await self._session.aclose()
