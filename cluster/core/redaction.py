"""Redacts credentials in text. When in doubt, it hides too much rather than too little.

`cluster.core.log` passes every logged string through `redact`; `cluster.media.urls` displays single
URLs with `redact_parameters`.

The text is untrusted, so the run time is linear in its length, whatever it contains. Two rules
ensure this: a pattern that could match anywhere in a run of characters starts only at the run's
beginning, and repetitions are possessive (`*+`), so nothing is scanned again from a later start or
for another split.
"""

from __future__ import annotations

import logging
import re
import string

HIDDEN = "***"

# Characters of one logged value: the longest URL that the API accepts.
LOG_MAX_TEXT = 8_192
# Characters of a traceback. That of a request has some 3,000 plus its message, so several causes
# and a message of the length above fit.
LOG_MAX_LINES = 32_768

_NAMES = (
    "access_token|api_?key|auth(?:basic)?|key|login(?:pas|use)?|pas|pass|passwd|password|psk|psw"
    "|pwd|p|secret|signature|sig|tok|token|user(?:name)?|usr|u"
)


def _scheme(apart: str) -> str:
    """Pattern of a URL's scheme: the rest of a run of scheme characters from its first letter,
    whatever precedes it: `_rtsp`, `1rtsp`. What follows is not tried as a start of its own.
    `fresh` matches if one of the characters `apart` precedes it."""
    return (
        r"(?<![a-z0-9+.-])[0-9+.-]*+"
        rf"(?P<scheme>(?P<fresh>(?<=[{apart}]))?[a-z][a-z0-9+.-]*+)"
    )


# An address directly after :// cannot be a user name.
_ADDRESS = r"(?:localhost|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]++\])(?::\d{1,5})?(?:[/?#\s\"']|$)"
_APART = r"\s\"'(<\["
# Credentials extend from :// to the last @ before the next URL on the line, which is preceded by
# white space, a quote or a bracket (`fresh`): a raw password may contain `@`, `/`, `?`, quotes,
# spaces and, between other characters, `://`. `opens`: credentials may begin here.
_USERINFO = re.compile(rf"\n|{_scheme(_APART)}://(?P<opens>(?!{_ADDRESS}))?", re.IGNORECASE)
# The same, inside a percent-encoded URL, such as a gateway's `?src=rtsp%3A%2F%2Fuser%3A…%40host`.
_ENCODED_APART = r"\s\"'&"
_ENCODED_USERINFO = re.compile(
    rf"[{_ENCODED_APART}]|{_scheme(_ENCODED_APART)}%3A%2F%2F(?P<opens>)", re.IGNORECASE
)
# `?user=a&password=b`: a value ends where the next pair begins, as cameras parse it too.
_QUERY = re.compile(
    rf"(?P<name>[?&;](?:{_NAMES})=)(?:(?![&;][\w.-]++=)\S)*+",
    re.IGNORECASE,
)
_ENCODED_QUERY = re.compile(
    rf"(?P<name>(?:%3F|%26|%3B)(?:{_NAMES})%3D)(?:(?!%26[\w.-]++%3D)[^\s&\"'])*+", re.IGNORECASE
)
# `/user=admin_password=x_channel=1.sdp`, common in video recorders: a value ends where `_`, `&` or
# `;` begins the next pair. Underscores are word characters too, so words are matched whole: a word
# not followed by `=` belongs to the value; of one followed by `=`, the part up to the first
# underscore that a name can follow does.
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
# Marks where text was cut: neither a token character nor one that can follow an address.
_CUT = "…"
# `s3://key:secret@bucket`: a raw secret may contain a slash. ARNs of access points contain colons.
# What was cut before its colon may be a key as well.
_BUCKET = re.compile(r"(?:s3a?|gs|gcs)://(?:[^/]*@|(?!arn:)[^/]*:)", re.IGNORECASE)
_PAIR = re.compile(
    rf"(?P<scheme>(?:s3a?|gs|gcs)://)(?!arn:)[^/\s\"':]*+(?::[^\s\"']*+|(?<={_CUT})$)",
    re.IGNORECASE,
)
# The same, inside a percent-encoded URL. In one that is cut, `_ENCODED_USERINFO` hides the rest.
_ENCODED_PAIR = re.compile(
    r"(?P<scheme>(?:s3a?|gs|gcs)%3A%2F%2F)(?!arn%3A)(?:(?!%2F|%3A)[^\s\"'&])*+%3A[^\s\"'&]*+",
    re.IGNORECASE,
)
# A signed token (RFC 7519), at any position: it is the last part of a media link. It may begin
# anywhere in a run of its characters (`before`).
_TOKEN = re.compile(
    r"(?<![\w-])(?P<before>(?:(?!eyJ[\w-])[\w-])*+)eyJ[\w-]++\.[\w-]++\.[\w-]*+", re.ASCII
)

# A token whose end was truncated, among the token characters before the cut.
_CUT_TOKEN = re.compile(r"eyJ.*")
_TOKEN_CHARACTERS = string.ascii_letters + string.digits + "_-."


def redact_parameters(target: str) -> str:
    """Redact the values of credential-like parameters in one URL's path and query."""
    return _PATH.sub(rf"\g<name>{HIDDEN}", _QUERY.sub(rf"\g<name>{HIDDEN}", target))


def redact(text: str, limit: int | None = None, *, cut: bool = False) -> str:
    """Redact all tokens, and the credentials of all URLs, in `text`; hosts stay readable.

    Args:
        limit: truncate `text` to this many characters and append the number omitted. A credential
            that is cut is redacted too, although its end is missing. None: no limit.
        cut: `text` is only the beginning of a text, so that its last credential may lack its end;
            "…" is appended.
    """
    omitted = 0 if limit is None else max(0, len(text) - limit)
    if omitted == 0:
        return _redacted(text + _CUT, cut=True) if cut else _redacted(text)
    return f"{_redacted(text[:limit] + _CUT, cut=True)} [{omitted:,} more characters]"


def redact_lines(text: str, limit: int) -> str:
    """Like `redact`, for multi-line text whose last lines matter most, such as a traceback: beyond
    `limit` characters, keeps whole lines from the end, and as much from the beginning.
    """
    if len(text) <= limit:
        return redact(text)
    half = limit // 2
    # No credential spans lines, so one that begins before the cut also ends before it.
    line = text.find("\n", len(text) - half)
    if line < 0:
        return redact(text, limit)
    return redact(text[:line], half) + redact(text[line:])


def _redacted(text: str, *, cut: bool = False) -> str:
    """`cut`: `text` was truncated and ends with `_CUT`."""
    text = _TOKEN.sub(rf"\g<before>{HIDDEN}", text)
    if cut:
        known = text.removesuffix(_CUT)
        rest = len(known.rstrip(_TOKEN_CHARACTERS))
        text = known[:rest] + _CUT_TOKEN.sub(HIDDEN, known[rest:]) + _CUT
    text = _hidden_up_to_last("@", _USERINFO, text, cut)
    text = _PAIR.sub(rf"\g<scheme>{HIDDEN}", text)
    text = _hidden_up_to_last("%40", _ENCODED_USERINFO, text, cut)
    text = _ENCODED_PAIR.sub(rf"\g<scheme>{HIDDEN}", text)
    text = _ENCODED_QUERY.sub(rf"\g<name>{HIDDEN}", text)
    return redact_parameters(text) if "=" in text else text


def _hidden_up_to_last(end: str, marks: re.Pattern[str], text: str, cut: bool) -> str:
    """Redact `text` from a URL's scheme to the last `end` in its section.

    Args:
        end: the delimiter after credentials.
        marks: finds the ends of sections, i.e. matches without `scheme` or with `fresh`; and the
            starts of credentials, i.e. the ends of matches with `opens`.
        cut: whether credentials in the last section extend beyond the end of the text.
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
    """Check that a bucket's URL has no credentials, which would not be used there.

    Raises:
        ValueError: it has some; the message does not contain them.
    """
    if _BUCKET.match(url):
        raise ValueError("a bucket URL must not contain credentials; put them into the environment")


class RedactingFilter(logging.Filter):
    """A filter for the loggers of libraries that log URLs, as httpx does for every request."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage(), LOG_MAX_TEXT), ()
        if record.exc_info:
            # A formatter uses this text, if it is set, instead of creating its own.
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact_lines(record.exc_text, LOG_MAX_LINES)
        if record.stack_info:
            record.stack_info = redact_lines(record.stack_info, LOG_MAX_LINES)
        return True
