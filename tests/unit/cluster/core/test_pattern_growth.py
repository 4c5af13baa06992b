"""All other patterns applied to untrusted text run in linear time, too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster.core.redaction import refuse_bucket_credentials
from cluster.demo.rtsp import _DIGEST_FIELD
from cluster.inference.checkpoint import _first_line
from cluster.inference.clip_text import _WORDS
from cluster.local.doctor import _number
from cluster.media.errors import problem_of
from cluster.media.urls import MAX_URL_LENGTH, parse_camera_url, public_url
from cluster.stores.audit.events import plain
from pipelines.errors import InputError
from serve.api.ranges import same_version, wanted_bytes
from tests.growth import TIMES, assert_linear


def parsed(text: str) -> None:
    try:
        parse_camera_url(text)
    except InputError:
        return


def refused(text: str) -> None:
    try:
        refuse_bucket_credentials(text)
    except ValueError:
        return


WORK: dict[str, tuple[Callable[[str], object], str, list[str]]] = {
    "range": (lambda text: wanted_bytes(text + "x", 9), "bytes=", [" ", "1", "-", "1-", ","]),
    "etag": (lambda text: same_version(text, '"x"', weak=True), "", [",", '"', "W/", " "]),
    "digest": (_DIGEST_FIELD.findall, "", ["a", "a=", 'a="', '="', "a,", '"']),
    "message": (lambda text: _first_line(ValueError(text)), "", ["/", "/a", "a/", "model.pt", "."]),
    "version": (_number, "", ["1", "1.", ".", "1.1", "a1"]),
    "problem": (problem_of, "", ["a", "4", "401", "unsupported ", "lookup", "wrong "]),
    "words": (_WORDS.findall, "", ["a", "1", "'", "'s", "_", ".", " ", "é"]),
    "audit": (lambda text: plain(text, len(text)), "", ["atk_", "a", "_", "atk_aaaaaaaa_", "\0"]),
    "bucket": (refused, "s3://", ["a", ":", "@", "/", "arn:"]),
}
CASES = [(name, unit) for name, (_, _, units) in WORK.items() for unit in units]


@pytest.mark.parametrize(("name", "unit"), CASES)
def test_repeated_pieces(name: str, unit: str) -> None:
    work, before, _ = WORK[name]
    assert_linear(work, lambda size: (before + unit * size)[:size], 2_048)


@pytest.mark.parametrize(
    "unit", ["@", "a@", "a:@", ":", ".", "a.", "-", "a-", "[", "%", "%4", "/", "?", "#", "é", "1."]
)
@pytest.mark.parametrize("work", [parsed, public_url])
def test_camera_urls_within_their_limit(work: Callable[[str], object], unit: str) -> None:
    """Each `@` begins a reading of its own, which holds what is before and after it."""
    size = MAX_URL_LENGTH // TIMES
    assert_linear(work, lambda size: ("rtsp://a:" + unit * size)[:size], size)


@pytest.mark.parametrize("unit", ["a", "@", "a:@"])
def test_longer_text_is_not_a_camera_url(unit: str) -> None:
    text = "rtsp://" + unit * MAX_URL_LENGTH
    assert public_url(text) == "rtsp://***"
    assert_linear(public_url, lambda size: ("rtsp://" + unit * size)[:size], 131_072)
