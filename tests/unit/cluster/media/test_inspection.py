"""What inspection says of a stream that does not come over RTSP: NAL units have lengths there."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.media.inspection import inspect_stream
from tests.unit.cluster.media.clips import encode_file


@pytest.mark.parametrize("container", ["mp4", "flv"])
@pytest.mark.parametrize("profile", ["baseline", "main", "high"])
def test_h264_without_b_frames_passes(tmp_path: Path, container: str, profile: str) -> None:
    path = encode_file(tmp_path / f"clip.{container}", {"profile": profile})
    result = inspect_stream(str(path))
    assert (result.codec, result.width, result.height, result.fps) == ("h264", 128, 96, 25)
    assert (result.has_b_frames, result.transcode_reason) == (False, "")


@pytest.mark.parametrize("container", ["mp4", "flv"])
def test_b_frames_are_found(tmp_path: Path, container: str) -> None:
    path = encode_file(tmp_path / f"clip.{container}", {"profile": "main"}, b_frames=2)
    result = inspect_stream(str(path))
    assert result.has_b_frames
    assert "B-frames" in result.transcode_reason


@pytest.mark.parametrize("container", ["mp4", "flv"])
@pytest.mark.parametrize(
    ("options", "pix_fmt", "word"),
    [
        ({"x264-params": "interlaced=1"}, "yuv420p", "interlaced"),
        ({"profile": "high422"}, "yuv422p", "4:2:0"),
        ({"profile": "high10"}, "yuv420p10le", "8-bit"),
    ],
)
def test_what_browsers_cannot_decode(
    tmp_path: Path, container: str, options: dict[str, str], pix_fmt: str, word: str
) -> None:
    path = encode_file(tmp_path / f"clip.{container}", options, pix_fmt=pix_fmt)
    assert word in inspect_stream(str(path)).transcode_reason


def test_another_codec(tmp_path: Path) -> None:
    path = encode_file(tmp_path / "clip.mp4", {}, codec="mpeg4")
    assert "mpeg4" in inspect_stream(str(path)).transcode_reason
