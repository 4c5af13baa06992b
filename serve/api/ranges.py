"""HTTP ranges (RFC 9110, 14) of one blob or file: which bytes a request wants."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from serve.api.problems import problem_response

# Possessive: where there is no digit, two runs of white space meet, which can be split anywhere.
_RANGE = re.compile(r"bytes\s*+=\s*+(\d{0,19}+)\s*+-\s*+(\d{0,19}+)\s*+", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Bytes `start` to `end` (exclusive); `partial`: as a range, not as the whole."""

    start: int
    end: int
    partial: bool


def wanted_bytes(header: str | None, size: int) -> Wanted | None:
    """The bytes that a `Range` header wants; None where none of them exist (416).

    What is no single range of bytes is ignored, as the RFC allows: several ranges, other units,
    and what nobody can read.
    """
    whole = Wanted(0, size, partial=False)
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or found[1] == found[2] == "":
        return whole
    if found[1] == "":
        length = min(int(found[2]), size)
        return Wanted(size - length, size, partial=True) if length else None
    start = int(found[1])
    if found[2] != "" and int(found[2]) < start:
        return whole
    if start >= size:
        return None
    end = min(int(found[2]) + 1, size) if found[2] != "" else size
    return Wanted(start, end, partial=True)


def same_version(header: str, etag: str, *, weak: bool) -> bool:
    """Whether an `If-Range` (strong) or `If-None-Match` (`weak`) header names this version."""
    if weak and header.strip() == "*":
        return True
    tags = [tag.strip() for tag in header.split(",")] if weak else [header.strip()]
    return any(etag == (tag.removeprefix("W/") if weak else tag) for tag in tags)


def range_problem(size: int) -> Response:
    """The answer to a range that begins behind the end of `size` bytes."""
    return problem_response(
        416,
        f"The file ends at {size:,} bytes.",
        hint="Ask for a range within it.",
        headers={"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"},
    )


class RangedFile(FileResponse):
    """A file, with ranges as everywhere here: Starlette's own answers to those that it cannot read
    or satisfy are no problem documents."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if "range" in headers:
            stat = self.stat_result
            if stat is None:
                stat = await to_thread.run_sync(os.stat, self.path)
            size = stat.st_size
            wanted = wanted_bytes(headers["range"], size)
            # With If-Range the client takes the whole file where the range does not fit.
            if wanted is None and "if-range" not in headers:
                await range_problem(size)(scope, receive, send)
                return
            if wanted is None or not wanted.partial:
                kept = [pair for pair in scope["headers"] if pair[0] != b"range"]
                scope = {**scope, "headers": kept}
        await super().__call__(scope, receive, send)
