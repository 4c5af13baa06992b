from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cluster.stores.db import AlarmQuery, CameraChanges
from tests.factories import make_camera


def test_absent_changes_nothing_and_none_removes_the_substream() -> None:
    camera = make_camera(substream_url="rtsp://h/2")
    assert CameraChanges().applied_to(camera) == camera
    assert CameraChanges(substream_url=None).applied_to(camera).substream_url is None
    assert CameraChanges(detect_fps=2).applied_to(camera).detect_fps == 2


@pytest.mark.parametrize("field", ["name", "url", "detect_fps", "attention", "enabled"])
def test_what_a_camera_must_have_cannot_be_removed(field: str) -> None:
    with pytest.raises(ValidationError, match=f"{field} cannot be removed"):
        CameraChanges(**{field: None})


@pytest.mark.parametrize(
    "fields", [{"detect_fps": 31}, {"detect_fps": 0}, {"detect_fps_min": 13}, {"name": "  "}]
)
def test_the_changed_camera_is_validated_as_a_whole(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CameraChanges(**fields).applied_to(make_camera())


@pytest.mark.parametrize("field", ["id", "tenant", "revision"])
def test_identity_cannot_be_changed(field: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        CameraChanges.model_validate({field: "other"})


@pytest.mark.parametrize(
    "fields",
    [{"limit": 0}, {"limit": 501}, {"since_us": -1}, {"until_us": 2**63}, {"state": "gone"}],
)
def test_queries_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AlarmQuery(**fields)
