"""Clips are encoded once, and are complete or absent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from cluster.demo.cutouts import Pixels
from cluster.demo.footage import Codec, Footage, make, recorded
from cluster.demo.rtp import load_clip
from pipelines.errors import ConfigError


def _frames() -> Iterator[Pixels]:
    for i in range(60):
        yield np.full((48, 64, 3), i * 4, np.uint8)


FOOTAGE = Footage("ramp", Fraction(25), "1", _frames)


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_clips_need_no_transcoding(tmp_path: Path, codec: Codec) -> None:
    path = make(replace(FOOTAGE, codec=codec), tmp_path)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    assert len(packets) == 60
    assert all(p.pts == p.dts for p in packets), "a B-frame would be shown at another time"
    clip = load_clip(path)
    assert (clip.width, clip.height, clip.fps, clip.duration_s) == (64, 48, 25, 2.4)
    keys = [i for i, unit in enumerate(clip.units) if unit.key]
    assert keys[0] == 0
    assert max(np.diff([*keys, len(clip.units)])) <= 25


def test_a_clip_is_made_once(tmp_path: Path) -> None:
    first = make(FOOTAGE, tmp_path)
    stamp = first.stat().st_mtime_ns
    assert make(FOOTAGE, tmp_path) == first
    assert first.stat().st_mtime_ns == stamp
    assert make(replace(FOOTAGE, fingerprint="2"), tmp_path) != first


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> Iterator[Pixels]:
        yield np.zeros((48, 64, 3), np.uint8)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        make(replace(FOOTAGE, frames=broken), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_recording_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"atalaia\[demo\]"):
        recorded("no-such-recording")


def test_other_codecs_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        image = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="bgr24")
        container.mux(stream.encode(image))
        container.mux(stream.encode())
    with pytest.raises(ConfigError, match=r"holds mpeg4; a demo clip is H\.264 or H\.265"):
        load_clip(path)
