"""Of which cameras a stream may show something, asked again for as long as it lasts: a group
changes, and so do the groups of a user."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cluster.stores.db import Principal, VisibleCameras
from pipelines.clock import Clock
from pipelines.errors import UnavailableError
from serve.api.problems import TooManyRequestsError, UnauthorizedError

# With the two seconds for which a credential is remembered, a change counts within three.
SIGHT_TTL_S = 1.0


class StreamSight:
    """What one stream may show.

    Args:
        principal: who the stream's credential is by now; raises as `Authenticator.principal`.
        visible: what the members of some groups may see.
        groups: of the principal when the stream began.
    """

    def __init__(
        self,
        principal: Callable[[], Awaitable[Principal]],
        visible: Callable[[tuple[str, ...] | None], VisibleCameras],
        groups: tuple[str, ...] | None,
        clock: Clock,
    ) -> None:
        self._principal = principal
        self._visible = visible
        self._groups = groups
        self._clock = clock
        self._asked: frozenset[str] = frozenset()
        self._seen: frozenset[str] = frozenset()
        self._until_s = 0.0

    async def among(self, cameras: frozenset[str]) -> frozenset[str]:
        """Those of `cameras` that may be shown.

        Raises:
            UnavailableError: nobody knows, because the records are away.
        """
        if cameras != self._asked or self._clock.monotonic() >= self._until_s:
            self._seen = await self._now(cameras)
            self._asked = cameras
            self._until_s = self._clock.monotonic() + SIGHT_TTL_S
        return self._seen

    async def _now(self, cameras: frozenset[str]) -> frozenset[str]:
        try:
            self._groups = (await self._principal()).groups
        except (UnauthorizedError, TooManyRequestsError):
            return frozenset()  # the stream ends at its next check
        except UnavailableError:
            # Streams of all cameras go on without the records; for others `among` fails below.
            pass
        return await self._visible(self._groups).among(cameras)
