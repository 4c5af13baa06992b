"""Descriptions as the relay passes them on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.relay.description import one_format

TWO = b"""v=0\r
m=video 0 RTP/AVP 96 98\r
a=rtpmap:96 H264/90000\r
a=fmtp:96 packetization-mode=1\r
a=rtpmap:98 H265/90000\r
a=fmtp:98 sprop-vps=x\r
a=control:track1\r
m=audio 0 RTP/AVP 8 98\r
a=rtpmap:98 opus/48000\r
"""


def test_the_first_format_of_a_video_line_stays() -> None:
    plain = TWO.replace(b"AVP 96 98", b"AVP 96")
    plain = plain.replace(b"a=rtpmap:98 H265/90000\r\na=fmtp:98 sprop-vps=x\r\n", b"")
    assert one_format(TWO) == plain


@pytest.mark.parametrize("sdp", [b"", b"v=0\n", b"m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000"])
def test_what_is_plain_stays_as_it_is(sdp: bytes) -> None:
    assert one_format(sdp) == sdp


@given(st.binary(max_size=200))
def test_nothing_that_a_camera_sends_breaks_it(noise: bytes) -> None:
    once = one_format(b"m=video 0 RTP/AVP 96 97\r\n" + noise)
    assert one_format(once) == once
    assert len(once) <= len(noise) + 25
