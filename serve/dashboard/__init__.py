"""The dashboard: where its built files lie, and the policy that a browser is to hold it to.

The sources are in `web/` (TypeScript, `npm run build`); the files a user gets are in `static/`.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pipelines.errors import ConfigError

STATIC_DIR = Path(__file__).parent / "static"
"""What `npm run build` wrote: two pages and, in `assets/`, files with a hash in their names."""

_HTTP_SCHEME = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
_SOCKET_SCHEME = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}

# What both pages are held to: nothing foreign, nothing inline, in no other site's frame.
_EVERY_PAGE = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)


def _policy(*directives: str) -> str:
    return "; ".join((*_EVERY_PAGE, *directives))


# Swagger UI's style sheet has its icons as data: URLs.
DOCS_POLICY = _policy("img-src 'self' data:", "connect-src 'self'")
"""The Content-Security-Policy header of /docs."""


def is_built() -> bool:
    """Whether there is a page to serve."""
    return (STATIC_DIR / "index.html").is_file()


def content_security_policy(livekit_url: str) -> str:
    """The Content-Security-Policy header of the page.

    Everything comes from our own origin, except the connection to the LiveKit server: its socket,
    and the HTTP request by which the client learns why a socket was refused.

    Args:
        livekit_url: the URL that browsers get from `/join` (ws, wss, http or https).

    Raises:
        ConfigError: it is no such URL.
    """
    parts = urlsplit(livekit_url)
    if parts.scheme not in _HTTP_SCHEME or not parts.netloc or "@" in parts.netloc:
        raise ConfigError(
            f"livekit.public_url {livekit_url!r} is not a ws:// or wss:// URL without credentials."
        )
    socket = f"{_SOCKET_SCHEME[parts.scheme]}://{parts.netloc}"
    http = f"{_HTTP_SCHEME[parts.scheme]}://{parts.netloc}"
    return _policy(
        # Snapshots are fetched with the key in a header and shown as blob URLs.
        "img-src 'self' blob:",
        # Live pictures are blob URLs, clips come by signed addresses of our own.
        "media-src 'self' blob:",
        f"connect-src 'self' {socket} {http}",
        "worker-src 'self'",
        "manifest-src 'self'",
    )
