"""Goes over what a camera recorded before it had its masks, and paints them in.

Each thing is marked when it is done, after the new file is safe and before the old one goes. So the
job may be killed anywhere and begun again: what is stored is the old or the new, whole.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from cluster.clips.clips import ClipFile, clip_key
from cluster.clips.scratch import Scratch
from cluster.core.log import get_logger
from cluster.recording.segment import SegmentFile
from cluster.recording.strays import Stray, painted_key, strays_of
from cluster.remasking.paint import paint_clip, paint_jpeg, paint_recording, touches
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import Database
from cluster.stores.db.remasking import DueAlarm, DueCounts, DueObject
from pipelines.clock import Clock
from pipelines.domain import MASK_DELAY_US, CameraKey, Polygon, Segment
from pipelines.errors import AtalaiaError, InputError, NotFoundError, UnavailableError
from pipelines.masking import MaskPainter
from pipelines.retention import HeldSpan, clip_bounds, is_held

log = get_logger("remasking")

# Things in one look at the database.
BATCH = 64
# H.264 of our encoder needs up to some five times what a camera's H.265 needs; and the original.
DISK_FACTOR = 6
# Reasons that a report quotes; all are in the log.
MAX_REASONS = 20


@dataclass(slots=True)
class Remasked:
    """What a run did.

    Attributes:
        recordings, clips, pictures: that have masks now.
        removed: pictures of objects that a mask touches.
        superseded: files of an earlier run that others had taken the place of.
        held: things that a legal hold keeps as they are.
        failed: things that stay as they are, and `reasons` why.
        frames_lost: frames that could not be decoded.
        masks_changed: the camera got other masks meanwhile, so another run is needed.
    """

    recordings: int = 0
    clips: int = 0
    pictures: int = 0
    removed: int = 0
    superseded: int = 0
    held: int = 0
    failed: int = 0
    frames_lost: int = 0
    masks_changed: bool = False
    reasons: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int | bool]:
        """All numbers, by name."""
        found = asdict(self)
        del found["reasons"]
        return found

    def fail(self, what: str, error: AtalaiaError) -> None:
        """One thing stays as it is."""
        self.failed += 1
        if len(self.reasons) < MAX_REASONS:
            self.reasons.append(f"{what}: {error.message}")
        log.warning("masks not painted", what=what, error=str(error))


SETTLED_US = 3_600_000_000
"""A file without a row that is younger may be about to get one."""


class Held(Exception):
    """A legal hold keeps a thing as it is."""


@dataclass(frozen=True, slots=True)
class Masked:
    """A camera with its masks, and since when it has all of them."""

    key: CameraKey
    masks: tuple[Polygon, ...]
    since_us: int


async def masked_camera(database: Database, key: CameraKey) -> Masked:
    """Raises NotFoundError: there is no such camera; InputError: it has no masks, or they cannot
    be read."""
    records = database.tenant(key.tenant)
    # The time is read before the masks. If a mask is added in between, it is painted too, and the
    # work is due again; the other way round, work without it would be marked as having it.
    since_us = (await records.masked_cameras()).get(key.camera)
    camera = await records.camera(key.camera)
    if camera.is_unreadable("masks"):
        raise InputError(
            f"the masks of camera {camera.id} cannot be read.", hint="Save them again first."
        )
    if not camera.masks or since_us is None:
        raise InputError(f"camera {camera.id} has no privacy masks.", hint="Give it some first.")
    return Masked(key, camera.masks, since_us)


class Remasking:
    """One run for one camera. One at a time per camera: a second one does no harm, but double the
    work.

    Args:
        blobs: of the tenant; closed by the caller.
        scratch: room for one file and its copy; closed by the caller.
        on_thing: called after each thing, for a progress bar.
    """

    def __init__(
        self,
        camera: Masked,
        *,
        database: Database,
        blobs: TenantBlobs,
        scratch: Scratch,
        clock: Clock,
        on_thing: Callable[[], None] = lambda: None,
    ) -> None:
        tenant = camera.key.tenant
        self.done = Remasked()
        self._camera, self._id = camera, camera.key.camera
        self._since_us = camera.since_us
        self._painter = MaskPainter(camera.masks)
        self._database, self._blobs, self._scratch = database, blobs, scratch
        self._due = database.remasking(tenant)
        self._retention = database.retention(tenant)
        self._clock = clock
        self._on_thing = on_thing

    async def counts(self) -> DueCounts:
        """What is due. Raises UnavailableError."""
        return await self._due.counts(self._id, self._since_us)

    async def run(self) -> Remasked:
        """Paint all that is due. One bad file stops no other.

        Raises:
            UnavailableError: the database is away; what is done stays done.
        """
        await self._superseded()
        await self._recordings()
        await self._alarms()
        await self._objects()
        now = await self._database.tenant(self._camera.key.tenant).masked_cameras()
        self.done.masks_changed = now.get(self._id) != self._since_us
        return self.done

    # ------------------------------------------------------------ recordings

    async def _superseded(self) -> None:
        """Remove originals that an earlier run had no time to remove, unless a legal hold has been
        placed on them since."""
        named = self._database.expiry(self._camera.key.tenant).recording_files
        strays = strays_of(self._blobs, self._id, named)
        async for found in strays:
            old = [stray for stray in found if self._is_settled(stray)]
            painted = await self._due.painted(self._id, [stray.start_us for stray in old])
            for stray in old:
                if stray.start_us not in painted:
                    continue
                try:
                    await self._require_free(stray.start_us, stray.end_us)
                except Held:
                    self.done.held += 1
                    continue
                await self._blobs.delete(stray.blob.key)
                self.done.superseded += 1

    def _is_settled(self, stray: Stray) -> bool:
        stored_us = stray.blob.modified_us
        return stored_us is not None and stored_us < self._clock.now_us() - SETTLED_US

    async def _recordings(self) -> None:
        after_us = None
        while segments := await self._due.recordings(
            self._id, self._since_us, BATCH, after_us=after_us
        ):
            for segment in segments:
                await self._each(segment.blob, partial(self._recording, segment))
            after_us = segments[-1].start_us

    async def _recording(self, segment: Segment) -> None:
        await self._require_free(segment.start_us, segment.end_us)
        async with self._scratch.folder_for(segment.size * DISK_FACTOR) as folder:
            source, target = folder / "original.mp4", folder / "masked.mp4"
            await self._scratch.fetch(self._blobs, segment, source)
            painted = await self._scratch.run(
                lambda: paint_recording(source, segment, target, self._painter)
            )
            new = self._row(segment, painted.file)
            await self._blobs.put_file(new.blob, target)
            # Before the original goes.
            await self._blobs.flush(new.blob)
        await self._replace(segment, new)
        self.done.recordings += 1
        self.done.frames_lost += painted.lost

    def _row(self, old: Segment, file: SegmentFile) -> Segment:
        """The row with the new file. Its times stay, also where the first frame is lost."""
        return old.model_copy(
            update={
                "origin_us": file.origin_us,
                "codec": file.video.codec,
                "width": file.video.width,
                "height": file.video.height,
                "frames": file.frames,
                "audio": file.audio,
                "size": file.size,
                "sha256": file.sha256,
                "blob": painted_key(old.blob, file.sha256),
                "masked": True,
                "masks_us": self._since_us,
            }
        )

    async def _replace(self, old: Segment, new: Segment) -> None:
        """Make the new file the recording, and remove the old one. Raises Held: a hold is younger
        than the work; NotFoundError: there is no such recording any more."""
        try:
            await self._require_free(old.start_us, old.end_us)
        except Held:
            await self._blobs.delete(new.blob)
            raise
        if await self._due.replace(old, new):
            if old.blob != new.blob:
                await self._blobs.delete(old.blob)
            return
        expiry = self._database.expiry(self._camera.key.tenant)
        if new.blob not in await expiry.recording_files(self._id, [old.start_us]):
            # Retention or an erasure was faster, and looks for files of rows that it removed.
            await self._blobs.delete(new.blob)
        raise NotFoundError("it was removed or replaced meanwhile.")

    # ------------------------------------------------------------ alarms

    async def _alarms(self) -> None:
        after = None
        while found := await self._due.alarms(self._id, self._since_us, BATCH, after=after):
            for alarm in found:
                await self._each(f"alarm {alarm.id}", partial(self._alarm, alarm))
            after = found[-1]

    async def _alarm(self, alarm: DueAlarm) -> None:
        await self._require_free(*clip_bounds(alarm.at_us))
        if alarm.snapshot is not None and alarm.at_us < self._since_us + MASK_DELAY_US:
            await self._picture(alarm.snapshot)
        await self._clip(alarm)
        await self._due.mark_alarm(alarm.id, self._since_us)

    async def _picture(self, key: str) -> None:
        try:
            jpeg = await self._blobs.get(key)
        except NotFoundError:
            return
        await self._blobs.put(key, await self._scratch.run(lambda: paint_jpeg(jpeg, self._painter)))
        self.done.pictures += 1

    async def _clip(self, alarm: DueAlarm) -> None:
        description = clip_key(alarm.id, "clip.json")
        try:
            clip = ClipFile.model_validate_json(await self._blobs.get(description))
        except NotFoundError:
            return  # it is made from the recording when somebody wants it
        except ValueError:
            raise InputError("the description of the clip cannot be read.") from None
        if clip.painted_us is not None and clip.painted_us >= self._since_us:
            return
        # The anonymised one is made from the clip anew.
        for kind in ("hidden.clip.json", "hidden.mp4"):
            await self._blobs.delete(clip_key(alarm.id, kind))
        async with self._scratch.folder_for(clip.size * DISK_FACTOR) as folder:
            new = await self._painted_clip(clip, clip_key(alarm.id, "mp4"), folder)
        await self._blobs.put(description, new.model_dump_json().encode())
        self.done.clips += 1

    async def _painted_clip(self, clip: ClipFile, key: str, folder: Path) -> ClipFile:
        """Paint a clip, and store it. Killed before its description follows, it is painted again,
        which shows nothing more."""
        source, target = folder / "clip.mp4", folder / "masked.mp4"
        size = (await self._blobs.stat(key)).size
        await self._scratch.copy(self._blobs, key, size, source)
        made = await self._scratch.run(lambda: paint_clip(source, clip, target, self._painter))
        await self._blobs.put_file(key, target)
        return clip.model_copy(
            update={
                "codec": made.codec,
                "encoded_from": clip.encoded_from or clip.codec,
                "width": made.width,
                "height": made.height,
                "masked": True,
                "masks_us": self._since_us,
                "size": made.size,
                "sha256": made.sha256,
            }
        )

    # ------------------------------------------------------------ objects

    async def _objects(self) -> None:
        after = None
        while found := await self._due.objects(self._id, self._since_us, BATCH, after=after):
            for thing in found:
                await self._each(f"object {thing.track}", partial(self._object, thing))
            after = found[-1]

    async def _object(self, thing: DueObject) -> None:
        """A picture shows one object, and a mask that touches it hides what it is there for: so
        it goes."""
        await self._require_free(thing.first_seen_us, thing.last_seen_us)
        if not touches(thing.box, self._camera.masks):
            await self._due.settle_object(self._id, thing, self._since_us, keep=True)
            return
        # The file first: what breaks off in between is found again by its row.
        await self._blobs.delete(thing.snapshot)
        await self._due.settle_object(self._id, thing, self._since_us, keep=False)
        self.done.removed += 1

    # ------------------------------------------------------------ helpers

    async def _each(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do one thing; count what stays as it is. Raises UnavailableError: stores are away."""
        try:
            await work()
        except Held:
            self.done.held += 1
        except UnavailableError as error:
            self.done.fail(what, error)
            await self.counts()  # the database answers, or there is no point in going on
        except AtalaiaError as error:
            self.done.fail(what, error)
        self._on_thing()

    async def _require_free(self, from_us: int, to_us: int) -> None:
        holds: Sequence[HeldSpan] = await self._retention.held()
        if is_held(from_us, to_us, holds, self._id):
            raise Held
