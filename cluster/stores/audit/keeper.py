"""Makes anchors: on demand, and by itself once per hour for every chain that has grown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from cluster.core.log import get_logger
from cluster.stores.audit.anchors import (
    FILE_NAME,
    Anchor,
    AnchorKeys,
    append_anchors,
    read_anchors,
    sign_heads,
)
from cluster.stores.audit.chain import Head
from pipelines.clock import Clock
from pipelines.errors import AtalaiaError

# After a failure: soon enough to lose little, seldom enough to keep the log readable.
RETRY_S = 60.0

log = get_logger("audit.anchors")

Heads = Callable[[], Awaitable[Mapping[str, Head]]]
"""The last entry of every chain, by chain."""


class AnchorKeeper:
    """Writes anchors to a file of one folder.

    Args:
        heads: where the chains end now.
        keys: makes the signing keys; called each round, so that a missing secret is an error of
            the round and not of the process.
        folder: where the file is.
        interval_s: between two anchors of a chain that grows.
    """

    def __init__(
        self,
        heads: Heads,
        keys: Callable[[], AnchorKeys],
        folder: Path,
        clock: Clock,
        interval_s: float,
    ) -> None:
        self._heads = heads
        self._keys = keys
        self.path = folder / FILE_NAME
        self._clock = clock
        self._interval_s = interval_s

    async def run(self) -> None:
        """Anchor at once, then in intervals, until cancelled. Failures are logged and retried."""
        while True:
            delay_s = min(RETRY_S, self._interval_s)
            try:
                await self.anchor_growth()
                delay_s = self._interval_s
            except (AtalaiaError, OSError) as error:
                log.error("audit log not anchored", error=str(error))
            except Exception:  # the top of this task
                log.exception("audit log not anchored")
            await asyncio.sleep(delay_s)

    async def anchor_growth(self) -> list[Anchor]:
        """Anchor each chain that has grown since its last anchor in the file. One whose last row is
        none of ours is logged, and the others are anchored.

        Raises:
            UnavailableError: the database is away.
            ConfigError: there is no secret to sign with.
            InputError: the file holds something else.
            OSError: it cannot be written.
        """
        heads = await self._heads()
        known = await asyncio.to_thread(_last_sequences, self.path)
        made, refused = sign_heads(self._keys(), heads, self._clock.now_us())
        for chain in refused:
            log.error("a chain of the audit log is not anchored: it was tampered with", chain=chain)
        anchors = [one for one in made if one.sequence > known.get(one.tenant, 0)]
        if anchors:
            await asyncio.to_thread(append_anchors, self.path, anchors)
        return anchors


def _last_sequences(path: Path) -> dict[str, int]:
    """The highest anchored sequence number of each chain."""
    last: dict[str, int] = {}
    if path.exists():
        for anchor in read_anchors(path):
            last[anchor.tenant] = max(anchor.sequence, last.get(anchor.tenant, 0))
    return last
