"""A video's name for people holds no piece of its URL's credentials."""

from __future__ import annotations

import pytest

from cluster.batch.remote import shown_name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/videos/gate.mp4", "gate.mp4"),
        ("s3://bucket/2026/gate.mp4", "gate.mp4"),
        ("ftp://user:pa/ssw0rd@host/gate.mp4", "gate.mp4"),
        ("ftp://user:pa/ssw0rd@host", "***@host"),
        ("https://host/gate.mp4?sig=S3cr/3t", "gate.mp4?sig=***"),
    ],
)
def test_a_password_with_a_slash_is_not_taken_for_a_name(url: str, name: str) -> None:
    assert shown_name(url) == name
