"""No frame with other masks than the camera's passes into a room, in any order of events."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from livekit import rtc
from livekit.rtc._proto.stats_pb2 import RtcStats
from livekit.rtc.encoded_video import (
    EncodedVideoFrame,
    EncodedVideoSource,
    EncodedVideoSourceFeedback,
)

from cluster.bridge.room import FRAME_ID_MODULUS, RoomPublisher, TrackSink
from cluster.bridge.units import AccessUnit
from cluster.core.backoff import Backoff
from cluster.core.settings import LiveKitSettings
from pipelines.domain import CameraKey, Polygon

SIZE = (64, 48)
LEFT: tuple[Polygon, ...] = (((0.0, 0.0), (0.5, 0.0), (0.5, 1.0)),)
RIGHT: tuple[Polygon, ...] = (((0.5, 0.0), (1.0, 0.0), (1.0, 1.0)),)
masks = st.sampled_from([(), LEFT, RIGHT])


class Source:
    """LiveKit's side of a track."""

    def __init__(self) -> None:
        self.taken: list[EncodedVideoFrame] = []
        self.asked = False

    def capture_frame(self, frame: EncodedVideoFrame) -> bool:
        self.taken.append(frame)
        return True

    def take_feedback(self) -> EncodedVideoSourceFeedback:
        return EncodedVideoSourceFeedback(self.asked, None)


def unit(number: int, painted: tuple[Polygon, ...] = (), *, key_frame: bool = False) -> AccessUnit:
    # What is painted into it stands in its data, so that it is told apart from what is said of it.
    data = repr(painted).encode()
    return AccessUnit(data, key_frame, *SIZE, 1_000 * number, number, number, painted)


def attached(required: tuple[Polygon, ...] = ()) -> tuple[TrackSink, Source]:
    sink, source = TrackSink("main", required), Source()
    sink.attach(cast(EncodedVideoSource, source), SIZE)
    return sink, source


@given(st.lists(st.one_of(masks, st.tuples(masks, st.booleans())), max_size=40))
def test_only_frames_with_the_required_masks_pass_and_each_run_of_them_can_be_decoded(
    steps: list[tuple[Polygon, ...] | tuple[tuple[Polygon, ...], bool]],
) -> None:
    sink, source = attached()
    required: tuple[Polygon, ...] = ()
    broken = True
    offered = passed = 0
    for number, step in enumerate(steps):
        if len(step) == 2 and isinstance(step[1], bool):
            painted, key_frame = cast(tuple[tuple[Polygon, ...], bool], step)
            offered += 1
            before = len(source.taken)
            sink.push(unit(number, painted, key_frame=key_frame))
            if painted != required:
                broken = True
            elif key_frame:
                broken = False
            passed += len(source.taken) - before
            assert len(source.taken) - before == (not broken)
            if not broken:
                assert source.taken[-1].data == repr(required).encode()
        else:
            required = cast(tuple[Polygon, ...], step)
            sink.require_masks(required)
    assert sum(sink.dropped.values()) == offered - passed


def test_a_refused_frame_asks_for_a_key_frame() -> None:
    sink, source = attached(LEFT)
    assert sink.key_frame_requested()
    sink.push(unit(1, LEFT, key_frame=True))
    assert not sink.key_frame_requested()
    sink.require_masks(RIGHT)
    sink.push(unit(2, LEFT))
    assert sink.key_frame_requested()
    assert sink.dropped == {"other_masks": 1}
    source.asked = True
    sink.push(unit(3, RIGHT, key_frame=True))
    assert sink.key_frame_requested()


def test_after_a_loss_nothing_passes_until_a_key_frame() -> None:
    sink, source = attached()
    sink.push(unit(0, key_frame=True))
    sink.check_losses(sink.accepted, encoded=1)
    for number in range(1, 4):
        sink.push(unit(number))
    sink.check_losses(sink.accepted, encoded=3)
    sink.push(unit(4))
    sink.check_losses(sink.accepted, encoded=4)
    sink.push(unit(5))
    assert sink.key_frame_requested()
    sink.push(unit(6, key_frame=True))
    sink.push(unit(7))
    numbers = [frame.timestamp_us for frame in source.taken]
    assert numbers == [0, 1, 2, 3, 4, 6, 7]
    assert sink.dropped == {"lost_by_sdk": 1, "before_key_frame": 1}


def test_a_new_source_has_lost_nothing() -> None:
    sink, _ = attached()
    sink.push(unit(0, key_frame=True))
    sink.check_losses(sink.accepted, encoded=0)
    second = Source()
    sink.attach(cast(EncodedVideoSource, second), SIZE)
    sink.push(unit(1, key_frame=True))
    sink.check_losses(sink.accepted, encoded=0)
    sink.push(unit(2))
    assert len(second.taken) == 2
    assert sink.dropped == {}


class Report:
    """What libwebrtc knows of a room: whoever asks at about the same time gets the same."""

    def __init__(self, sinks: dict[str, TrackSink]) -> None:
        self._sinks = sinks
        self._encoded: dict[str, int] = {}

    def asked_anew(self) -> None:
        self._encoded.clear()

    def of(self, name: str) -> int:
        if not self._encoded:
            self._encoded = {name: sink.accepted[0] for name, sink in self._sinks.items()}
        return self._encoded[name]


class Track:
    """A track during whose request the next unit of every track comes."""

    def __init__(self, name: str, report: Report, sinks: dict[str, TrackSink]) -> None:
        self.name = name
        self._report = report
        self._sinks = sinks
        self._number = 0

    async def get_stats(self) -> list[RtcStats]:
        stats = RtcStats()
        stats.outbound_rtp.outbound.frames_encoded = self._report.of(self.name)
        for sink in self._sinks.values():
            self._number += 1
            sink.push(unit(self._number))
        return [stats]


async def test_what_comes_between_the_requests_of_two_tracks_is_not_lost() -> None:
    publisher = RoomPublisher(
        LiveKitSettings(), CameraKey("acme", "gate"), Backoff(0.1, 1.0), lambda: None
    )
    sinks = publisher._sinks
    for name in ("main", "detect"):
        sinks[name] = TrackSink(name)
        sinks[name].attach(cast(EncodedVideoSource, Source()), SIZE)
        sinks[name].push(unit(0, key_frame=True))
    report = Report(sinks)
    for name in sinks:
        publisher._tracks[name] = cast(rtc.LocalVideoTrack, Track(name, report, sinks))
    for _ in range(4):
        report.asked_anew()
        await publisher._check_losses()
    assert [sink.dropped for sink in sinks.values()] == [{}, {}]


def test_a_frame_keeps_its_number_and_capture_time() -> None:
    sink, source = attached()
    sink.push(unit(7, key_frame=True))
    sink.push(unit(FRAME_ID_MODULUS + 9))
    metadata = [frame.metadata for frame in source.taken]
    assert metadata == [
        rtc.FrameMetadata(user_timestamp=7_000, frame_id=7),
        rtc.FrameMetadata(user_timestamp=1_000 * (FRAME_ID_MODULUS + 9), frame_id=9),
    ]
