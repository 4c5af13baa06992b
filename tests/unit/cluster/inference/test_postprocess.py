"""From network output to boxes, against a plain greedy suppression written out in the test."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.inference.postprocess import (
    MAX_CANDIDATES,
    MAX_DETECTIONS,
    RawDetections,
    centre_to_corners,
    select,
    select_end_to_end,
)


def network_output(
    rows: list[tuple[float, float, float, float, int, float]],
) -> npt.NDArray[np.float32]:
    """(4 + 3, anchors) from centre x, centre y, width, height, class, score."""
    output = np.zeros((7, max(len(rows), 1)), np.float32)
    for anchor, (x, y, w, h, label, score) in enumerate(rows):
        output[:4, anchor] = x, y, w, h
        output[4 + label, anchor] = score
    return output


def overlap(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def plain_select(output: npt.NDArray[np.float32], confidence: float, iou: float) -> list[int]:
    """Anchors that stay, best first."""
    scores, labels = output[4:].max(axis=0), output[4:].argmax(axis=0)
    boxes = centre_to_corners(output[:4].T)
    order = [i for i in np.argsort(-scores, kind="stable") if scores[i] >= confidence]
    kept: list[int] = []
    for i in order:
        if all(labels[i] != labels[j] or overlap(boxes[i], boxes[j]) <= iou for j in kept):
            kept.append(int(i))
    return kept


def test_nothing_above_the_threshold_gives_empty_arrays() -> None:
    result = select(network_output([(50, 50, 20, 20, 0, 0.2)]), confidence=0.25, iou=0.6)
    assert result.xyxy.shape == (0, 4)
    assert result.confidence.shape == result.classes.shape == (0,)


@pytest.mark.parametrize(
    ("second", "kept"),
    [
        pytest.param((52, 50, 20, 20, 0, 0.8), 1, id="same place, same class: the weaker goes"),
        pytest.param((52, 50, 20, 20, 1, 0.8), 2, id="same place, other class: both stay"),
        pytest.param((66, 50, 20, 20, 0, 0.8), 2, id="beside it: both stay"),
    ],
)
def test_suppression(second: tuple[float, float, float, float, int, float], kept: int) -> None:
    output = network_output([second, (50, 50, 20, 20, 0, 0.9)])
    result = select(output, confidence=0.25, iou=0.6)
    assert len(result.confidence) == kept
    np.testing.assert_allclose(result.xyxy[0], [40, 40, 60, 60])
    assert result.confidence[0] == pytest.approx(0.9)


score = st.floats(0.0, 1.0, width=32)
row = st.tuples(
    st.floats(0, 640, width=32),
    st.floats(0, 384, width=32),
    st.floats(8, 200, width=32),
    st.floats(8, 200, width=32),
    st.integers(0, 2),
    score,
)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(row, max_size=40, unique_by=lambda r: r[5]), iou=st.floats(0.3, 0.9))
def test_equals_plain_greedy_suppression(
    rows: list[tuple[float, float, float, float, int, float]], iou: float
) -> None:
    output = network_output(rows)
    boxes = centre_to_corners(output[:4].T)
    scores = output[4:].max(axis=0)
    pairs = [overlap(a, b) for a in boxes for b in boxes if len(rows) > 1]
    if any(abs(value - iou) < 1e-4 for value in pairs):
        return  # on the edge, float32 and float64 may differ
    result = select(output, confidence=0.25, iou=iou)
    expected = plain_select(output, 0.25, iou)
    np.testing.assert_allclose(result.confidence, scores[expected])
    np.testing.assert_allclose(result.xyxy, boxes[expected], atol=1e-3)


def test_a_flood_of_candidates_is_bounded() -> None:
    rng = np.random.default_rng(0)
    output = np.zeros((84, 5040), np.float32)
    output[0], output[1] = rng.uniform(0, 640, 5040), rng.uniform(0, 384, 5040)
    output[2:4] = 4
    output[4] = rng.uniform(0.3, 1.0, 5040)
    result = select(output, confidence=0.25, iou=0.6)
    assert len(result.confidence) == MAX_DETECTIONS < MAX_CANDIDATES
    assert (np.diff(result.confidence) <= 0).all()
    assert result.confidence[0] == output[4].max()


def test_end_to_end_rows_are_only_filtered_and_sorted() -> None:
    rows = np.array(
        [[0, 0, 10, 10, 0.1, 2], [5, 5, 9, 9, 0.5, 1], [1, 1, 8, 8, 0.9, 0]], np.float32
    )
    result = select_end_to_end(rows, confidence=0.25)
    assert isinstance(result, RawDetections)
    assert result.classes.tolist() == [0, 1]
    np.testing.assert_allclose(result.xyxy, [[1, 1, 8, 8], [5, 5, 9, 9]])
