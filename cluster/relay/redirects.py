"""Where a camera may send us, and with what."""

from __future__ import annotations

from dataclasses import replace

from cluster.media.urls import CameraUrl

MAX_REDIRECTS = 3
"""Video recorders redirect once, to the channel's own address; a load balancer may, before that."""
REDIRECTS = frozenset({301, 302, 303, 305, 307, 308})


def redirected(before: CameraUrl, after: CameraUrl) -> CameraUrl:
    """`after`, which a camera at `before` named. Credentials go along only to the same host and
    port, and not from TLS to none, so that nobody else is shown them."""
    own = after.username or after.password is not None
    same = (after.host, after.effective_port) == (before.host, before.effective_port)
    if own or not same or (before.scheme.endswith("s") and not after.scheme.endswith("s")):
        return after
    return replace(after, username=before.username, password=before.password)
