"""H.264 access units as byte strings: their contents, and whether WebRTC can carry them unchanged.

Pure functions on one access unit (all NAL units of one frame). Annex B prefixes each NAL unit with
a start code: RTSP demuxers yield this format and the bridge publishes it. Length-prefixed units
(AVCC, from RTMP and MP4) go through libav's `h264_mp4toannexb` first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

START_CODE = b"\x00\x00\x00\x01"
_START = re.compile(rb"\x00\x00\x01")


class NalType(IntEnum):
    """The nal_unit_type values used here (ITU-T H.264, table 7-1)."""

    SLICE = 1
    PARTITION_A = 2
    IDR = 5
    SEI = 6
    SPS = 7
    PPS = 8
    AUD = 9


def nal_type(nal: bytes) -> int:
    """nal_unit_type of a NAL unit without start code; 0 (unspecified) if it is empty."""
    return nal[0] & 0x1F if nal else 0


def iter_nal_units(au: bytes) -> Iterator[bytes]:
    """The NAL units of an Annex-B access unit, without start codes and padding zeros."""
    starts = [found.end() for found in _START.finditer(au)]
    ends = [*(start - 3 for start in starts[1:]), len(au)] if starts else []
    for start, end in zip(starts, ends, strict=True):
        # A NAL unit never ends in a zero byte; trailing zeros belong to the next start code.
        nal = au[start:end].rstrip(b"\x00")
        if nal:
            yield nal


def has_parameter_sets(au: bytes) -> bool:
    """Whether the access unit itself carries both an SPS and a PPS."""
    types = {nal_type(nal) for nal in iter_nal_units(au)}
    return {NalType.SPS, NalType.PPS} <= types


def parameter_sets(au: bytes) -> bytes:
    """The SPS and PPS units in Annex-B data, with start codes, in their order; may be empty."""
    return b"".join(
        START_CODE + nal
        for nal in iter_nal_units(au)
        if nal_type(nal) in (NalType.SPS, NalType.PPS)
    )


def is_key_frame(au: bytes) -> bool:
    """Whether a decoder can start here, i.e. the access unit contains an IDR slice."""
    return any(nal_type(nal) == NalType.IDR for nal in iter_nal_units(au))


def with_parameter_sets(au: bytes, extradata: bytes | None) -> bytes:
    """The access unit, with SPS and PPS in front of a key frame.

    They come from `extradata`, as RTSP demuxers give it, and are inserted only if the access unit
    does not carry its own, which may be newer. An access unit delimiter stays first, as the
    standard requires.
    """
    if not is_key_frame(au) or has_parameter_sets(au):
        return au
    sets = parameter_sets(extradata or b"")
    if not sets:
        return au
    first = next(iter_nal_units(au))
    if nal_type(first) != NalType.AUD:
        return sets + au
    end = au.index(first) + len(first)
    return au[:end] + sets + au[end:]


# ---------------------------------------------------------------- stream properties


class _Bits:
    """Bit reader for a NAL unit's payload, without emulation prevention bytes.

    Its methods raise EOFError if the payload ends early.
    """

    def __init__(self, payload: bytes) -> None:
        clean = payload.replace(b"\x00\x00\x03", b"\x00\x00")
        self._value = int.from_bytes(clean)
        self._left = len(clean) * 8

    def bits(self, count: int) -> int:
        if count > self._left:
            raise EOFError("the NAL unit ends early")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def flag(self) -> bool:
        return bool(self.bits(1))

    def ue(self) -> int:
        """Unsigned Exp-Golomb code."""
        zeros = 0
        while not self.bits(1):
            zeros += 1
            if zeros > 32:
                raise EOFError("invalid Exp-Golomb code")
        return (1 << zeros) - 1 + self.bits(zeros)

    def se(self) -> int:
        """Signed Exp-Golomb code."""
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)


_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_EXTENDED_SAR = 255
"""aspect_ratio_idc that is followed by an explicit ratio (table E-1)."""


@dataclass(frozen=True, slots=True)
class Sps:
    """The fields of a sequence parameter set that decide whether WebRTC can carry the stream.

    Attributes:
        profile: profile_idc: 66 baseline, 77 main, 100 high, 110 and up beyond 8 bits or 4:2:0.
        chroma_format: 1 is 4:2:0, the only one that browsers decode.
        bit_depth: of luma samples.
        interlaced: whether frames may consist of fields.
        reorder_frames: max_num_reorder_frames; None if it is not signalled.
    """

    profile: int
    chroma_format: int
    bit_depth: int
    interlaced: bool
    reorder_frames: int | None

    @classmethod
    def parse(cls, nal: bytes) -> Sps | None:
        """Parse an SPS; None if `nal` is not one, or is malformed."""
        if nal_type(nal) != NalType.SPS:
            return None
        try:
            return _read_sps(_Bits(nal[1:]))
        except EOFError:
            return None


def _read_sps(bits: _Bits) -> Sps:
    profile = bits.bits(8)
    bits.bits(16)  # constraint flags, level
    bits.ue()  # seq_parameter_set_id
    chroma_format, bit_depth = 1, 8
    if profile in _HIGH_PROFILES:
        chroma_format, bit_depth = _read_high_profile(bits)
    bits.ue()  # log2_max_frame_num_minus4
    order_type = bits.ue()
    if order_type == 0:
        bits.ue()  # log2_max_pic_order_cnt_lsb_minus4
    elif order_type == 1:
        bits.flag()
        bits.se()
        bits.se()
        for _ in range(bits.ue()):
            bits.se()
    bits.ue()  # max_num_ref_frames
    bits.flag()  # gaps_in_frame_num_value_allowed_flag
    bits.ue()  # width and height in macroblocks
    bits.ue()
    interlaced = not bits.flag()
    if interlaced:
        bits.flag()  # mb_adaptive_frame_field_flag
    bits.flag()  # direct_8x8_inference_flag
    if bits.flag():  # frame_cropping_flag
        for _ in range(4):
            bits.ue()
    reorder = _read_reorder(bits) if bits.flag() else None
    if order_type == 2:
        reorder = 0  # output order is decoding order by definition
    return Sps(profile, chroma_format, bit_depth, interlaced, reorder)


def _read_high_profile(bits: _Bits) -> tuple[int, int]:
    """chroma_format_idc and luma bit depth; skips the scaling matrices."""
    chroma_format = bits.ue()
    if chroma_format == 3:
        bits.flag()  # separate_colour_plane_flag
    bit_depth = bits.ue() + 8
    bits.ue()  # bit_depth_chroma_minus8
    bits.flag()  # qpprime_y_zero_transform_bypass_flag
    if bits.flag():  # seq_scaling_matrix_present_flag
        for index in range(8 if chroma_format != 3 else 12):
            if bits.flag():
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return chroma_format, bit_depth


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _read_reorder(bits: _Bits) -> int | None:
    """max_num_reorder_frames at the end of the VUI parameters; None if it is absent."""
    if bits.flag() and bits.bits(8) == _EXTENDED_SAR:  # aspect_ratio_info_present_flag
        bits.bits(32)
    if bits.flag():  # overscan_info_present_flag
        bits.flag()
    if bits.flag():  # video_signal_type_present_flag
        bits.bits(4)
        if bits.flag():
            bits.bits(24)
    if bits.flag():  # chroma_loc_info_present_flag
        bits.ue()
        bits.ue()
    if bits.flag():  # timing_info_present_flag
        bits.bits(65)
    nal_hrd = _skip_hrd(bits)
    vcl_hrd = _skip_hrd(bits)
    if nal_hrd or vcl_hrd:
        bits.flag()  # low_delay_hrd_flag
    bits.flag()  # pic_struct_present_flag
    if not bits.flag():  # bitstream_restriction_flag
        return None
    bits.flag()
    for _ in range(4):
        bits.ue()
    return bits.ue()


def _skip_hrd(bits: _Bits) -> bool:
    """Skip one set of HRD parameters; False if there is none."""
    if not bits.flag():
        return False
    count = bits.ue() + 1
    bits.bits(8)
    for _ in range(count):
        bits.ue()
        bits.ue()
        bits.flag()
    bits.bits(20)
    return True


_B_SLICES = frozenset({1, 6})


def has_b_slices(au: bytes) -> bool:
    """Whether any slice of the access unit is a B slice."""
    for nal in iter_nal_units(au):
        if nal_type(nal) in (NalType.SLICE, NalType.PARTITION_A):
            try:
                bits = _Bits(nal[1:17])
                bits.ue()  # first_mb_in_slice
                if bits.ue() in _B_SLICES:
                    return True
            except EOFError:
                continue
    return False


# Joining subscribers, and every lost packet, wait for the next key frame. Cameras send one every 1
# to 4 s, "smart" codecs every 10 s; streams with intra refresh send only the first.
MAX_KEY_INTERVAL_S = 12.0
MAX_KEY_INTERVAL_FRAMES = 400
# A clock jump goes back once; reordered frames go back repeatedly, by a few frames.
MAX_BACK_STEPS = 3
BACK_STEP_S = 0.5


class PassthroughCheck:
    """Decides whether a stream may enter a WebRTC room unchanged, by its headers and contents.

    `reason` stays empty as long as it may. Once set, it remains: a bridge that has switched to
    transcoding does not switch back in the middle of a stream. Pass it every access unit.

    Args:
        codec: libav's name of the codec.
        extradata: of the codec context.
        reorder_depth: of the codec context after opening (libav's has_b_frames).
    """

    def __init__(self, codec: str, extradata: bytes = b"", reorder_depth: int = 0) -> None:
        self.reason = ""
        self.reorders = False
        self._sps_seen: bytes = b""
        self._last_pts: float | None = None
        self._back_steps = 0
        self._last_key_pts: float | None = None
        self._since_key = 0
        if codec != "h264":
            self._refuse(f"the camera sends {codec}, not H.264")
            return
        self._check_sps(extradata)
        if reorder_depth > 0:
            self._refuse_reordering("announces frames out of order (B-frames)")

    @property
    def allowed(self) -> bool:
        return not self.reason

    def observe(self, au: bytes, pts_s: float | None) -> bool:
        """Check the next access unit, as demuxed. Returns `allowed`.

        Args:
            au: the access unit.
            pts_s: its presentation time in seconds, if it has one.
        """
        if self.reason:
            return False
        self._check_sps(au)
        if has_b_slices(au):
            self._refuse_reordering("uses B-frames")
        self._check_order(pts_s)
        self._check_key_interval(au, pts_s)
        return self.allowed

    def _refuse(self, reason: str) -> None:
        self.reason = self.reason or reason

    def _refuse_reordering(self, reason: str) -> None:
        self.reorders = True
        self._refuse(f"the camera's H.264 {reason}, which WebRTC cannot carry")

    def _check_sps(self, data: bytes) -> None:
        for nal in iter_nal_units(data):
            if nal_type(nal) != NalType.SPS or nal == self._sps_seen:
                continue
            self._sps_seen = nal
            sps = Sps.parse(nal)
            if sps is None:
                continue
            if sps.reorder_frames:
                self._refuse_reordering("announces frames out of order (B-frames)")
            if sps.interlaced:
                self._refuse("the camera's H.264 is interlaced, which browsers do not show well")
            if sps.chroma_format != 1 or sps.bit_depth != 8:
                self._refuse("the camera's H.264 is not 8-bit 4:2:0, which browsers cannot decode")

    def _check_order(self, pts_s: float | None) -> None:
        if pts_s is None:
            return
        if self._last_pts is not None and -BACK_STEP_S < pts_s - self._last_pts < 0:
            self._back_steps += 1
            if self._back_steps >= MAX_BACK_STEPS:
                self._refuse_reordering("sends frames out of order")
        self._last_pts = pts_s

    def _check_key_interval(self, au: bytes, pts_s: float | None) -> None:
        if is_key_frame(au):
            self._since_key = 0
            self._last_key_pts = pts_s
            return
        self._since_key += 1
        if self._last_key_pts is None:
            self._last_key_pts = pts_s
        if pts_s is None or self._last_key_pts is None or pts_s < self._last_key_pts:
            # Without usable times, count frames.
            late = self._since_key > MAX_KEY_INTERVAL_FRAMES
        else:
            late = pts_s - self._last_key_pts > MAX_KEY_INTERVAL_S
        if late:
            self._refuse(
                "the camera sends key frames too rarely for viewers to join (set its key frame "
                "interval to 1 to 4 s, and switch its smart codec off)"
            )
