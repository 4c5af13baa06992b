"""Redaction runs in linear time, and hides everything that simpler patterns hide."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster.core.redaction import HIDDEN, redact, redact_lines, redact_parameters
from tests.growth import assert_linear

# ---------------------------------------------------------------- what must be hidden

# The patterns as plainly as they can be written: each may begin anywhere and read on to the end of
# the text, which on some inputs takes time quadratic in its length.
_NAMES = (
    "access_token|api_?key|auth(?:basic)?|key|login(?:pas|use)?|pas|pass|passwd|password|psk|psw"
    "|pwd|p|secret|signature|sig|tok|token|user(?:name)?|usr|u"
)
_PLAIN = (
    (r"eyJ[\w-]+\.[\w-]+\.[\w-]*", HIDDEN, re.ASCII),
    (
        r"([a-z][a-z0-9+.-]*://)"
        r"(?!(?:localhost|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\])(?::\d{1,5})?(?:[/?#\s\"']|$))"
        r"(?:(?![\s\"'(<\[][a-z][a-z0-9+.-]*://)[^\n])*@",
        rf"\1{HIDDEN}@",
        re.IGNORECASE,
    ),
    (
        r"((?:s3a?|gs|gcs)://)(?!arn:)[^/\s\"']*:[^\s\"']*",
        rf"\1{HIDDEN}",
        re.IGNORECASE,
    ),
    (r"([a-z][a-z0-9+.-]*%3A%2F%2F)[^\s\"'&]*%40", rf"\1{HIDDEN}@", re.IGNORECASE),
    (
        r"((?:s3a?|gs|gcs)%3A%2F%2F)(?!arn%3A)(?:(?!%2F|%3A)[^\s\"'&])*%3A[^\s\"'&]*",
        rf"\1{HIDDEN}",
        re.IGNORECASE,
    ),
    (
        rf"((?:%3F|%26|%3B)(?:{_NAMES})%3D)(?:(?!%26[\w.-]+%3D)[^\s&\"'])*",
        rf"\1{HIDDEN}",
        re.IGNORECASE,
    ),
    (rf"([?&;](?:{_NAMES})=)(?:(?![&;][\w.-]+=)\S)*", rf"\1{HIDDEN}", re.IGNORECASE),
    (rf"([/_](?:{_NAMES})=)(?:(?![_&;][A-Za-z]\w*=)[^\s?/])*", rf"\1{HIDDEN}", re.IGNORECASE),
)


def plainly_redacted(text: str) -> str:
    for pattern, shown, flags in _PLAIN:
        text = re.sub(pattern, shown, text, flags=flags)
    return text


PIECES = [
    *"a_-+./:@?&;=%\"'(<[]\n 1é|",
    "://",
    "a://",
    "s3://",
    "gs://",
    "arn:",
    "rtsp://",
    "_rtsp://",
    "1rtsp://",
    "localhost",
    "127.0.0.1",
    "[::1]",
    ":80",
    "%3A%2F%2F",
    "s3%3A%2F%2F",
    "arn%3A",
    "%3A",
    "%2F",
    "%40",
    "%26",
    "%3D",
    "p=",
    "%3Fp%3D",
    "user",
    "password=",
    "eyJ",
    "eyJa.",
    "_eyJa.",
    "hunter2",
    "\u017f",  # a letter that matches `s` where case is ignored
]
texts = st.lists(st.sampled_from(PIECES), max_size=24).map("".join)


@settings(max_examples=3_000, deadline=None)
@given(texts | st.text(max_size=40))
@example("a%3A%2F%2Fx[b%3A%2F%2Fy%40")
@example("%40-a%3A%2F%2Fx%40")
@example("é-rtsp://a@b")
@example("/p=a_b_c=d_e")
def test_it_hides_what_the_plain_patterns_hide_and_shows_the_rest(text: str) -> None:
    assert redact(text) == plainly_redacted(text)


# ---------------------------------------------------------------- how long it may take

UNITS = [
    "a.",
    "a+",
    "://",
    "a://",
    " a://",
    "s3://",
    "s3://a",
    "?p=",
    "&p=",
    ";p=",
    "/p=",
    "_p=",
    "_a",
    "&a",
    "eyJ",
    "eyJ-",
    "eyJa.",
    "eyJa.eyJa.",
    "_eyJ",
    "_eyJa.",
    "1a://",
    "_a://",
    "_1",
    "%3A%2F%2F",
    "s3%3A%2F%2F",
    "s3%3A%2F%2Fa",
    "s3%3A%2F%2Fa%3A",
    "gs%3A%2F%2Farn%3A",
    "%3A",
    "%2F",
    "a%3A%2F%2F",
    "%26p%3D",
    "%26a",
    "%40",
    "@",
    "a@",
    "'",
    '"a.',
    "(a.",
    "[",
    "://[",
    "://[1:",
    "://1.1.1.1",
    "\n",
    "\na://",
    " ",
    "a",
    "1",
    "é",
    "é.",
    "-",
    "=",
    "p=a_b=",
]


def repeated(before: str, unit: str, after: str, size: int) -> str:
    middle = max(0, size - len(before) - len(after))
    return before + (unit * (middle // len(unit) + 1))[:middle] + after


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("before", ["", "/p=", "rtsp://a", "?p=", "a%3A%2F%2F"])
def test_repeated_pieces(unit: str, before: str) -> None:
    assert_linear(redact, lambda size: repeated(before, unit, " end", size), 2_048)
    assert_linear(redact_parameters, lambda size: repeated(before, unit, "", size), 2_048)


@pytest.mark.parametrize("unit", ["a.", "a://", "@", "_p=", "eyJ-", "a%3A%2F%2F"])
def test_a_megabyte(unit: str) -> None:
    assert_linear(redact, lambda size: repeated("", unit, "", size), 131_072)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=3).map("".join),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=2).map("".join),
)
def test_repeated_mixtures(before: str, unit: str, after: str) -> None:
    assert_linear(redact, lambda size: repeated(before, unit, after, size), 2_048)


# ---------------------------------------------------------------- text that was cut

SECRET = "S3cr3tPassw0rd"
CREDENTIALS = [
    f"cannot open rtsp://admin:{SECRET}@10.0.0.5/s now",
    f"cannot open rtsp://{SECRET}@10.0.0.5/s now",
    f"rtsp://localhost:{SECRET}@10.0.0.5/s",
    f"rtsp://localhost:1{SECRET}@10.0.0.5/s",
    f"rtsp://10.0.0.1{SECRET}:x@10.0.0.5/s",
    f"rtsp://admin:a b/{SECRET}@10.0.0.5/s",
    f"s3://{SECRET}:b@bucket/site",
    f"s3://a:{SECRET}/b is wrong",
    f"gs://{SECRET}:b is wrong",
    f"GET /?src=rtsp%3A%2F%2Fuser%3A{SECRET}%40host&x=1",
    f"GET /?src=s3%3A%2F%2Fkey%3A{SECRET}%40bucket&x=1",
    f"GET /?src=s3%3A%2F%2Fkey%3A{SECRET}%2Fb&x=1",
    f"GET /?src=gs%3a%2f%2f{SECRET}%3ab is wrong",
    f"GET /?src=%22rtsp%3A%2F%2Fuser%3A{SECRET}%40host%22",
    f"_rtsp://admin:{SECRET}@10.0.0.5/s",
    f"1rtsp://admin:{SECRET}@10.0.0.5/s",
    f"%20rtsp://admin:{SECRET}@10.0.0.5/s",
    f"_s3://a:{SECRET}/b",
    f"1rtsp%3A%2F%2Fuser%3A{SECRET}%40host",
    f"link_eyJhbGciOi.{SECRET}.{SECRET}",
    f"GET /v?user=a&password={SECRET}&ch=1",
    f"/user=admin_password={SECRET}_channel=1.sdp",
    f"GET /media/eyJ{SECRET}.{SECRET}.{SECRET} 200",
    f"GET /media/eyJhbGciOi.{SECRET}.{SECRET} 200",
    f"GET /media/x-eyJhbGciOi.eyJhdWQi.{SECRET} 200",
]


@pytest.mark.parametrize("text", CREDENTIALS)
def test_a_cut_shows_no_part_of_a_credential(text: str) -> None:
    assert SECRET[:2] not in redact(text)
    for limit in range(len(text)):
        assert SECRET[:2] not in redact(text, limit), limit
        assert SECRET[:2] not in redact(text[:limit], cut=True), limit


@settings(max_examples=1_000, deadline=None)
@given(
    st.lists(st.sampled_from([*PIECES, SECRET, SECRET]), max_size=16).map("".join),
    st.integers(0, 120),
)
@example("s3://localhost?S3cr3tPassw0rd://", 17)
def test_what_is_hidden_in_the_whole_is_hidden_in_its_head(text: str, limit: int) -> None:
    if SECRET[:2] not in redact(text):
        assert SECRET[:2] not in redact(text, limit)
        assert SECRET[:2] not in redact(text[:limit], limit, cut=True)


def test_a_cut_says_how_much_is_missing() -> None:
    assert redact("x" * 1_100, 100) == "x" * 100 + "… [1,000 more characters]"
    assert redact("x" * 100, 100) == "x" * 100
    assert redact("see http://cam/path for it", 20) == "see http://*** [6 more characters]"


def test_many_lines_keep_their_begin_and_their_last_lines() -> None:
    text = "\n".join(f"line {n} rtsp://a:{SECRET}@h" for n in range(1_000))
    shown = redact_lines(text, 2_000)
    assert shown.startswith("line 0 rtsp://***@h\n")
    assert shown.endswith("\nline 999 rtsp://***@h")
    assert "more characters]\n" in shown
    assert SECRET[:2] not in shown
    assert len(shown) < 2_100


@pytest.mark.parametrize("limit", range(20, 120))
def test_many_lines_show_no_piece_of_a_credential(limit: int) -> None:
    text = "\n".join(CREDENTIALS)
    shown = redact_lines(text, limit)
    assert SECRET[:2] not in shown
    assert SECRET[-4:] not in shown


def test_one_long_line_is_cut_at_its_end() -> None:
    assert redact_lines("x" * 1_000, 100) == "x" * 100 + "… [900 more characters]"


def test_the_measurement_finds_a_quadratic_pattern() -> None:
    with pytest.raises(AssertionError, match="times as long"):
        assert_linear(plainly_redacted, lambda size: repeated("", "a.", "", size), 512)
