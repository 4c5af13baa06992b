"""Which bytes a Range header asks for, by RFC 9110."""

from __future__ import annotations

import pytest

from serve.api.ranges import Wanted, same_version, wanted_bytes

SIZE = 1_000
WHOLE = Wanted(0, SIZE, partial=False)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, WHOLE),
        ("bytes=0-", Wanted(0, 1_000, partial=True)),
        ("bytes=0-0", Wanted(0, 1, partial=True)),
        ("bytes=10-19", Wanted(10, 20, partial=True)),
        ("bytes=999-999", Wanted(999, 1_000, partial=True)),
        ("bytes=990-5000", Wanted(990, 1_000, partial=True)),
        ("bytes=-10", Wanted(990, 1_000, partial=True)),
        ("bytes=-5000", Wanted(0, 1_000, partial=True)),
        ("Bytes = 10 - 19", Wanted(10, 20, partial=True)),
        # Not satisfiable.
        ("bytes=1000-", None),
        ("bytes=5000-6000", None),
        ("bytes=-0", None),
        # No range that is understood: ignored.
        ("bytes=20-10", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=0-1,5-6", WHOLE),
        ("pictures=0-1", WHOLE),
        ("bytes=a-b", WHOLE),
        ("bytes=0x10-20", WHOLE),
        ("bytes=\u0661-2", WHOLE),
        ("bytes=" + "9" * 30 + "-", WHOLE),
        ("", WHOLE),
    ],
)
def test_of_a_thousand_bytes(header: str | None, wanted: Wanted | None) -> None:
    assert wanted_bytes(header, SIZE) == wanted


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-1", "bytes=0-0"])
def test_an_empty_file_has_no_range(header: str) -> None:
    assert wanted_bytes(header, 0) is None


@pytest.mark.parametrize(
    ("header", "weak", "same"),
    [
        ('"v1"', False, True),
        ('"v2"', False, False),
        ('W/"v1"', False, False),
        ("Wed, 25 Nov 2026 12:00:00 GMT", False, False),
        ('"v0", W/"v1"', True, True),
        ("*", True, True),
        ("*", False, False),
        ('"v2"', True, False),
    ],
)
def test_versions(header: str, weak: bool, same: bool) -> None:
    assert same_version(header, '"v1"', weak=weak) is same
