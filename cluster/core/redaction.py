"""Takes credentials out of text. Rather hides too much than too little.

`cluster.core.log` runs every logged string through `redact`; `cluster.media.urls` shows single URLs
with `redact_parameters`.

The text may come from a stranger, so all of it takes time proportional to its length, whatever it
holds. Two rules keep it so: a pattern that can begin anywhere in a run of characters begins only at
the run's start, and a repetition is possessive (`*+`), so nothing is read again from a later start
or for another split.
"""

from __future__ import annotations

import logging
import re
import string

HIDDEN = "***"

# Characters of one value in a log: the longest address that the API takes.
LOG_MAX_TEXT = 8_192
# Of a traceback: one of a request has some 3,000 characters and its message, so that several causes
# and a message of the length above fit.
LOG_MAX_LINES = 32_768

_NAMES = (
    "access_token|api_?key|auth(?:basic)?|key|login(?:pas|use)?|pas|pass|passwd|password|psk|psw"
    "|pwd|p|secret|signature|sig|tok|token|user(?:name)?|usr|u"
)


def _scheme(apart: str) -> str:
    """Pattern of a URL's scheme: the rest of a run of scheme characters from its first word that
    begins with a letter. What stands before that word in the run is skipped, not tried as a start
    of its own. `fresh`: one of the characters `apart` stands in front of it."""
    return (
        r"(?<![a-z0-9+.-])(?:(?!\b[a-z])[a-z0-9+.-])*+"
        rf"(?P<scheme>(?P<fresh>(?<=[{apart}]))?[a-z][a-z0-9+.-]*+)"
    )


# An address that stands right behind :// cannot be a user name.
_ADDRESS = r"(?:localhost|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]++\])(?::\d{1,5})?(?:[/?#\s\"']|$)"
_APART = r"\s\"'(<\["
# Credentials reach from :// to the last @ before the next URL on the line, which has white space, a
# quote or a bracket in front of it (`fresh`): a raw password may hold `@`, `/`, `?`, quotes, spaces
# and, between other characters, `://`. `opens`: credentials may begin here.
_USERINFO = re.compile(rf"\n|{_scheme(_APART)}://(?P<opens>(?!{_ADDRESS}))?", re.IGNORECASE)
# The same, inside a percent-encoded URL, such as a gateway's `?src=rtsp%3A%2F%2Fuser%3A…%40host`.
_ENCODED_APART = r"\s\"'&"
_ENCODED_USERINFO = re.compile(
    rf"[{_ENCODED_APART}]|{_scheme(_ENCODED_APART)}%3A%2F%2F(?P<opens>)", re.IGNORECASE
)
# `?user=a&password=b`: a value ends where the next pair begins, as the camera reads it too.
_QUERY = re.compile(
    rf"(?P<name>[?&;](?:{_NAMES})=)(?:(?![&;][\w.-]++=)\S)*+",
    re.IGNORECASE,
)
_ENCODED_QUERY = re.compile(
    rf"(?P<name>(?:%3F|%26|%3B)(?:{_NAMES})%3D)(?:(?!%26[\w.-]++%3D)[^\s&\"'])*+", re.IGNORECASE
)
# `/user=admin_password=x_channel=1.sdp`, common in video recorders: a value ends where `_`, `&` or
# `;` begins the next pair. Underscores are word characters too, so words are taken whole: one
# without `=` behind it belongs to the value, one with it up to the first underscore that a name can
# follow.
_PATH = re.compile(
    rf"""(?P<name>[/_](?:{_NAMES})=)
    (?:
        \w++(?!=)
      | (?:(?!_[A-Za-z])\w)++
      | [&;](?![A-Za-z]\w*+=)
      | [^\w\s?/&;]
    )*+""",
    re.IGNORECASE | re.VERBOSE,
)
# `s3://key:secret@bucket`: a raw secret may hold a slash. ARNs of access points hold colons.
_BUCKET = re.compile(r"(?:s3a?|gs|gcs)://(?:[^/]*@|(?!arn:)[^/]*:)", re.IGNORECASE)
_PAIR = re.compile(
    r"(?P<scheme>\b(?:s3a?|gs|gcs)://)(?!arn:)[^/\s\"':]*+:[^\s\"']*+", re.IGNORECASE
)
# A signed token (RFC 7519), wherever it stands: a link to media has one for its last part. It may
# begin inside of a run of its characters (`before`), at a word.
_TOKEN = re.compile(
    r"(?<![\w-])(?P<before>(?:(?!\beyJ[\w-])[\w-])*+)eyJ[\w-]++\.[\w-]++\.[\w-]*+", re.ASCII
)

# A token whose end was cut away, among the characters of tokens that stand before the cut.
_CUT_TOKEN = re.compile(r"\beyJ.*", re.ASCII)
_TOKEN_CHARACTERS = string.ascii_letters + string.digits + "_-."
# Stands where text was cut: no character of a token, and none that can follow an address.
_CUT = "…"


def redact_parameters(target: str) -> str:
    """Path and query of one URL with the values of credential-like parameters replaced."""
    return _PATH.sub(rf"\g<name>{HIDDEN}", _QUERY.sub(rf"\g<name>{HIDDEN}", target))


def redact(text: str, limit: int | None = None) -> str:
    """`text` with every token, and the credentials of every URL in it, replaced; hosts stay
    readable.

    Args:
        limit: characters of `text` to look at and to show; the number of those left out is added.
            What the cut makes of a credential is hidden too, though its end is not there to be
            recognized. None: all of it.
    """
    omitted = 0 if limit is None else max(0, len(text) - limit)
    if omitted == 0:
        return _redacted(text)
    return f"{_redacted(text[:limit] + _CUT, cut=True)} [{omitted:,} more characters]"


def redact_lines(text: str, limit: int) -> str:
    """As `redact`, of a text of many lines whose last ones matter most, such as a traceback: where
    it is longer than `limit` characters, whole lines from its end stay, and as much of its begin.
    """
    if len(text) <= limit:
        return redact(text)
    half = limit // 2
    # No credential reaches over a line's end, so that one which begins before the cut ends there.
    line = text.find("\n", len(text) - half)
    if line < 0:
        return redact(text, limit)
    return redact(text[:line], half) + redact(text[line:])


def _redacted(text: str, *, cut: bool = False) -> str:
    """`cut`: `text` ends with `_CUT`; what stood there, nobody knows."""
    text = _TOKEN.sub(rf"\g<before>{HIDDEN}", text)
    if cut:
        known = text.removesuffix(_CUT)
        rest = len(known.rstrip(_TOKEN_CHARACTERS))
        text = known[:rest] + _CUT_TOKEN.sub(HIDDEN, known[rest:]) + _CUT
    text = _hidden_up_to_last("@", _USERINFO, text, cut)
    text = _PAIR.sub(rf"\g<scheme>{HIDDEN}", text)
    text = _hidden_up_to_last("%40", _ENCODED_USERINFO, text, cut)
    text = _ENCODED_QUERY.sub(rf"\g<name>{HIDDEN}", text)
    return redact_parameters(text) if "=" in text else text


def _hidden_up_to_last(end: str, marks: re.Pattern[str], text: str, cut: bool) -> str:
    """`text` with what stands from a URL's scheme to the last `end` of its stretch replaced.

    Args:
        end: what ends credentials.
        marks: finds where a stretch ends: every match that has no `scheme`, or that is `fresh`; and
            where credentials may begin: at the end of every match that `opens`.
        cut: credentials that begin in the last stretch reach over the end of the text.
    """
    shown: list[str] = []
    done = 0
    begin: int | None = None
    for mark in marks.finditer(text):
        if begin is not None and (mark["scheme"] is None or mark["fresh"] is not None):
            last = text.rfind(end, begin, mark.start())
            if last >= 0:
                shown += (text[done:begin], f"{HIDDEN}@")
                done = last + len(end)
            begin = None
        if begin is None and mark["opens"] is not None:
            begin = mark.end()
    if begin is not None:
        last = len(text) if cut else text.rfind(end, begin)
        if last >= 0:
            shown += (text[done:begin], HIDDEN if cut else f"{HIDDEN}@")
            done = last + len(end)
    return "".join((*shown, text[done:]))


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
        record.msg, record.args = redact(record.getMessage(), LOG_MAX_TEXT), ()
        if record.exc_info:
            # A formatter takes this text, where there is one, in place of making its own.
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact_lines(record.exc_text, LOG_MAX_LINES)
        if record.stack_info:
            record.stack_info = redact_lines(record.stack_info, LOG_MAX_LINES)
        return True
