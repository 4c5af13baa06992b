"""SDP of cameras, made plain for the readers behind the relay. Pure."""

from __future__ import annotations

import re

_ATTRIBUTE = re.compile(rb"a=(?:rtpmap|fmtp|rtcp-fb|framesize):(\d{1,3})[ \t]")


def one_format(sdp: bytes) -> bytes:
    """The description with one format per line of video: the first, which is the preferred one (RFC
    4566, 5.14).

    Some cameras offer H.264 and H.265 in one line and send the first. libav takes the last.
    """
    dropped: frozenset[bytes] = frozenset()
    kept: list[bytes] = []
    for line in sdp.splitlines(keepends=True):
        if line.startswith(b"m="):
            fields = line.split()
            is_video = fields[0] == b"m=video" and len(fields) > 4
            dropped = frozenset(fields[4:]) - {fields[3]} if is_video else frozenset()
            kept.append(b" ".join(fields[:4]) + b"\r\n" if dropped else line)
            continue
        attribute = _ATTRIBUTE.match(line)
        if attribute is None or attribute[1] not in dropped:
            kept.append(line)
    return b"".join(kept)
