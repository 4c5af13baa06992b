"""One pull of one camera, in a thread of its own: gateway → access units → the room's track.

Demuxing blocks and releases the GIL, so a thread per stream is the cheap way to carry many.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace

from av.packet import Packet
from av.video.stream import VideoStream
from pydantic import SecretStr

from cluster.bridge import masked
from cluster.bridge.losses import Spacing
from cluster.bridge.masked import MaskedVideo
from cluster.bridge.passthrough import CannotPassError, Passthrough
from cluster.bridge.reader import PacketReader
from cluster.bridge.room import TrackSink
from cluster.bridge.units import AccessUnit, StreamPhase, StreamStatus
from cluster.bridge.unmasked import UnmaskedRoom
from cluster.bridge.waiting import FirstPicture
from cluster.core.backoff import Backoff
from cluster.core.log import get_logger
from cluster.core.settings import BridgeSettings
from cluster.media.capture_clock import CaptureClock, CaptureStamp, ClockEventKind
from cluster.media.transcode import EncodedFrame, Transcoder
from cluster.recording.tap import RecordingTap
from pipelines.clock import Clock, rate_per_s
from pipelines.domain import Polygon
from pipelines.errors import CameraError, UnavailableError
from pipelines.masking import MaskPainter

log = get_logger("bridge.pump")

FPS_WINDOW = 50
"""Capture times over which the frame rate is measured: two seconds at 25 frames/s."""
PUBLISH_TIMEOUT_S = 15.0
STEADY_AFTER_S = 10.0
"""A stream that held this long counts as recovered: the next break starts the back-off anew."""


class _NewDescriptionError(Exception):
    """The camera came back as another stream than the one that was opened."""


class _MasksChangedError(Exception):
    """The camera got its first mask, or lost its last: its video takes another way."""


@dataclass(frozen=True, slots=True)
class _Picture:
    """A frame on its way.

    Attributes:
        unmasked: the same without masks, where somebody is there to see it.
    """

    frame: EncodedFrame
    stamp: CaptureStamp
    unmasked: EncodedFrame | None = None


class StreamPump:
    """Pulls one stream for as long as it runs, whatever the camera does.

    Attributes:
        unmasked: where the video of a masked camera goes without its masks; None: nowhere. Used
            from the next connection on.

    Args:
        name: for logs, `<room>/<track>`.
        url: where the gateway offers the stream.
        sink: the track to feed; this pump is its single producer.
        open_track: publishes the sink with a size on the room's event loop.
        tap: shown every picture on its way, where the stream may be recorded.
        masks: see `set_masks`.
    """

    def __init__(
        self,
        name: str,
        url: SecretStr,
        sink: TrackSink,
        open_track: Callable[[TrackSink, tuple[int, int]], Future[None]],
        *,
        settings: BridgeSettings,
        clock: Clock,
        backoff: Backoff,
        tap: RecordingTap | None = None,
        masks: tuple[Polygon, ...] = (),
    ) -> None:
        self.unmasked: UnmaskedRoom | None = None
        self._painter = MaskPainter(masks)
        sink.require_masks(masks)
        self._name = name
        self._url = url
        self._sink = sink
        self._open_track = open_track
        self._settings = settings
        self._clock = clock
        self._backoff = backoff
        self._tap = tap
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"pump {name}", daemon=True)
        self._status = StreamStatus(since_us=clock.now_us())
        self._captures: deque[int] = deque(maxlen=FPS_WINDOW)
        self._capture_clock = CaptureClock()
        self._spacing = Spacing()
        self._first = FirstPicture("")
        self._number = 0

    def start(self) -> None:
        self._thread.start()

    def status(self) -> StreamStatus:
        """A snapshot; safe from any thread."""
        return replace(
            self._status, fps=rate_per_s(self._captures), dropped=dict(self._sink.dropped)
        )

    def set_masks(self, masks: tuple[Polygon, ...]) -> None:
        """Use these privacy masks. When this returns, no frame with others passes any more."""
        if masks != self._painter.masks:
            self._sink.require_masks(masks)
            self._painter = MaskPainter(masks)

    def request_stop(self) -> None:
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; False where it did not end in time (a read is still blocked)."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        transcode = ""
        while not self._stop.is_set():
            started = self._clock.monotonic()
            try:
                self._carry(transcode)
                reason = "the stream ended"
            except CannotPassError as why:
                log.info("stream is transcoded", stream=self._name, reason=str(why))
                transcode = str(why)
                continue
            except _NewDescriptionError:
                log.info("stream is opened anew: the camera sends another", stream=self._name)
                transcode = ""
                continue
            except _MasksChangedError:
                log.info("stream is opened anew: masked or not", stream=self._name)
                transcode = ""
                continue
            except (CameraError, UnavailableError) as error:
                reason = error.message
            except Exception:
                # Top of the thread: a camera must not stay dark because of one picture.
                log.exception("pump failed", stream=self._name)
                reason = "an internal error; see the log"
            if self._stop.is_set():
                return
            transcode = ""
            self._enter(StreamPhase.FAILED, reason)
            log.warning("stream lost", stream=self._name, reason=reason)
            if self._clock.monotonic() - started > STEADY_AFTER_S:
                self._backoff.reset()
            self._stop.wait(self._backoff.next_delay_s())
            self._status = replace(self._status, reconnects=self._status.reconnects + 1)

    def _carry(self, transcode: str) -> None:
        """Open the stream and feed the track until it breaks or `stop` is set."""
        self._capture_clock.reconnected()
        is_masked = bool(self._painter.masks)
        with self._reader() as reader:
            if self._tap is not None:
                self._tap.opened(
                    reader.stream, reader.sound, transcoded=bool(transcode), masked=is_masked
                )
            self._first = FirstPicture(reader.stream.codec_context.name)
            pictures = self._masked(reader) if is_masked else self._pictures(reader, transcode)
            for picture in pictures:
                if self._stop.is_set():
                    return
                if bool(self._painter.masks) != is_masked:
                    raise _MasksChangedError
                self._deliver(picture, reader, masked.REASON if is_masked else transcode)

    def _reader(self) -> PacketReader:
        return PacketReader(
            self._url,
            open_timeout_s=self._settings.open_timeout_s,
            read_timeout_s=self._settings.read_timeout_s,
        )

    def _pictures(self, reader: PacketReader, transcode: str) -> Iterator[_Picture]:
        on_sound = self._tap.audio_packet if self._tap is not None else None
        if not transcode:
            path = Passthrough(reader.stream)
            for packet in reader.packets(on_sound):
                if self._stop.is_set():
                    return  # here, because not every packet becomes a frame
                self._arrived(packet)
                for frame in path.feed(packet):
                    yield _Picture(frame, self._stamp(frame.pts_s))
            return
        transcoder = Transcoder(reader.stream)
        for packet in reader.packets(on_sound):
            if self._stop.is_set():
                return  # here, because not every packet becomes a frame
            self._arrived(packet)
            if self._sink.key_frame_requested():
                transcoder.request_key_frame()
            if self._tap is not None:
                self._tap.video_packet(packet)
            for frame in transcoder.feed(packet):
                yield _Picture(frame, self._stamp(frame.pts_s))

    def _masked(self, reader: PacketReader) -> Iterator[_Picture]:
        """The pictures of a camera with masks. Raises UnavailableError: they cannot be painted."""
        clock = self._clock
        video = MaskedVideo(reader.stream, lambda: self._painter, self.unmasked, clock.monotonic())
        for packet in reader.packets(self._tap.audio_packet if self._tap is not None else None):
            if self._stop.is_set():
                return  # here, because a frame that is left out does not get further
            self._arrived(packet)
            if self._sink.key_frame_requested():
                video.request_key_frame()
            for frame in video.decode(packet, clock.monotonic()):
                stamp = self._stamp(frame.time)
                if video.is_late(frame, clock.monotonic()):
                    self._sink.dropped["too_slow"] += 1
                    continue
                painted, bare = video.encode(frame, clock.monotonic())
                if painted is not None:
                    yield _Picture(painted, stamp, bare)

    def _arrived(self, packet: Packet[VideoStream]) -> None:
        """Say why a stream of which packets come cannot be shown yet."""
        if self._status.phase is StreamPhase.STREAMING:
            return
        reason = self._first.missing(bytes(packet), self._clock.monotonic())
        if reason and reason != self._status.reason:
            log.info("stream cannot be shown yet", stream=self._name, reason=reason)
            self._status = replace(self._status, reason=reason)

    def _stamp(self, pts_s: float | None) -> CaptureStamp:
        clock = self._clock
        return self._capture_clock.stamp(
            pts_s, arrival_us=clock.now_us(), arrival_s=clock.monotonic()
        )

    def _deliver(self, picture: _Picture, reader: PacketReader, reason: str) -> None:
        frame, stamp = picture.frame, picture.stamp
        self._number += 1
        if self._tap is not None:
            self._tap.frame(frame, stamp.capture_us)
        for event in stamp.events:
            log.info("capture clock", stream=self._name, kind=event.kind, shift_us=event.shift_us)
            if event.kind is ClockEventKind.JUMPED:
                self._require_same_description(reader)
        wait_s = self._spacing.wait_s(self._clock.monotonic(), stamp.timestamp_us)
        if wait_s > 0:
            self._stop.wait(wait_s)
        if picture.unmasked is not None and self.unmasked is not None:
            self.unmasked.push(self._unit(picture.unmasked, stamp))
        if not self._is_open(frame, reason) and not self._open(frame, reader, reason):
            return
        self._sink.push(self._unit(frame, stamp))
        self._captures.append(stamp.capture_us)
        self._status = replace(
            self._status, units=self._status.units + 1, last_capture_us=stamp.capture_us
        )

    def _unit(self, frame: EncodedFrame, stamp: CaptureStamp) -> AccessUnit:
        return AccessUnit(
            data=frame.data,
            key_frame=frame.key_frame,
            width=frame.width,
            height=frame.height,
            capture_us=stamp.capture_us,
            timestamp_us=stamp.timestamp_us,
            number=self._number,
            masks=frame.masks,
        )

    def _is_open(self, frame: EncodedFrame, reason: str) -> bool:
        """Whether the track is published as this frame needs it."""
        status = self._status
        if status.phase is not StreamPhase.STREAMING or status.reason != reason:
            return False
        return (frame.width, frame.height) == (status.width, status.height)

    def _open(self, frame: EncodedFrame, reader: PacketReader, reason: str) -> bool:
        """Publish the track for this frame; False: it is no key frame to begin with."""
        if not frame.key_frame:
            return False
        self._publish((frame.width, frame.height))
        self._status = replace(
            self._status,
            codec=reader.stream.codec_context.name,
            transcoded=bool(reason),
            width=frame.width,
            height=frame.height,
        )
        self._enter(StreamPhase.STREAMING, reason)
        return True

    def _require_same_description(self, reader: PacketReader) -> None:
        """Ask the gateway again how the stream is to be decoded.

        A gateway that reconnects to a camera splices the new stream into our pull. Most cameras
        send their parameter sets in the description alone, and may have come back with others.

        Raises:
            _NewDescriptionError: what follows cannot be decoded with what was opened.
            UnreadableCameraError: the gateway does not offer the stream any more.
        """
        with self._reader() as fresh:
            if fresh.description.contradicts(reader.description):
                raise _NewDescriptionError

    def _publish(self, size: tuple[int, int]) -> None:
        # Publishing takes some 100 ms; meanwhile the socket holds the stream, so nothing is lost.
        future = self._open_track(self._sink, size)
        deadline = self._clock.monotonic() + PUBLISH_TIMEOUT_S
        while not future.done():
            if self._stop.wait(0.01):
                return
            if self._clock.monotonic() > deadline:
                raise UnavailableError("LiveKit did not take the track in time")
        future.result()

    def _enter(self, phase: StreamPhase, reason: str) -> None:
        if phase is not StreamPhase.STREAMING:
            self._captures.clear()
        self._status = replace(
            self._status, phase=phase, reason=reason, since_us=self._clock.now_us()
        )
