"""From a network's output to the boxes that stay. numpy and cv2 only; input pixels throughout."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]

# A crowd at 640x384 has some 200 people; ultralytics stops at 300 too.
MAX_DETECTIONS = 300
# Greedy suppression is quadratic: 100 candidates take 0.1 ms, 1,000 take 2.4 ms, 2,500 take 14 ms.
# Some ten candidates stand around each object, so 2,000 is a crowd of 200. The weakest are cut.
MAX_CANDIDATES = 2_000


class RawDetections(NamedTuple):
    """What a runtime saw in one frame; n rows, best first.

    `xyxy` float32 (n, 4) in input pixels, `confidence` float32 (n,), `classes` int64 (n,).
    """

    xyxy: Float
    confidence: Float
    classes: npt.NDArray[np.int64]


def select(output: Float, *, confidence: float, iou: float) -> RawDetections:
    """Best class per anchor, threshold, suppression within each class.

    Args:
        output: float32 (4 + classes, anchors): centre x, centre y, width, height, class scores.
        confidence: least score that stays.
        iou: overlap above which the weaker of two boxes of a class is dropped.
    """
    # The maximum over all anchors costs 0.05 ms for 80 x 5040, argmax 0.3 ms: so the class numbers
    # are looked up only for the few anchors that stay.
    best = output[4:].max(axis=0)
    (kept,) = np.nonzero(best >= confidence)
    if kept.size > MAX_CANDIDATES:
        kept = kept[np.argpartition(best[kept], -MAX_CANDIDATES)[-MAX_CANDIDATES:]]
    candidates = np.ascontiguousarray(output[:, kept].T)
    classes = candidates[:, 4:].argmax(axis=1)
    return suppress(centre_to_corners(candidates[:, :4]), best[kept], classes, iou=iou)


def select_end_to_end(output: Float, *, confidence: float) -> RawDetections:
    """The same for networks that suppress by themselves.

    Args:
        output: float32 (rows, 6): x1, y1, x2, y2, score, class.
        confidence: least score that stays.
    """
    rows = output[output[:, 4] >= confidence]
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    return RawDetections(
        np.ascontiguousarray(rows[:, :4]), rows[:, 4].copy(), rows[:, 5].astype(np.int64)
    )


def centre_to_corners(boxes: Float) -> Float:
    """(n, 4) centre x, centre y, width, height to x1, y1, x2, y2."""
    half = boxes[:, 2:4] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def suppress(
    xyxy: Float, scores: Float, classes: npt.NDArray[np.int64], *, iou: float
) -> RawDetections:
    """Greedy non-maximum suppression within each class, best first, at most MAX_DETECTIONS rows."""
    if len(scores) == 0:
        return RawDetections(xyxy.reshape(0, 4), scores, classes)
    top_left_size = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)
    kept = np.asarray(
        cv2.dnn.NMSBoxesBatched(
            top_left_size.tolist(), scores.tolist(), classes.tolist(), 0.0, iou
        ),
        dtype=np.int64,
    ).ravel()
    kept = kept[np.argsort(-scores[kept], kind="stable")][:MAX_DETECTIONS]
    return RawDetections(xyxy[kept], scores[kept], classes[kept])
