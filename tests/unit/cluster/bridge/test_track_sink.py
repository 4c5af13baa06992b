"""No frame with other masks than the camera's passes into a room, in any order of events."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from livekit import rtc
from livekit.rtc.encoded_video import (
    EncodedVideoFrame,
    EncodedVideoSource,
    EncodedVideoSourceFeedback,
)

from cluster.bridge.room import FRAME_ID_MODULUS, TrackSink
from cluster.bridge.units import AccessUnit
from pipelines.domain import Polygon

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


def test_a_frame_keeps_its_number_and_capture_time() -> None:
    sink, source = attached()
    sink.push(unit(7, key_frame=True))
    sink.push(unit(FRAME_ID_MODULUS + 9))
    metadata = [frame.metadata for frame in source.taken]
    assert metadata == [
        rtc.FrameMetadata(user_timestamp=7_000, frame_id=7),
        rtc.FrameMetadata(user_timestamp=1_000 * (FRAME_ID_MODULUS + 9), frame_id=9),
    ]
