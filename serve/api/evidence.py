"""What the routes of clips, exports and media share, for as long as the application runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.clips.clips import MAX_CONCURRENT, ClipMaker
from cluster.clips.scratch import Scratch
from serve.api.media_links import MediaLinks, media_secret
from serve.api.ports import Deps
from serve.api.problems import TooManyRequestsError


class Slots:
    """So many at once, without a queue: where none is free, the error says when to retry."""

    def __init__(self, count: int) -> None:
        self._free = count

    @contextmanager
    def taken(self) -> Iterator[None]:
        """One of them for the length of the block. Raises TooManyRequestsError."""
        if self._free == 0:
            raise TooManyRequestsError(
                "As many exports as may be made at once are being made.",
                hint="Try again in a moment.",
                retry_after_s=10,
            )
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


class Evidence:
    """Makes clips and exports, and signs the links to them.

    Raises:
        ConfigError: there is no secret to sign with.
    """

    def __init__(self, deps: Deps) -> None:
        api = deps.settings.api
        self.links = MediaLinks(media_secret(deps.settings), api.media_url_ttl_s, deps.clock)
        self.scratch = Scratch(deps.settings.scratch_dir, api.max_exports + MAX_CONCURRENT)
        self.clips = ClipMaker(self.scratch, deps.clock)
        self.exports = Slots(api.max_exports)

    async def aclose(self) -> None:
        """Idempotent."""
        await self.clips.aclose()
        self.scratch.close()
