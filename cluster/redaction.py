"""Takes credentials out of text. Rather hides too much than too little.

`cluster.log` runs every logged string through `redact`; `cluster.media.urls` shows single URLs with
`redact_parameters`.
"""

from __future__ import annotations

import logging
import re

HIDDEN = "***"

_NAMES = (
    "access_token|api_?key|auth(?:basic)?|key|login(?:pas|use)?|pas|pass|passwd|password|psk|psw"
    "|pwd|p|secret|signature|sig|tok|token|user(?:name)?|usr|u"
)

# Everything from :// to the last @ before the next URL on the line, which has white space, a quote
# or a bracket in front of it: a raw password may hold `@`, `/`, `?`, quotes, spaces and, between
# other characters, `://`. An address that stands right behind :// cannot be a user name.
_USERINFO = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)"
    r"(?!(?:localhost|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\])(?::\d{1,5})?(?:[/?#\s\"']|$))"
    r"(?:(?![\s\"'(<\[][a-z][a-z0-9+.-]*://)[^\n])*@",
    re.IGNORECASE,
)
# The same, inside a percent-encoded URL, such as a gateway's `?src=rtsp%3A%2F%2Fuser%3A…%40host`.
_ENCODED_USERINFO = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*%3A%2F%2F)[^\s\"'&]*%40", re.IGNORECASE
)
# `?user=a&password=b`: a value ends where the next pair begins, as the camera reads it too.
_QUERY = re.compile(rf"(?P<name>[?&;](?:{_NAMES})=)(?:(?![&;][\w.-]+=)\S)*", re.IGNORECASE)
_ENCODED_QUERY = re.compile(
    rf"(?P<name>(?:%3F|%26|%3B)(?:{_NAMES})%3D)(?:(?!%26[\w.-]+%3D)[^\s&\"'])*", re.IGNORECASE
)
# `/user=admin_password=x_channel=1.sdp`, common in video recorders.
_PATH = re.compile(rf"(?P<name>[/_](?:{_NAMES})=)(?:(?![_&;][A-Za-z]\w*=)[^\s?/])*", re.IGNORECASE)
# `s3://key:secret@bucket`: a raw secret may hold a slash. ARNs of access points hold colons.
_BUCKET = re.compile(r"(?:s3a?|gs|gcs)://(?:[^/]*@|(?!arn:)[^/]*:)", re.IGNORECASE)
_PAIR = re.compile(r"(?P<scheme>\b(?:s3a?|gs|gcs)://)(?!arn:)[^/\s\"']*:[^\s\"']*", re.IGNORECASE)
# A signed token (RFC 7519), wherever it stands: a link to media has one for its last part.
_TOKEN = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)


def redact_parameters(target: str) -> str:
    """Path and query of one URL with the values of credential-like parameters replaced."""
    return _PATH.sub(rf"\g<name>{HIDDEN}", _QUERY.sub(rf"\g<name>{HIDDEN}", target))


def redact(text: str) -> str:
    """`text` with every token, and the credentials of every URL in it, replaced; hosts stay
    readable."""
    text = _TOKEN.sub(HIDDEN, text)
    text = _USERINFO.sub(rf"\g<scheme>{HIDDEN}@", text)
    text = _PAIR.sub(rf"\g<scheme>{HIDDEN}", text)
    text = _ENCODED_USERINFO.sub(rf"\g<scheme>{HIDDEN}@", text)
    text = _ENCODED_QUERY.sub(rf"\g<name>{HIDDEN}", text)
    return redact_parameters(text) if "=" in text else text


def refuse_bucket_credentials(url: str) -> None:
    """Raises ValueError: the URL of a bucket has credentials in it, where nothing reads them; the
    text holds none."""
    if _BUCKET.match(url):
        raise ValueError(
            "the URL of a bucket holds no credentials; they belong into the environment"
        )


class RedactingFilter(logging.Filter):
    """For loggers of libraries that log whole URLs, as httpx does with every request."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True
