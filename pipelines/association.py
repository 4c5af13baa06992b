"""ByteTrack from the `trackers` library, for the objects of one camera and one group of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import supervision as sv
from trackers import BaseIoU, ByteTrackTracker

from pipelines.domain import PixelBox

# The rate for which ByteTrack's noise was tuned. Used for every camera rate: the library scales its
# motion model by elapsed time, so a step at 5 frames/s is one of 6 reference frames.
REFERENCE_FPS = 30.0

# How long ByteTrack predicts an unseen object's motion. Beyond this, the prediction is far off;
# objects that return later are handled by `reappearance`.
LOST_S = 3.0

# Two consecutive hits make a ByteTrack track; our own confirmation needs more (`tracking`).
MINIMUM_HITS = 2

# Minimum IoU that may link a box to a prediction; ByteTrack's own default.
MINIMUM_OVERLAP = 0.1

# Boxes are expanded on each side before the IoU is computed, by this fraction of their mean side
# per second since the last frame: 2 % at 25 frames/s (plain IoU decides), 60 % at 1 frame/s. A
# walking person moves 0.8 heights or two widths in 1 s, which leaves no plain overlap at the second
# hit, when no velocity is known yet; 0.6 leaves an IoU of 0.2.
GROWTH_PER_S = 0.6
GROWTH_MAX = 0.6


class _GrownOverlap(BaseIoU):
    """IoU of boxes that are expanded to allow for motion between frames.

    Boxes are (n, 4) and (m, 4), x1 y1 x2 y2; the result is (n, m).
    """

    def __init__(self) -> None:
        self.growth = 0.0

    def _compute(
        self, boxes_1: npt.NDArray[np.float64], boxes_2: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float32]:
        return sv.box_iou_batch(self._grown(boxes_1), self._grown(boxes_2))

    def _grown(self, boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        boxes = np.asarray(boxes, dtype=np.float64)
        margin = self.growth * (boxes[:, 2] - boxes[:, 0] + boxes[:, 3] - boxes[:, 1]) / 2
        # A far prediction may be inverted (x2 < x1); expanding must not make it valid again.
        margin = np.maximum(margin, 0.0)[:, None]
        return np.hstack((boxes[:, :2] - margin, boxes[:, 2:] + margin))


class Tracklet:
    """Token for one ByteTrack track; compared by identity."""

    __slots__ = ()


class Associator:
    """Associates the boxes of each frame with those of earlier frames.

    Args:
        activation: minimum confidence to start a track. Boxes below it can still extend one
            (ByteTrack's second association), so do not filter them out.
    """

    def __init__(self, activation: float) -> None:
        self._overlap = _GrownOverlap()
        self._tracker = ByteTrackTracker(
            lost_track_buffer=round(LOST_S * 30),  # in frames of 30 per second, whatever the rate
            frame_rate=REFERENCE_FPS,
            track_activation_threshold=activation,
            high_conf_det_threshold=activation,
            minimum_consecutive_frames=MINIMUM_HITS,
            minimum_iou_threshold=MINIMUM_OVERLAP,
            iou=self._overlap,
        )
        self._last_s: float | None = None
        self._tokens: dict[int, tuple[object, Tracklet]] = {}

    def set_activation(self, activation: float) -> None:
        """Change the threshold; existing tracks are kept."""
        self._tracker.track_activation_threshold = activation
        self._tracker.high_conf_det_threshold = activation

    @property
    def alive(self) -> set[Tracklet]:
        """Tracklets that ByteTrack still follows, whether seen in the last frame or not."""
        return {token for _, token in self._tokens.values()}

    def update(
        self, boxes: Sequence[PixelBox], confidences: Sequence[float], at_s: float
    ) -> list[Tracklet | None]:
        """The tracklet of each box, in input order; None for a box without one.

        Args:
            boxes: in a coordinate frame that does not depend on the frame size.
            confidences: 0..1.
            at_s: scene time in seconds, strictly increasing.
        """
        passed = 0.0 if self._last_s is None else at_s - self._last_s
        self._last_s = at_s
        self._overlap.growth = min(GROWTH_MAX, GROWTH_PER_S * passed)
        xyxy = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        # The library reorders rows; class_id carries each row's index.
        result = self._tracker.update(
            sv.Detections(
                xyxy=xyxy,
                confidence=np.array(confidences, dtype=np.float64),
                class_id=np.arange(len(boxes)),
            ),
            timestamp=at_s,
        )
        return self._tokens_of_rows(len(boxes), boxes, result)

    def _tokens_of_rows(
        self, count: int, boxes: Sequence[PixelBox], result: sv.Detections
    ) -> list[Tracklet | None]:
        tracks = self._tracker.tracks
        tokens = {id(track): self._tokens.get(id(track), (track, Tracklet())) for track in tracks}
        # The tuple keeps the library's object alive, so that its id() stays unique.
        self._tokens = tokens
        by_number = {track.tracker_id: track for track in tracks if track.tracker_id != -1}
        # A track that started in this frame has no id yet, but its box still equals the input.
        started: dict[PixelBox, list[object]] = {}
        for track in tracks:
            if track.tracker_id == -1:
                started.setdefault(tuple(track.get_state_bbox().tolist()), []).append(track)
        rows: list[Tracklet | None] = [None] * count
        numbers = result.tracker_id if result.tracker_id is not None else ()
        places = result.class_id if result.class_id is not None else ()
        for place, number in zip(places, numbers, strict=True):
            if number != -1:
                rows[place] = tokens[id(by_number[number])][1]
            elif waiting := started.get(boxes[place]):
                rows[place] = tokens[id(waiting.pop(0))][1]
        return rows
