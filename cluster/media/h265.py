"""H.265 for recordings: key frames with their parameter sets."""

from __future__ import annotations

from enum import IntEnum

from cluster.media.h264 import START_CODE, iter_nal_units


class HevcNalType(IntEnum):
    """The nal_unit_type values used here (ITU-T H.265, table 7-1)."""

    VPS = 32
    SPS = 33
    PPS = 34
    AUD = 35


_SETS = frozenset({HevcNalType.VPS, HevcNalType.SPS, HevcNalType.PPS})


def hevc_nal_type(nal: bytes) -> int:
    """nal_unit_type of a NAL unit without start code; -1 if it is empty."""
    return nal[0] >> 1 & 0x3F if nal else -1


def with_hevc_parameter_sets(key_frame: bytes, extradata: bytes) -> bytes:
    """An Annex B key frame with VPS, SPS and PPS: its own, which may be newer than those of the
    SDP, else those of `extradata` (Annex B, as RTSP demuxers provide it)."""
    nals = list(iter_nal_units(key_frame))
    if {hevc_nal_type(nal) for nal in nals} >= _SETS:
        return key_frame
    sets = [nal for nal in iter_nal_units(extradata) if hevc_nal_type(nal) in _SETS]
    first = int(bool(nals) and hevc_nal_type(nals[0]) == HevcNalType.AUD)
    return b"".join(START_CODE + nal for nal in [*nals[:first], *sets, *nals[first:]])
