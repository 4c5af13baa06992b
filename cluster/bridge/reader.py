"""Reading a stream from the media gateway: demux only, with deadlines on every wait."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from pydantic import SecretStr

from cluster.media.problems import CameraProblem, UnreadableCameraError, unreadable

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
        """The video stream: codec, size and extradata. Only while open."""
        if self._stream is None:
            raise RuntimeError("the reader is not open")
        return self._stream

    @property
    def description(self) -> Description:
        return self._description

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """Packets with data, in decoding order, until the stream ends.

        Raises:
            UnreadableCameraError: the stream broke, or no packet came within the time-out.
        """
        assert self._container is not None
        try:
            for packet in self._container.demux(self.stream):
                if packet.size:
                    yield packet
        except av.error.FFmpegError as error:
            raise unreadable(error) from error
