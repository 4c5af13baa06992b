"""Redirect rules: how many are followed, and when credentials are carried over."""

from __future__ import annotations

from dataclasses import replace

from cluster.media.urls import CameraUrl

MAX_REDIRECTS = 3
"""Video recorders redirect once, to the channel's URL; a load balancer may add another redirect."""
REDIRECTS = frozenset({301, 302, 303, 305, 307, 308})


def redirected(before: CameraUrl, after: CameraUrl) -> CameraUrl:
    """The URL to follow from `before` to `after`. Credentials are carried over only to the same
    host and port, and never from TLS to plain text, so that no one else receives them."""
    own = after.username or after.password is not None
    same = (after.host, after.effective_port) == (before.host, before.effective_port)
    if own or not same or (before.scheme.endswith("s") and not after.scheme.endswith("s")):
        return after
    return replace(after, username=before.username, password=before.password)
