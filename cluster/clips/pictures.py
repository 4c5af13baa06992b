"""Snapshots and crops in which persons are hidden."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import simplejpeg

from cluster.clips.anonymous import Hiding
from pipelines.anonymisation import HideRule, whole
from pipelines.errors import UnavailableError
from pipelines.imaging import crop_jpeg
from pipelines.pixelation import hide_rgb

THREADS = 2
# Cameras send at most some 33 megapixels (8K), which take 100 MB as RGB.
MAX_PIXELS = 40_000_000

_T = TypeVar("_T")


def hide_in_jpeg(jpeg: bytes, rule: HideRule, hiding: Hiding | None, at_us: int) -> bytes:
    """A picture of one moment with persons hidden. Blocks.

    Args:
        hiding: whom to hide; None: unknown, so that all of it is hidden.
        at_us: when it was captured, UTC microseconds.

    Raises:
        UnavailableError: it cannot be decoded, or is too large.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
        if height * width > MAX_PIXELS:
            raise UnavailableError(f"a picture of {width}x{height} is too large to anonymise.")
        rgb = simplejpeg.decode_jpeg(jpeg, colorspace="RGB")
    except ValueError:
        raise UnavailableError(
            "this picture cannot be decoded, and so not be anonymised.",
            hint="The file in storage is damaged.",
        ) from None
    size = (width, height)
    regions = [whole(size)] if hiding is None else hiding.persons.regions(at_us, size)
    hide_rgb(rgb, regions, rule.style)
    return crop_jpeg(rgb)


class Hider:
    """Threads in which pictures are anonymised; one at a time of each tenant."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="hiding")
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    async def run(self, tenant: str, call: Callable[[], _T]) -> _T:
        """Run a blocking call when it is the tenant's turn."""
        lock, users = self._turns.get(tenant, (asyncio.Lock(), 0))
        self._turns[tenant] = lock, users + 1
        try:
            async with lock:
                return await asyncio.get_running_loop().run_in_executor(self._executor, call)
        finally:
            users = self._turns[tenant][1] - 1
            self._turns[tenant] = lock, users
            if users == 0:
                del self._turns[tenant]

    def close(self) -> None:
        """Let running work finish. Idempotent."""
        self._executor.shutdown(wait=False, cancel_futures=True)
