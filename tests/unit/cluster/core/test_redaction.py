"""No password survives a log line, however it stands in a URL."""

from __future__ import annotations

import logging
from urllib.parse import quote

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from cluster.core.log import configure_logging, redact
from cluster.core.redaction import RedactingFilter
from cluster.core.settings import LogSettings

passwords = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), max_size=20)


@given(passwords)
@example("://")
def test_credentials_in_front_of_the_host(password: str) -> None:
    secret = f"S3cr3t{password}T41l"
    for written in (secret, quote(secret, safe="")):
        line = redact(f"cannot open 'rtsp://admin:{written}@10.0.0.5:554/s' now")
        assert "S3cr3t" not in line
        assert "T41l" not in line
        assert "10.0.0.5:554/s" in line


@given(passwords)
def test_credentials_in_the_query_and_in_encoded_urls(password: str) -> None:
    secret = quote(f"S3cr3t{password}T41l", safe="")
    source = quote(f"rtsp://admin:{secret}@10.0.0.5/s?password={secret}", safe="")
    for line in (
        f"GET http://10.0.0.5/v?user=admin&password={secret}&channel=1",
        f"HTTP Request: PUT http://127.0.0.1:1984/api/streams?name=a.b&src={source} 200",
    ):
        shown = redact(line)
        assert "S3cr3t" not in shown
        assert "T41l" not in shown


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pull rtsp://a:b@h1/x to rtsp://c:d@h2/y", "pull rtsp://***@h1/x to rtsp://***@h2/y"),
        (
            "rtsp://127.0.0.1:8554/a of bob@example.com",
            "rtsp://127.0.0.1:8554/a of bob@example.com",
        ),
        ("rtsp://[::1]:8554/a@b", "rtsp://[::1]:8554/a@b"),
        ("http://cam/v?user=a&pwd=b&ch=1 x=2", "http://cam/v?user=***&pwd=***&ch=1 x=2"),
        ("redis://:secret@redis:6379/0", "redis://***@redis:6379/0"),
        ("GET /media/eyJhbGciOi.eyJhdWQi.s-_g 200", "GET /media/*** 200"),
        ("token eyJhbGciOi.eyJhdWQi.s-_g, again", "token ***, again"),
        ("eyJhbGciOi and a.b.c", "eyJhbGciOi and a.b.c"),
        ("nothing to hide", "nothing to hide"),
        ("src=_rtsp://user:pw@h/x", "src=_rtsp://***@h/x"),
        ("1rtsp://user:pw@h/x", "1rtsp://***@h/x"),
        ("link_eyJhbGciOi.eyJhdWQi.s-_g, again", "link_***, again"),
        ("s3%3A%2F%2Fkey%3Asecret%40bucket", "s3%3A%2F%2F***@bucket"),
        ("s3%3A%2F%2Fkey%3Asecret", "s3%3A%2F%2F***"),
        ("s3%3A%2F%2Fbucket%2Fa%3Ab", "s3%3A%2F%2Fbucket%2Fa%3Ab"),
    ],
)
def test_text_without_credentials_is_unchanged(line: str, expected: str) -> None:
    assert redact(line) == expected


def test_the_filter_redacts_arguments_too() -> None:
    record = logging.LogRecord("httpx", 20, "f", 1, "GET %s", ("rtsp://a:hunter2@h/x",), None)
    assert RedactingFilter().filter(record)
    assert record.getMessage() == "GET rtsp://***@h/x"


def test_log_lines_hide_credentials_wherever_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config()
    configure_logging(LogSettings())
    try:
        url = "rtsp://admin:hunter2@10.0.0.5/s?pwd=hunter2"
        log = structlog.get_logger()
        log.info("camera", url=url, many=[{"url": url}], error=ValueError(url), n=1, ok=True)
        try:
            raise ValueError(url)
        except ValueError:
            log.exception("failed")
    finally:
        structlog.configure(**before)
    shown = capsys.readouterr().err
    assert "hunter2" not in shown
    assert "10.0.0.5/s" in shown
    assert '"n": 1' in shown


@pytest.mark.parametrize("scheme", ["s3", "S3A", "gs"])
def test_credentials_in_place_of_a_bucket(scheme: str) -> None:
    assert redact(f"{scheme}://AKIA1:se/cr+et is wrong") == f"{scheme}://*** is wrong"
    assert redact(f"{scheme}://AKIA1:se/cr+et@bucket/site") == f"{scheme}://***@bucket/site"


@pytest.mark.parametrize("url", ["s3://bucket/a:b", "s3://arn:aws:s3:x:1:accesspoint/y/site"])
def test_a_bucket_stays_readable(url: str) -> None:
    assert redact(f"no video at {url}.") == f"no video at {url}."
