"""What the routes of clips, exports and media share, for as long as the application runs."""

from __future__ import annotations

from cluster.clips.anonymous import AnonymousClips
from cluster.clips.clips import MAX_CONCURRENT, ClipMaker
from cluster.clips.pictures import Hider
from cluster.clips.scratch import Scratch
from serve.api.media_links import MediaLinks, media_secret
from serve.api.ports import Deps
from serve.api.quotas.slots import TenantSlots


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
        self.anonymous = AnonymousClips(self.scratch)
        self.hider = Hider()
        self.exports = TenantSlots(api.max_exports)

    async def aclose(self) -> None:
        """Idempotent."""
        await self.clips.aclose()
        await self.anonymous.aclose()
        self.hider.close()
        self.scratch.close()
