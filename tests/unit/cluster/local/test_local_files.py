from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cluster.local.files import LOG_MAX_LINE, LogFile, ensure_private_dir, write_private


def test_a_private_file_is_for_its_owner_only_also_when_replaced(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_dir_is_closed_also_when_it_was_open(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    assert stat.S_IMODE(ensure_private_dir(folder).stat().st_mode) == 0o700


def test_a_log_holds_no_credential_even_when_a_line_comes_in_pieces(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log" / "go2rtc.log")
    log.feed(b"pull rtsp://viewer:hun")
    log.feed(b"ter2@192.0.2.10/stream failed\nnext")
    log.close()
    text = log.path.read_text()
    assert "hunter2" not in text
    assert "192.0.2.10" in text
    assert text.endswith("next…\n"), "its end never came"
    assert log.tail(1) == ["next…"]


@pytest.mark.parametrize("before", range(LOG_MAX_LINE - 30, LOG_MAX_LINE + 10))
def test_a_line_that_is_too_long_shows_no_piece_of_a_credential(
    tmp_path: Path, before: int
) -> None:
    """Wherever the cut falls, and whatever of the line comes after it."""
    log = LogFile(tmp_path / "a.log")
    line = b"x" * before + b" rtsp://admin:S3cr3tPassw0rd@192.0.2.10/stream failed"
    for start in range(0, len(line), 10):
        log.feed(line[start : start + 10])
    log.feed(b"\nnext\n")
    log.close()
    text = log.path.read_text()
    assert not any(piece in text for piece in ("S3c", "r3t", "Pass", "w0rd"))
    assert log.tail(1) == ["next"]


def test_what_a_log_leaves_out_of_a_line_is_counted(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log")
    log.feed(b"x" * (LOG_MAX_LINE + 1))
    log.feed(b"y" * 1_000)
    log.feed(b"z" * 234 + b"\nnext\n")
    log.close()
    assert log.tail() == ["x" * (LOG_MAX_LINE + 1) + "…", "[1,234 more bytes of this line]", "next"]


def test_a_log_stays_small_and_keeps_what_was_before(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", max_bytes=100, backups=2)
    for number in range(100):
        log.feed(f"line {number:04}\n".encode())
    log.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["a.log", "a.log.1", "a.log.2"]
    assert all(path.stat().st_size <= 110 for path in tmp_path.iterdir())
    assert "line 0099" in (tmp_path / "a.log").read_text() + (tmp_path / "a.log.1").read_text()


def test_a_full_log_is_rotated_at_the_start_and_else_continued(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * 50)
    first = LogFile(path, max_bytes=100)
    first.feed(b"y" * 60 + b"\n")
    first.close()
    assert path.with_name("a.log.1").exists()


def test_output_without_line_ends_does_not_grow_the_buffer(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log")
    for _ in range(40):
        log.feed(b"x" * 10_000)
    log.close()
    log.close()
    size = log.path.stat().st_size
    assert LOG_MAX_LINE < size < LOG_MAX_LINE + 10_100
    assert log.tail(1) == [f"[{400_000 - 70_000:,} more bytes of this line]"]
