"""Redirect rules: how many are followed, and which credentials are used where they lead."""

from __future__ import annotations

from dataclasses import replace

from cluster.media.target import Target
from cluster.media.urls import CameraUrl

MAX_REDIRECTS = 3
"""Video recorders redirect once, to the channel's URL; a load balancer may add another redirect."""
REDIRECTS = frozenset({301, 302, 303, 305, 307, 308})


def led_to(target: Target, url: CameraUrl) -> Target:
    """Where a camera leads to by a redirect or playlist.

    The target's credentials are carried over only to the same host and port, and never from TLS to
    plain text, so that no one else receives them. Credentials in `url` are used only at the same
    host, on any port: a URL of RFC 2326 (section 3.2) has none at all, and a camera that names
    another host with passwords of its choice would have the relay guess them there.
    """
    before = target.url
    if url.username or url.password is not None:
        if url.host == before.host:
            return target.at(url, led=True)
        return target.at(replace(url, username="", password=None), led=False)
    same = (url.host, url.effective_port) == (before.host, before.effective_port)
    if not same or (before.scheme.endswith("s") and not url.scheme.endswith("s")):
        return target.at(url, led=False)
    carried = replace(url, username=before.username, password=before.password)
    return target.at(carried, led=target.led)
