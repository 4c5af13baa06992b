"""Reading a stream from the media gateway: demux only, with deadlines on every wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from pydantic import SecretStr

from cluster.media.errors import CameraProblem, UnreadableCameraError, unreadable

# TCP: a lost UDP packet would cost a whole group of pictures. A short analysis: opening takes 0.3 s
# instead of 5 s where audio is announced and never sent; what the SDP does not say is in the first
# key frame. No `nobuffer`: it drops the first packets, the key frame among them.
_OPTIONS = {"rtsp_transport": "tcp", "analyzeduration": "100000"}


@dataclass(frozen=True, slots=True)
class Description:
    """What a stream says of itself when it is opened.

    Attributes:
        codec: libav's name.
        extradata: parameter sets; empty where they come in the stream alone.
    """

    codec: str
    extradata: bytes

    def contradicts(self, other: Description) -> bool:
        """Whether a decoder that was set up with `other` cannot decode this stream."""
        known = bool(self.extradata and other.extradata)
        return self.codec != other.codec or (known and self.extradata != other.extradata)


class PacketReader:
    """One open pull. A context manager; not thread-safe: one thread opens, reads and closes it.

    Args:
        url: RTSP URL at the gateway.
        open_timeout_s: how long to wait for the stream's description.
        read_timeout_s: how long a packet may take before the stream counts as lost.
    """

    def __init__(self, url: SecretStr, *, open_timeout_s: float, read_timeout_s: float) -> None:
        self._url = url
        self._timeouts = (open_timeout_s, read_timeout_s)
        self._container: InputContainer | None = None
        self._stream: VideoStream | None = None
        self._sound: AudioStream | None = None
        self._description = Description("", b"")

    def __enter__(self) -> Self:
        try:
            self._container = av.open(
                self._url.get_secret_value(), timeout=self._timeouts, options=dict(_OPTIONS)
            )
        except av.error.FFmpegError as error:
            raise unreadable(error) from error
        if not self._container.streams.video:
            self._container.close()
            raise UnreadableCameraError(CameraProblem.NO_VIDEO)
        self._stream = self._container.streams.video[0]
        context = self._stream.codec_context
        self._sound = next(iter(self._container.streams.audio), None)
        self._description = Description(context.name, bytes(context.extradata or b""))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._container is not None:
            self._container.close()

    @property
    def stream(self) -> VideoStream:
        """The video stream: codec, size and extradata. Raises RuntimeError if not open."""
        if self._stream is None:
            raise RuntimeError("the reader is not open")
        return self._stream

    @property
    def description(self) -> Description:
        return self._description

    @property
    def sound(self) -> AudioStream | None:
        """The first audio stream that is announced, whether or not anything of it comes."""
        return self._sound

    def packets(
        self, on_sound: Callable[[Packet[AudioStream]], None] | None = None
    ) -> Iterator[Packet[VideoStream]]:
        """Packets of the picture with data, in decoding order, until the stream ends.

        Args:
            on_sound: given the packets of the sound, in between.

        Raises:
            UnreadableCameraError: the stream broke, or no packet came within the time-out.
        """
        assert self._container is not None
        try:
            sound = self._sound if on_sound is not None else None
            streams = [self.stream, *([sound] if sound is not None else [])]
            for packet in self._container.demux(*streams):
                if not packet.size:
                    continue
                if packet.stream is self._stream:
                    yield cast("Packet[VideoStream]", packet)
                elif on_sound is not None:
                    on_sound(cast("Packet[AudioStream]", packet))
        except av.error.FFmpegError as error:
            raise unreadable(error) from error
