"""Clips and exports in which persons are hidden: decoded, painted over and encoded anew.

The anonymised clip of an alarm stands beside the clip. Its description names all that it was made
of: the clip, the rule and the persons. Whoever asks computes that name anew, so that a clip is used
only as long as nothing of it has changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from cluster.clips.clips import (
    MAX_CONCURRENT,
    MAX_WAITING,
    WAIT_S,
    Clip,
    ClipFile,
    ClipReason,
    ClipState,
    Storage,
    clip_key,
)
from cluster.clips.playable import encode_for_browsers
from cluster.clips.scratch import BLOCK_BYTES, Scratch
from cluster.clips.stitch import Stitched
from cluster.core.files import digest
from cluster.core.log import get_logger
from cluster.media.planes import planes_of
from pipelines.anonymisation import HideRule, Persons
from pipelines.domain import Alarm
from pipelines.errors import NotFoundError, UnavailableError
from pipelines.pixelation import hide_i420

log = get_logger("evidence.anonymous")

# Part of each clip's name: another number makes all of them again.
RENDERING = 1


@dataclass(frozen=True, slots=True)
class Hiding:
    """Whom to hide, and how."""

    rule: HideRule
    persons: Persons

    def digest(self, source: str) -> str:
        """Names what becomes of a file with the hash `source`."""
        parts = f"{RENDERING} {self.rule.digest} {self.persons.digest} {source}"
        return f"{self.rule.digest}-{hashlib.sha256(parts.encode()).hexdigest()[:32]}"


def hide_in(
    video: Stitched, hiding: Hiding, path: Path, stop: threading.Event | None = None
) -> Stitched:
    """The same video with persons hidden, as H.264. Blocks: 0.2 to 0.7 of its duration.

    Args:
        path: of the new file.
        stop: once it is set, the work ends at the next frame.

    Raises:
        UnavailableError: a frame cannot be decoded, the file cannot be written, or it was stopped.
    """

    def paint(frame: Any, at_us: int) -> None:
        if stop is not None and stop.is_set():
            raise UnavailableError("the work on a video was stopped.")
        planes = planes_of(frame)
        hide_i420(planes, hiding.persons.regions(at_us, planes.size), hiding.rule.style)

    return encode_for_browsers(video, path, paint=paint, keep_audio=hiding.rule.keep_audio)


async def hidden(video: Stitched, hiding: Hiding, path: Path, scratch: Scratch) -> Stitched:
    """`hide_in` in a thread of `scratch`, which it gives back if the caller is cancelled."""
    stop = threading.Event()
    try:
        return await scratch.run(lambda: hide_in(video, hiding, path, stop))
    finally:
        stop.set()


@dataclass(slots=True)
class _Making:
    """An anonymised clip in the making, for all who wait for it."""

    name: str
    task: asyncio.Task[Clip]
    stop: threading.Event = field(default_factory=threading.Event)


class AnonymousClips:
    """Makes anonymised clips, two at a time, one at a time of each tenant.

    Args:
        scratch: where they are made; closed by its owner.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        # Threads of its own: encoding takes ten times as long as putting a clip together.
        self._executor = ThreadPoolExecutor(MAX_CONCURRENT, thread_name_prefix="anonymous")
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._turns: dict[str, asyncio.Lock] = {}
        self._making: dict[tuple[str, str], _Making] = {}

    async def clip(
        self,
        alarm: Alarm,
        original: Clip,
        hiding: Hiding,
        storage: Storage,
        *,
        still: Callable[[], Awaitable[bool]],
        at_most: int = MAX_WAITING,
    ) -> Clip:
        """The anonymised clip of an alarm, or that it is being made.

        Args:
            original: ready.
            storage: of the alarm's tenant.
            still: whether the rule applies; one that was replaced meanwhile makes no clip.
            at_most: anonymised clips of the tenant in the making.

        Raises:
            UnavailableError: storage or disk is down, or the clip cannot be decoded.
        """
        file = original.file
        assert file is not None, "only a clip that is ready can be anonymised"
        name = hiding.digest(file.sha256)
        known = await _existing(alarm, storage)
        if known is not None and known.hidden == name:
            return replace(original, file=known)
        key = alarm.tenant, str(alarm.id)
        making = self._making.get(key)
        if making is None:
            if len(self._making) >= MAX_WAITING or self.in_the_making(alarm.tenant) >= at_most:
                return _being_made(original)
            making = self._begin(key, alarm, original, name, hiding, storage, still)
        done, _ = await asyncio.wait({making.task}, timeout=WAIT_S)
        if not done or making.name != name:
            return _being_made(original)
        return making.task.result()

    def in_the_making(self, tenant: str) -> int:
        """Anonymised clips of a tenant that are being made, or wait for it."""
        return sum(1 for owner, _ in self._making if owner == tenant)

    async def aclose(self) -> None:
        """Stop what is in the making. Idempotent."""
        tasks = [making.task for making in self._making.values()]
        for making in self._making.values():
            making.stop.set()
            making.task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _begin(
        self,
        key: tuple[str, str],
        alarm: Alarm,
        original: Clip,
        name: str,
        hiding: Hiding,
        storage: Storage,
        still: Callable[[], Awaitable[bool]],
    ) -> _Making:
        stop = threading.Event()
        work = self._make(alarm, original, name, hiding, storage, still, stop)
        task = asyncio.create_task(work, name=f"anonymous clip {alarm.id}")
        self._making[key] = making = _Making(name, task, stop)
        task.add_done_callback(partial(self._finished, key))
        return making

    def _finished(self, key: tuple[str, str], task: asyncio.Task[Clip]) -> None:
        del self._making[key]
        if self.in_the_making(key[0]) == 0:
            self._turns.pop(key[0], None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a clip could not be anonymised", alarm=key[1], error=str(error))

    async def _make(
        self,
        alarm: Alarm,
        original: Clip,
        name: str,
        hiding: Hiding,
        storage: Storage,
        still: Callable[[], Awaitable[bool]],
        stop: threading.Event,
    ) -> Clip:
        file = original.file
        assert file is not None
        async with AsyncExitStack() as stack:
            # A tenant's own turn first: whoever waits for it holds no slot of the others.
            await stack.enter_async_context(self._turns.setdefault(alarm.tenant, asyncio.Lock()))
            await stack.enter_async_context(self._slots)
            # The clip, its anonymised version, and that again while its index is put in front.
            folder = await stack.enter_async_context(self._scratch.folder_for(file.size * 9))
            source = await self._fetched(alarm, file, storage, folder)
            made = await asyncio.get_running_loop().run_in_executor(
                self._executor, hide_in, source, hiding, folder / "hidden.mp4", stop
            )
            if not await still():
                return _being_made(original)
            described = _describe(file, made, name)
            await storage.put_file(clip_key(alarm.id, "hidden.mp4"), made.path)
            # Last: a reader that finds the description must find the clip.
            await storage.put(
                clip_key(alarm.id, "hidden.clip.json"), described.model_dump_json().encode()
            )
        return replace(original, file=described)

    async def _fetched(
        self, alarm: Alarm, file: ClipFile, storage: Storage, folder: Path
    ) -> Stitched:
        path = folder / "clip.mp4"
        for start in range(0, file.size, BLOCK_BYTES):
            block = await storage.read_range(
                clip_key(alarm.id, "mp4"), start, min(start + BLOCK_BYTES, file.size)
            )
            await self._scratch.run(partial(_append, path, block))
        if await self._scratch.run(lambda: digest(path)) != (file.size, file.sha256):
            raise UnavailableError("the clip was replaced meanwhile.", hint="Try again.")
        return file.at(path)


async def _existing(alarm: Alarm, storage: Storage) -> ClipFile | None:
    try:
        content = await storage.get(clip_key(alarm.id, "hidden.clip.json"))
    except NotFoundError:
        return None
    return ClipFile.model_validate_json(content)


def _describe(original: ClipFile, made: Stitched, name: str) -> ClipFile:
    return original.model_copy(
        update={
            "codec": made.codec,
            "encoded_from": original.encoded_from or original.codec,
            "width": made.width,
            "height": made.height,
            "audio": made.audio,
            "size": made.size,
            "sha256": made.sha256,
            "hidden": name,
        }
    )


def _being_made(original: Clip) -> Clip:
    return Clip(
        ClipState.PENDING,
        original.span,
        ClipReason.BEING_MADE,
        "The clip is being anonymised.",
    )


def _append(path: Path, block: bytes) -> None:
    try:
        with path.open("ab") as file:
            file.write(block)
    except OSError as error:
        raise UnavailableError(
            f"a clip cannot be copied to this machine: {error.strerror}.",
            hint="Check that the disk of data_dir is mounted and has free space.",
        ) from error
