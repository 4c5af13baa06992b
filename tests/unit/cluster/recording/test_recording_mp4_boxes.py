"""A file truncated anywhere plays up to its last complete fragment, or is left alone."""

from __future__ import annotations

import io
import itertools
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.recording.mp4_boxes import playable_length, top_level_boxes, truncate_to_playable


def box(kind: bytes, content: int = 4) -> bytes:
    return struct.pack(">I4s", 8 + content, kind) + b"\x00" * content


HEAD = box(b"ftyp") + box(b"moov", 30)
FRAGMENT = box(b"moof", 12) + box(b"mdat", 50)


@given(st.integers(0, 4), st.integers(0, len(HEAD) + 4 * len(FRAGMENT)))
def test_a_truncated_file_keeps_its_complete_fragments(fragments: int, cut: int) -> None:
    whole = HEAD + FRAGMENT * fragments
    length = playable_length(io.BytesIO(whole[:cut]))
    complete = (min(cut, len(whole)) - len(HEAD)) // len(FRAGMENT)
    assert length == (len(HEAD) + complete * len(FRAGMENT) if complete > 0 else 0)


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_without_an_error(content: bytes) -> None:
    boxes = list(top_level_boxes(io.BytesIO(content)))
    assert all(b.start < b.end <= len(content) for b in boxes)
    assert all(a.end == b.start for a, b in itertools.pairwise(boxes))


def test_sizes_of_64_bits_and_to_the_end() -> None:
    large = struct.pack(">I4sQ", 1, b"mdat", 16 + 5) + b"\x00" * 5
    last = struct.pack(">I4s", 0, b"mdat") + b"\x00" * 9
    boxes = [(b.kind, b.end - b.start) for b in top_level_boxes(io.BytesIO(large + last))]
    assert boxes == [(b"mdat", 21), (b"mdat", 17)]


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 7, FRAGMENT, HEAD, HEAD + box(b"mdat"), box(b"moov") + box(b"moof")],
    ids=["empty", "stub", "headless", "no fragment", "no moof", "no mdat"],
)
def test_an_unplayable_file_is_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    assert not truncate_to_playable(path)
    assert path.read_bytes() == content


def test_a_truncated_file_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(HEAD + FRAGMENT * 2 + FRAGMENT[:30])
    assert truncate_to_playable(path)
    assert path.read_bytes() == HEAD + FRAGMENT * 2
